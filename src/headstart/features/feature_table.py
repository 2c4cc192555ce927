"""Cache of features on disk, by content; rows of a table are computed when they are needed.

A table holds the features of all images of a dataset by one network. It is two files, named by the
digest of all that determines its content:

* ``KEY.npy``   float32 rows in the order of computation, after the header of the whole table. Any
                program can read it once all rows are present and in order.
* ``KEY.json``  which rows these are, their SHA-256, and which images were broken. It is rewritten
                whenever rows are synced to disk; rows in the other file beyond these are dropped.
                So an interrupted extraction resumes, and a trial with other rows adds its own.
* ``KEY.proven`` what was hashed, and the size, times and inode that ``KEY.npy`` had then. While
                these are the same, it is not hashed again; it may be deleted at any time.

Machines share features through a folder that all of them reach, as object storage. It holds parts
of each table, under the key of the table: rows that one machine computed. A part is two files, each
named by the SHA-256 of its content, so that no machine ever writes to what another one has written:

* ``SHA256.npy``   (m, d) float32;
* ``SHA256.json``  which rows these are, in the order of the other file, the SHA-256 of that, and
                   which images were broken. It is written last.
"""

import hashlib
import io
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from headstart.artifacts import ArtifactFolder
from headstart.errors import StorageError
from headstart.files import (
    Appender,
    Lock,
    check_free_space,
    locked,
    replaced,
    sha256_file,
    sha256_start,
    storage_errors,
)
from headstart.spec import digest

__all__ = [
    "CHUNK",
    "Block",
    "FeatureTable",
    "Features",
    "TableCard",
    "is_whole_table",
    "pull",
    "push",
]

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]
# Features of some rows and the broken images among them: position in the block -> reason.
Block = tuple[Floats, dict[int, str]]
# Rows that are copied at once.
CHUNK = 4096
# Longer than the clock of any file system's times takes from tick to tick.
TICK_NANOSECONDS = 100_000_000

NONE = np.empty(0, np.int64)
# What is wrong with one part only: it counts as missing.
UNUSABLE = {"features.part", "storage.absent", "storage.damaged", "storage.name_invalid"}


@dataclass(frozen=True)
class Features:
    """Features of images.

    Parameters
    ----------
    values
        (n, d) float32, read-only; NaN in rows of broken images. Memory-mapped if the rows are
        contiguous in the table, else read into memory.
    broken
        Position among the n -> reason given by the decoder.
    sha256
        SHA-256 of the values.
    key
        Key of the table that holds them.
    made_by
        Device and software versions that computed them.
    """

    values: Floats
    broken: dict[int, str]
    sha256: str
    key: str
    made_by: dict[str, str]


class Proven:
    """What was proven of a file by hashing it, as long as the file is the same.

    A change that keeps size, inode, and both times of a file in nanoseconds is not noticed. A file
    changed just before the look may change again within one tick of the clock: nothing is kept
    of it.

    Parameters
    ----------
    file
        The file that was hashed.
    note
        Where this is kept, as JSON.
    """

    def __init__(self, file: Path, note: Path) -> None:
        self._file, self._note = file, note
        self._begun = self._state()
        try:
            kept = json.loads(note.read_bytes())
            same = kept["state"] == self._begun
            self._digests: dict[str, str] = dict(kept["digests"]) if same else {}
        except (OSError, ValueError, TypeError, KeyError):
            self._digests = {}

    def digest(self, what: str, hashed: Callable[[], str | None]) -> str | None:
        """Return the digest of a part of the file, by its name; `hashed` computes it."""
        if found := self._digests.get(what):
            return found
        found, state = hashed(), self._state()
        # Another process may have changed the file since the other digests were read, or hashed.
        same = bool(state) and state == self._begun
        if found and same and time.time_ns() - max(state[1:3]) > TICK_NANOSECONDS:
            self._digests[what] = found
            # In a cache that cannot be written, it is hashed each time.
            with suppress(StorageError), replaced(self._note) as temporary:
                temporary.write_text(json.dumps({"state": state, "digests": self._digests}))
        return found

    def _state(self) -> list[int]:
        """Return what changes with the file; nothing if it is not there."""
        try:
            state = self._file.stat()
        except OSError:
            return []
        return [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]


@dataclass
class TableCard:
    """Current content of a table.

    Parameters
    ----------
    runs
        [first, last) ranges of rows of the table, in the order of the file.
    broken
        Row -> reason given by the decoder.
    sha256
        SHA-256 of the file up to the last of these rows.
    made_by
        Device and software versions that computed the last rows.
    """

    runs: list[list[int]] = field(default_factory=list)
    broken: dict[int, str] = field(default_factory=dict)
    sha256: str = ""
    made_by: dict[str, str] = field(default_factory=dict)

    @property
    def stored(self) -> int:
        """Number of rows in the file."""
        return sum(last - first for first, last in self.runs)

    @classmethod
    def of(cls, text: bytes) -> "TableCard | None":
        """Read what `to_json` wrote; return None if it is damaged."""
        try:
            content = json.loads(text)
            broken = {int(row): reason for row, reason in content["broken"].items()}
            runs = [[int(first), int(last)] for first, last in content["rows"]]
            return cls(runs, broken, content["sha256"], content["made_by"])
        except (ValueError, TypeError, KeyError, AttributeError):
            return None

    def to_json(self, content: dict[str, Any]) -> str:
        """Write the card of the table with this content."""
        facts = {
            "content": content,
            "rows": self.runs,
            "sha256": self.sha256,
            "broken": self.broken,
            "made_by": self.made_by,
        }
        return json.dumps(facts)

    @property
    def rows(self) -> Places:
        """(m,) int64, in the order of the file; a row may be there again."""
        return np.concatenate([np.arange(*run) for run in self.runs] or [np.empty(0, np.int64)])

    def places(self, n_rows: int) -> Places:
        """Return the (n_rows,) position of each row in the file, -1 for a missing row."""
        places, at = np.full(n_rows, -1, dtype=np.int64), 0
        for first, last in self.runs:
            places[first:last] = np.arange(at, at + last - first)
            at += last - first
        return places

    def add(self, rows: Places, broken: dict[int, str]) -> None:
        """Record appended rows; `broken` replaces earlier entries of these rows."""
        for row in rows.tolist():
            self.broken.pop(row, None)
            if self.runs and self.runs[-1][1] == row:
                self.runs[-1][1] = row + 1
            else:
                self.runs.append([row, row + 1])
        self.broken |= broken


class FeatureTable:
    """Features of one dataset by one network, as far as they have been computed.

    Parameters
    ----------
    folder
        Folder of the feature cache.
    content
        All that determines the content, as JSON; its digest is the key.
    shape
        (n, d) of the complete table.
    skip_broken
        Whether rows may be broken images; else they count as missing, to be decoded again and to
        raise their error.
    note
        Called with what a person should read: a damaged table is dropped with a warning.
    """

    def __init__(
        self,
        folder: Path,
        content: dict[str, Any],
        shape: tuple[int, int],
        *,
        skip_broken: bool = False,
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.key = digest(content)
        self.content, self.shape, self._folder = content, shape, folder
        self.skip_broken, self.note = skip_broken, note
        self._header = _header(shape)
        self._lock: Lock | None = None

    @contextmanager
    def locked(self, waiting: Callable[[], None]) -> Iterator[None]:
        """Lock the table, so that one process at a time extends it.

        `waiting` is called if another process holds the lock.
        """
        with locked(self._file(".lock"), waiting) as self._lock:
            yield

    def read(self, rows: Places) -> Features | None:
        """Return the features of these rows, or None if some are missing."""
        card = self.card()
        if len(self._lacking(card, rows)):
            return None
        places = card.places(self.shape[0])[rows]
        stored = self._mapped(card)
        beside = len(places) > 0 and bool((np.diff(places) == 1).all())
        values = stored[places[0] : places[-1] + 1] if beside else stored[places]
        values.flags.writeable = False
        broken = {i: card.broken[row] for i, row in enumerate(rows.tolist()) if row in card.broken}
        sha256 = self._proven().digest(
            hashlib.sha256(rows.tobytes()).hexdigest(), lambda: _digest(values)
        )
        return Features(values, broken, str(sha256), self.key, card.made_by)

    def card(self) -> TableCard:
        """Return what the table holds; one that does not match the file is deleted."""
        file, card_file = self._file(".npy"), self._file(".json")
        with storage_errors(file):
            if not card_file.exists():
                return TableCard()
            card = TableCard.of(card_file.read_bytes())
            size = self._offset(card.stored) if card else 0
            found = self._proven().digest(f"first {size} bytes", lambda: _start_digest(file, size))
            if card is not None and found == card.sha256:
                return card
            self.note(f"cached features {file} are damaged (checksum): extracting them again")
            card_file.unlink()
            return TableCard()

    def export(self, card: TableCard, rows: Places, file: Path) -> None:
        """Write (m,) rows that the table holds to a .npy file: (m, d) float32."""
        places = card.places(self.shape[0])[rows]
        check_free_space(self._folder, len(rows) * self._row_bytes)
        stored = self._mapped(card)
        with file.open("wb") as out:
            out.write(_header((len(rows), self.shape[1])))
            for first in range(0, len(rows), CHUNK):
                out.write(stored[places[first : first + CHUNK]].tobytes())

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Yield a path beside the table for a file that is removed in the end."""
        file = self._folder / f".{self.key}.{uuid4().hex[:12]}.tmp"
        try:
            with storage_errors(file):
                yield file
        finally:
            file.unlink(missing_ok=True)

    def _mapped(self, card: TableCard) -> Floats:
        shape = (card.stored, self.shape[1])
        return np.memmap(self._file(".npy"), "<f4", "r", len(self._header), shape)

    def missing(self, rows: Places) -> Places:
        """Return the (m,) positions among `rows` to be computed, in the order of the table."""
        lacking = self._lacking(self.card(), rows)
        return lacking[np.argsort(rows[lacking], kind="stable")]

    def lacks(self, rows: Places | int) -> bool:
        """Return whether the card lacks some of these rows, or has fewer than so many.

        The card is not compared with the file.
        """
        file = self._file(".json")
        card = (TableCard.of(file.read_bytes()) if file.exists() else None) or TableCard()
        if isinstance(rows, int):
            return int((card.places(self.shape[0]) >= 0).sum()) < rows
        return len(self._lacking(card, rows)) > 0

    @contextmanager
    def extending(self, rows: Places, made_by: dict[str, str]) -> Iterator[Callable[[Block], None]]:
        """Yield a function that appends features of the next of these (m,) rows.

        What is appended is kept now and then, and when the block ends without an error.
        """
        file = self._file(".npy")
        with storage_errors(file):
            card = self.card()
            check_free_space(self._folder, len(rows) * self._row_bytes)
            size = self._offset(card.stored) if card.stored else 0
            content = sha256_start(file, size) if size else None
            with Appender(file, size, content, self._lock) as out:
                if not size:
                    out.write(self._header)
                card.made_by = made_by
                done = 0

                def append(block: Block) -> None:
                    nonlocal done
                    values, reasons = block
                    with storage_errors(file):
                        out.write(values.astype("<f4").tobytes())
                        some = rows[done : done + len(values)]
                        card.add(some, {int(some[i]): reason for i, reason in reasons.items()})
                        done += len(values)
                        if out.due:
                            self._keep(card, out)

                yield append
                self._keep(card, out)

    def _keep(self, card: TableCard, out: Appender) -> None:
        """Sync the written rows to disk, then write the card."""
        card.sha256 = out.sync()
        with replaced(self._file(".json")) as temporary:
            temporary.write_text(card.to_json(self.content))

    def _proven(self) -> Proven:
        return Proven(self._file(".npy"), self._file(".proven"))

    def _lacking(self, card: TableCard, rows: Places) -> Places:
        absent = card.places(self.shape[0])[rows] < 0
        if card.broken and not self.skip_broken:
            absent |= np.isin(rows, list(card.broken))
        return np.flatnonzero(absent)

    def _offset(self, rows: int) -> int:
        """Return the size in bytes of a file with this many rows."""
        return len(self._header) + rows * self._row_bytes

    @property
    def _row_bytes(self) -> int:
        return self.shape[1] * 4

    def _file(self, suffix: str) -> Path:
        return self._folder / f"{self.key}{suffix}"


def is_whole_table(file: Path) -> bool:
    """Whether the file of a table is as its card says; rows behind those it lists are skipped."""
    card_file = file.with_suffix(".json")
    if not card_file.exists():
        return True
    card = TableCard.of(card_file.read_bytes())
    try:
        with file.open("rb") as opened:
            np.lib.format.read_magic(opened)
            shape, _, _ = np.lib.format.read_array_header_1_0(opened)
            size = opened.tell() + (card.stored if card else 0) * int(np.prod(shape[1:])) * 4
    except (FileNotFoundError, ValueError):
        return False
    return card is not None and _start_digest(file, size) == card.sha256


def _header(shape: tuple[int, int]) -> bytes:
    """Return the header of a .npy file of little-endian float32."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": shape}
    )
    return header.getvalue()


def _start_digest(file: Path, size: int) -> str | None:
    """Return the SHA-256 of the first bytes of a file; None if it has fewer or is not there."""
    found = sha256_start(file, size) if file.exists() else None
    return found.hexdigest() if found else None


def _digest(values: Floats) -> str:
    """Return the SHA-256 of features, part by part: they may be larger than memory."""
    content = hashlib.sha256()
    rows = max(1, (1 << 22) // max(1, values.shape[1]))
    for first in range(0, len(values), rows):
        content.update(np.ascontiguousarray(values[first : first + rows]).data)
    return content.hexdigest()


def pull(table: FeatureTable, remote: ArtifactFolder, rows: Places) -> None:
    """Append to a locked table what other machines have computed of these rows.

    Raises
    ------
    StorageError
        The folder cannot be read. A damaged part counts as missing, with a note.
    """
    wanted = rows[table.missing(rows)]
    parts = _parts(table, remote) if len(wanted) else iter(())
    # A row may be in several parts: better where it is not broken.
    for card in sorted(parts, key=lambda card: len(card.broken)):
        usable = card.rows if table.skip_broken else np.setdiff1d(card.rows, list(card.broken))
        if np.isin(wanted, usable).any():
            try:
                _append(table, remote, card)
            except StorageError as error:
                if error.code not in UNUSABLE:
                    raise
                table.note(f"shared features are computed again: {error}")
            wanted = rows[table.missing(rows)]


def push(table: FeatureTable, remote: ArtifactFolder) -> None:
    """Write what only this machine has of a locked table.

    A failure is noted: the features stay on this machine.
    """
    try:
        card, there = table.card(), [NONE]
        for part in _parts(table, remote):
            worse = [row for row in part.broken if row not in card.broken]
            there.append(np.setdiff1d(part.rows, worse))
        rows = np.setdiff1d(card.rows, np.concatenate(there))
        if len(rows):
            _write(table, remote, card, rows)
    except StorageError as error:
        table.note(f"features stay on this machine: {error}")


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


def _parts(table: FeatureTable, remote: ArtifactFolder) -> Iterator[TableCard]:
    """Yield the cards of all parts that are there."""
    for name in remote.names(f"{table.key}/"):
        if not name.endswith(".json"):
            continue
        try:
            file = remote.get(name, PurePosixPath(name).stem)
        except StorageError as error:
            if error.code not in UNUSABLE:
                raise
            table.note(f"shared features are left out: {error}")
            continue
        card = TableCard.of(file.read_bytes())
        # Only of a program that names its files likewise.
        if card and all(0 <= first < last <= table.shape[0] for first, last in card.runs):
            yield card


def _append(table: FeatureTable, remote: ArtifactFolder, card: TableCard) -> None:
    """Append the rows of a part that the table does not hold."""
    places = np.flatnonzero(table.card().places(table.shape[0])[card.rows] < 0)
    places = places[np.argsort(card.rows[places], kind="stable")]
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
