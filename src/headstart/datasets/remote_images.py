"""Prepared images that machines share through a folder or object storage.

Under the key of a prepared form lie its three files, the pixels and the card named by the SHA-256
of their content, the index by that of the shapes in it. The card is written last.

Pixels are large: they are shared only where preparing them took longer than copying them takes.
"""

import time
from pathlib import Path, PurePosixPath

from headstart.artifacts import ArtifactFolder
from headstart.context import ProgressReporter
from headstart.datasets.image_cache import (
    CARD,
    INDEX,
    PIXELS,
    Card,
    PreparedForm,
    PreparedImages,
    locked_form,
    prepare_images,
    read_card,
    read_state,
    write_card,
)
from headstart.datasets.images import Decodable
from headstart.errors import StorageError
from headstart.files import check_free_space, sha256_file

__all__ = ["prepare_shared_images"]

# Of object storage, or of a network drive, at one gigabit per second.
BYTES_PER_SECOND = 100e6
# What is wrong with one form only: it counts as missing.
UNUSABLE = {"storage.absent", "storage.damaged", "storage.name_invalid"}


def prepare_shared_images(
    images: Decodable,
    recipe: PreparedForm,
    folder: Path,
    reporter: ProgressReporter,
    remote: ArtifactFolder | None,
    *,
    skip_broken: bool = False,
) -> PreparedImages:
    """Return the prepared form of images: from here, from another machine, or made here.

    Parameters
    ----------
    images, recipe, folder, reporter, skip_broken
        As in `prepare_images`.
    remote
        What machines share; None shares nothing.

    Raises
    ------
    BrokenImageError, DiskFullError, NotWritableError, StorageError
    """
    place, seconds = folder / recipe.key, 0.0
    if remote and not read_state(place, reporter, whole=True):
        with locked_form(place, reporter):
            if not read_state(place, reporter, whole=True):
                pulled = _pull(place, remote, reporter, skip_broken=skip_broken)
                seconds = 0.0 if pulled else -time.monotonic()
    prepared = prepare_images(images, recipe, folder, reporter, skip_broken=skip_broken)
    if remote and seconds:
        seconds += time.monotonic()
        if seconds > prepared.n_bytes / BYTES_PER_SECOND:
            _push(place, remote, reporter)
    return prepared


def _pull(
    place: Path, remote: ArtifactFolder, reporter: ProgressReporter, *, skip_broken: bool
) -> bool:
    """Copy a form to its locked folder; return whether there was one.

    What is damaged in the remote folder is left out, with a note.
    """
    for name in remote.names(f"{place.name}/"):
        if not name.endswith(".json"):
            continue
        try:
            card = read_card(remote.get(name, PurePosixPath(name).stem))
            if card and card.complete and (skip_broken or not card.broken):
                check_free_space(place, card.n_bytes, "prepared images")
                reporter.stage("copying prepared images")
                place.mkdir(parents=True, exist_ok=True)
                remote.fetch(f"{place.name}/{card.index_sha256}.npy", place / INDEX)
                remote.fetch(f"{place.name}/{card.sha256}.bin", place / PIXELS, card.sha256)
                card.modified_ns = (place / PIXELS).stat().st_mtime_ns
                write_card(place, card)
                return True
        except StorageError as error:
            if error.code not in UNUSABLE:
                raise
            reporter.note(f"shared images are prepared again: {error}")
    return False


def _push(place: Path, remote: ArtifactFolder, reporter: ProgressReporter) -> None:
    """Write a complete form; if that fails, a note tells it."""
    reporter.stage("sharing prepared images")
    card: Card | None = read_card(place / CARD)
    if card is None:
        return
    try:
        remote.put(f"{place.name}/{card.index_sha256}.npy", place / INDEX)
        remote.put(f"{place.name}/{card.sha256}.bin", place / PIXELS)
        remote.put(f"{place.name}/{sha256_file(place / CARD)}.json", place / CARD)
    except StorageError as error:
        reporter.note(f"prepared images stay on this machine: {error}")
