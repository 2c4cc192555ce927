"""The cache: content and size by kind, what can be removed, what is damaged."""

import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from headstart.artifacts import ArtifactFolder
from headstart.errors import StorageError, UnknownNameError
from headstart.files import Lock, sha256_file, storage_errors

__all__ = [
    "KINDS",
    "RECOMPUTED",
    "SHARED",
    "Checked",
    "Entry",
    "Kind",
    "entries",
    "kinds_of",
    "prune",
    "prune_shared",
    "remove",
    "shared_kinds",
    "verify",
    "verify_shared",
]

SECONDS_PER_DAY = 24 * 3600
LOCK = ".lock"


@dataclass(frozen=True)
class Kind:
    """One folder of the cache: what it holds; whether a run computes or downloads it again."""

    content: str
    removable: bool


# By the name of the folder.
KINDS: dict[str, Kind] = {
    "features": Kind("features of images; computed again when needed", True),
    "scores": Kind("transfer scores of features; computed again when needed", True),
    "prepared": Kind("decoded images; decoded again when needed", True),
    "ranking": Kind("what races of backbones measured; measured again when needed", True),
    "throughput": Kind("images per second of networks; `headstart plan` measures them", True),
    "training": Kind("checkpoints of interrupted training; removed, it starts again", True),
    "weights": Kind("downloaded weights; downloaded again when needed", True),
    "torchvision": Kind("datasets downloaded by torchvision", True),
    "datasets": Kind("downloaded and registered datasets, index of files", False),
    "page": Kind("script of report pages; made again when needed", True),
    "copies": Kind("copies of files in object storage; copied again when needed", True),
    "hub": Kind("indices of datasets of the Hugging Face hub", False),
    "models": Kind("facts of models, upstream accuracies measured here", False),
    "pretrained": Kind("models pretrained here", False),
}
# What `prune` removes unless told otherwise.
RECOMPUTED = ("features", "prepared")
# What machines share of a cache with a URL; what `verify` reads through of the local folder.
SHARED = ("features", "prepared", "training", "pretrained")
VERIFIED = ("features", "prepared", "copies")
# Kind and suffix of shared files that are named by their SHA-256; others have it in their metadata.
NAMED_BY_CONTENT = {
    ("features", ".npy"),
    ("features", ".json"),
    ("prepared", ".bin"),
    ("prepared", ".json"),
    ("pretrained", ".safetensors"),
}


@dataclass(frozen=True)
class Entry:
    """What is removed together: the files of one table of features, one folder of images, ...

    `used` is when one of the files was last written or read, in seconds since the epoch; `lock` the
    file that a process holds while it writes the entry.
    """

    kind: str
    paths: tuple[Path, ...]
    n_files: int
    n_bytes: int
    used: float
    lock: Path


def kinds_of(text: str, known: Collection[str] = ()) -> tuple[str, ...]:
    """Read names of kinds, separated by commas: of `known`, else of those that can be removed.

    Raises
    ------
    UnknownNameError
    """
    known = known or [name for name, kind in KINDS.items() if kind.removable]
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise UnknownNameError("kind of cached files", name, known)
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
    """Remove entries that no process is writing; return them, and those that one is writing.

    Parameters
    ----------
    cache, kinds
        The folder, and names of kinds that can be removed.
    unused_days
        Only what was neither written nor read for so many days.
    dry_run
        Remove nothing.

    Raises
    ------
    StorageError
    """
    newest = time.time() - unused_days * SECONDS_PER_DAY
    removed, busy = list[Entry](), list[Entry]()
    for entry in entries(cache, [kind for kind in KINDS if kind in kinds]):
        # Another process may be about to rename a file of this name.
        fresh = _is_temporary(entry.paths[0]) and entry.used > time.time() - SECONDS_PER_DAY
        if entry.used > newest or fresh:
            continue
        if dry_run:
            (busy if Lock(entry.lock).is_held else removed).append(entry)
            continue
        (removed if remove(entry) else busy).append(entry)
    return removed, busy


def remove(entry: Entry) -> bool:
    """Remove an entry; return False if another process is writing it."""
    lock = Lock(entry.lock)
    if not lock.acquire(wait=False):
        return False
    try:
        for path in entry.paths:
            with storage_errors(path):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
    finally:
        lock.release()
    return True


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


def _is_temporary(path: Path) -> bool:
    return path.name.startswith(".") and path.suffix == ".tmp"


@dataclass(frozen=True)
class Checked:
    """What was read through: whether it is as its digest says.

    `remove` removes it, and returns False if another process is writing it.
    """

    name: str
    n_bytes: int
    whole: bool
    remove: Callable[[], bool]


def verify(cache: Path) -> Iterator[Checked]:
    """Read through all that has a digest in the cache: features, prepared images, copies.

    Raises
    ------
    StorageError
        A file cannot be read.
    """
    from headstart.datasets.image_cache import is_whole_form
    from headstart.features.feature_table import is_whole_table

    def is_whole(entry: Entry) -> bool:
        if entry.kind == "features":
            return is_whole_table(entry.lock.with_suffix(".npy"))
        if entry.kind == "prepared":
            return is_whole_form(entry.lock.with_suffix(""))
        return all(sha256_file(path) == path.stem for path in entry.paths)

    for entry in entries(cache, VERIFIED):
        if not _is_temporary(entry.paths[0]):
            name = f"{entry.kind}/{entry.lock.stem}"
            yield Checked(name, entry.n_bytes, is_whole(entry), partial(remove, entry))


def verify_shared(remote: ArtifactFolder) -> Iterator[Checked]:
    """Read through what is shared: each file is named by its digest, or has it beside it.

    Raises
    ------
    StorageError
        The folder cannot be read.
    """

    def removed(name: str) -> bool:
        remote.delete(name)
        return True

    for name, n_bytes in _shared_sizes(remote, SHARED).items():
        path = PurePosixPath(name)
        by_content = (path.parts[0], path.suffix) in NAMED_BY_CONTENT
        whole = True
        with TemporaryDirectory() as folder:
            try:
                remote.fetch(name, Path(folder) / "file", path.stem if by_content else None)
            except StorageError as error:
                if error.code == "storage.absent":
                    continue
                if error.code != "storage.damaged":
                    raise
                whole = False
        yield Checked(name, n_bytes, whole, partial(removed, name))


def shared_kinds(remote: ArtifactFolder) -> dict[str, tuple[int, int]]:
    """Return the number of files and of bytes of each kind that is shared."""
    found = dict.fromkeys(SHARED, (0, 0))
    for name, n_bytes in _shared_sizes(remote, SHARED).items():
        kind = PurePosixPath(name).parts[0]
        n_files, total = found[kind]
        found[kind] = n_files + 1, total + n_bytes
    return found


def prune_shared(
    remote: ArtifactFolder, kinds: Collection[str], *, dry_run: bool = False
) -> tuple[int, int]:
    """Remove what is shared of some kinds; return the number of files and of bytes."""
    sizes = _shared_sizes(remote, kinds)
    if not dry_run:
        for name in sizes:
            remote.delete(name)
    return len(sizes), sum(sizes.values())


def _shared_sizes(remote: ArtifactFolder, kinds: Collection[str]) -> dict[str, int]:
    """Return the bytes of all files of these kinds, by name."""
    return {
        name: n_bytes
        for kind in SHARED
        if kind in kinds
        for name, n_bytes in remote.sizes(f"{kind}/").items()
    }
