"""Features that machines share through a folder that all of them reach, as object storage.

It holds parts of each table, under the key of the table: rows that one machine computed. A part is
two files, each named by the SHA-256 of its content, so that no machine ever writes to what another
one has written:

* ``SHA256.npy``   (m, d) float32;
* ``SHA256.json``  which rows these are, in the order of the other file, the SHA-256 of that, and
                   which images were broken. It is written last.
"""

from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt

from headstart.artifacts import ArtifactFolder
from headstart.errors import StorageError
from headstart.features.feature_table import CHUNK, FeatureTable, TableCard
from headstart.files import sha256_file

__all__ = ["pull", "push"]

Places = npt.NDArray[np.int64]
NONE = np.empty(0, np.int64)
# What is wrong with one part only: it counts as missing.
UNUSABLE = {"features.part", "storage.absent", "storage.damaged", "storage.name_invalid"}


def pull(
    table: FeatureTable,
    remote: ArtifactFolder,
    rows: Places,
    note: Callable[[str], None],
    *,
    skip_broken: bool,
) -> None:
    """Append to a locked table what other machines have computed of these rows.

    Raises
    ------
    StorageError
        The folder cannot be read. A damaged part counts as missing, with a note.
    """
    wanted = rows[table.missing(rows, note, skip_broken=skip_broken)]
    parts = _parts(table, remote, note) if len(wanted) else iter(())
    # A row may be in several parts: better where it is not broken.
    for card in sorted(parts, key=lambda card: len(card.broken)):
        usable = card.rows if skip_broken else np.setdiff1d(card.rows, list(card.broken))
        if np.isin(wanted, usable).any():
            try:
                _append(table, remote, card)
            except StorageError as error:
                if error.code not in UNUSABLE:
                    raise
                note(f"shared features are computed again: {error}")
            wanted = rows[table.missing(rows, note, skip_broken=skip_broken)]


def push(table: FeatureTable, remote: ArtifactFolder, note: Callable[[str], None]) -> None:
    """Write what only this machine has of a locked table.

    A failure is noted: the features stay on this machine.
    """
    try:
        card, there = table.card(note), [NONE]
        for part in _parts(table, remote, note):
            worse = [row for row in part.broken if row not in card.broken]
            there.append(np.setdiff1d(part.rows, worse))
        rows = np.setdiff1d(card.rows, np.concatenate(there))
        if len(rows):
            _write(table, remote, card, rows)
    except StorageError as error:
        note(f"features stay on this machine: {error}")


def _write(table: FeatureTable, remote: ArtifactFolder, card: TableCard, rows: Places) -> None:
    part = TableCard(made_by=card.made_by)
    part.add(rows, {row: card.broken[row] for row in rows.tolist() if row in card.broken})
    with table.scratch() as file:
        table.export(card, rows, file)
        part.sha256 = sha256_file(file)
        remote.put(f"{table.key}/{part.sha256}.npy", file)
    with table.scratch() as file:
        file.write_text(part.to_json(table.content))
        remote.put(f"{table.key}/{sha256_file(file)}.json", file)


def _parts(
    table: FeatureTable, remote: ArtifactFolder, note: Callable[[str], None]
) -> Iterator[TableCard]:
    """Yield the cards of all parts that are there."""
    for name in remote.names(f"{table.key}/"):
        if not name.endswith(".json"):
            continue
        try:
            file = remote.get(name, PurePosixPath(name).stem)
        except StorageError as error:
            if error.code not in UNUSABLE:
                raise
            note(f"shared features are left out: {error}")
            continue
        card = TableCard.of(file.read_bytes())
        # Only of a program that names its files likewise.
        if card and all(0 <= first < last <= table.shape[0] for first, last in card.runs):
            yield card


def _append(table: FeatureTable, remote: ArtifactFolder, card: TableCard) -> None:
    """Append the rows of a part that the table does not hold."""
    places = table.missing(card.rows, lambda _: None, skip_broken=True)
    with table.scratch() as file:
        remote.fetch(f"{table.key}/{card.sha256}.npy", file, card.sha256)
        values = np.load(file, mmap_mode="r", allow_pickle=False)
        if values.shape != (card.stored, table.shape[1]) or values.dtype != np.dtype("<f4"):
            raise StorageError(
                f"shared features {card.sha256}.npy in {remote} are not those of their card: "
                "remove them",
                code="features.part",
                url=str(remote),
            )
        with table.extending(card.rows[places], card.made_by) as append:
            for first in range(0, len(places), CHUNK):
                some = places[first : first + CHUNK]
                broken = {
                    i: card.broken[row]
                    for i, row in enumerate(card.rows[some].tolist())
                    if row in card.broken
                }
                append((values[some], broken))
