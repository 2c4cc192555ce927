"""The cache folder: what it holds by kind, how large it is, and what can be removed from it."""

import shutil
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from headstart.errors import UnknownNameError
from headstart.files import Lock, storage_errors

__all__ = ["KINDS", "RECOMPUTED", "Entry", "Kind", "entries", "kinds_of", "prune"]

SECONDS_PER_DAY = 24 * 3600
LOCK = ".lock"


@dataclass(frozen=True)
class Kind:
    """One folder of the cache.

    Parameters
    ----------
    content
        What it holds, for a person.
    removable
        Whether `prune` may remove it: a run computes or downloads it again.
    """

    content: str
    removable: bool


# By the name of the folder.
KINDS: dict[str, Kind] = {
    "features": Kind("features of images; computed again when needed", True),
    "prepared": Kind("decoded images; decoded again when needed", True),
    "training": Kind("checkpoints of interrupted training; removed, it starts again", True),
    "weights": Kind("downloaded weights; downloaded again when needed", True),
    "torchvision": Kind("datasets downloaded by torchvision", True),
    "datasets": Kind("downloaded and registered datasets, index of files", False),
    "hub": Kind("indices of datasets of the Hugging Face hub", False),
    "models": Kind("facts of models, upstream accuracies measured here", False),
    "pretrained": Kind("models pretrained here", False),
}
# What `prune` removes unless told otherwise.
RECOMPUTED = ("features", "prepared")


@dataclass(frozen=True)
class Entry:
    """What is removed together: the files of one table of features, one folder of images, ...

    Parameters
    ----------
    kind
        A name in `KINDS`.
    paths
        Files and folders.
    n_files, n_bytes
        Of all files in them.
    used
        When one of them was last written or read, in seconds since the epoch.
    lock
        The file that a process holds while it writes the entry.
    """

    kind: str
    paths: tuple[Path, ...]
    n_files: int
    n_bytes: int
    used: float
    lock: Path


def kinds_of(text: str) -> tuple[str, ...]:
    """Read names of kinds that can be removed, separated by commas.

    Raises
    ------
    UnknownNameError
    """
    removable = [name for name, kind in KINDS.items() if kind.removable]
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in removable:
            raise UnknownNameError("kind of cached files that can be removed", name, removable)
    return tuple(dict.fromkeys(names))


def entries(cache: Path, kinds: Iterable[str] = tuple(KINDS)) -> Iterator[Entry]:
    """Yield what the cache holds of some kinds; nothing where there is no cache yet."""
    for kind in kinds:
        folder = cache / kind
        with storage_errors(folder, reading=True):
            inside = sorted(folder.iterdir()) if folder.is_dir() else []
            parts: dict[str, list[Path]] = {}
            for path in inside:
                # Locks are empty, and another process may wait at one: they stay.
                if path.suffix != LOCK:
                    parts.setdefault(path.stem if path.is_file() else path.name, []).append(path)
            for stem, paths in parts.items():
                yield _entry(kind, tuple(paths), folder / f"{stem}{LOCK}")


def prune(
    cache: Path,
    kinds: Collection[str] = RECOMPUTED,
    *,
    unused_days: float = 0.0,
    dry_run: bool = False,
) -> tuple[list[Entry], list[Entry]]:
    """Remove entries that no process is writing.

    Parameters
    ----------
    cache
        The folder.
    kinds
        Names of kinds that can be removed.
    unused_days
        Only what was neither written nor read for so many days.
    dry_run
        Remove nothing.

    Returns
    -------
    tuple
        What was (or would be) removed, and what another process is writing.

    Raises
    ------
    StorageError
    """
    newest = time.time() - unused_days * SECONDS_PER_DAY
    removed, busy = list[Entry](), list[Entry]()
    for entry in entries(cache, [kind for kind in KINDS if kind in kinds]):
        if entry.used > newest:
            continue
        if dry_run:
            (busy if entry.lock.exists() else removed).append(entry)
            continue
        lock = Lock(entry.lock)
        if not lock.acquire(wait=False):
            busy.append(entry)
            continue
        try:
            _remove(entry)
            removed.append(entry)
        finally:
            lock.release()
    return removed, busy


def _entry(kind: str, paths: tuple[Path, ...], lock: Path) -> Entry:
    n_files, n_bytes, used = 0, 0, 0.0
    for path in paths:
        for file in [path, *path.rglob("*")] if path.is_dir() else [path]:
            try:
                found = file.lstat()
            except FileNotFoundError:
                # Another process has just removed it.
                continue
            if not file.is_dir() or file.is_symlink():
                n_files, n_bytes = n_files + 1, n_bytes + found.st_size
                used = max(used, found.st_mtime, found.st_atime)
    return Entry(kind, paths, n_files, n_bytes, used, lock)


def _remove(entry: Entry) -> None:
    for path in entry.paths:
        with storage_errors(path):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
