"""Files written whole or not at all, and the system's complaints in words."""

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from headstart.errors import DiskFullError, NotWritableError, StorageError

__all__ = [
    "Appender",
    "check_free_space",
    "locked",
    "md5_file",
    "replaced",
    "sha256_file",
    "sha256_start",
    "storage_errors",
    "writable_folder",
]

SYNC_SECONDS = 5.0
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def storage_errors(path: Path, *, reading: bool = False) -> Iterator[None]:
    """Turn the system's OSError about `path` into one line that says what to do.

    Parameters
    ----------
    path
        The file or folder.
    reading
        Whether it is only read: who may not read it needs other words than who may not write.

    Raises
    ------
    DiskFullError, NotWritableError, StorageError
        By the cause; an OSError that is about something else goes through as StorageError too.
    """
    try:
        yield
    except OSError as error:
        raise storage_error(path, error, reading=reading) from error


def storage_error(path: Path, error: OSError, *, reading: bool = False) -> StorageError:
    """Name the StorageError that says what `error` means for `path`."""
    if error.errno in FULL:
        return DiskFullError(
            f"no space left to write {path}: free some space (or choose another folder) "
            "and run the same command, it carries on"
        )
    if error.errno in FORBIDDEN and reading:
        return StorageError(
            f"cannot read {path} ({error.strerror}): ask its owner for permission to read it, or "
            "give a copy"
        )
    if error.errno in FORBIDDEN:
        return NotWritableError(
            f"cannot write {path} ({error.strerror}): choose a folder that you may write to"
        )
    return StorageError(f"cannot use {path}: {error.strerror or error}")


def writable_folder(folder: Path) -> Path:
    """Make `folder` (with parents) and prove that a file can be written there.

    Raises
    ------
    NotWritableError, DiskFullError, StorageError
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".headstart-write-{os.getpid()}"
        probe.write_bytes(b"x")
        probe.unlink()
    return folder


def check_free_space(
    folder: Path,
    needed: int,
    what: str = "features",
    remedy: str = "set HEADSTART_CACHE to a folder on another disk",
) -> None:
    """Raise DiskFullError when fewer than `needed` bytes are free where `folder` is or will be.

    `what` says what they are needed for, `remedy` what to do if no space can be freed.
    """
    existing = folder
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise DiskFullError(
            f"{folder} needs {needed / 1e6:,.0f} MB for {what}, {free / 1e6:,.0f} MB are free: "
            f"free some space, or {remedy}"
        )


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Give a temporary path; when the block ends well, it becomes `path`, whole and synced.

    After a crash at any moment `path` is either what it was or complete.
    """
    if not path.name or path.is_dir():
        raise StorageError(f"cannot write '{path}': expected the name of a file")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with storage_errors(path):
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sha256_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes, read in constant memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def md5_file(path: Path) -> str:
    """Hexadecimal MD5 of a file's bytes: not proof against fraud, but what others publish."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def sha256_start(path: Path, size: int) -> "hashlib._Hash | None":
    """SHA-256 of the first `size` bytes of a file, to go on with; None if there are fewer."""
    content = hashlib.sha256()
    with path.open("rb") as opened:
        while size and (block := opened.read(min(size, 1 << 20))):
            content.update(block)
            size -= len(block)
    return None if size else content


@contextmanager
def locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock `path`, which one process at a time can; the system drops it with the process.

    `waiting` is called if another process has it.

    Raises
    ------
    NotWritableError, DiskFullError, StorageError
    """
    writable_folder(path.parent)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        waiting()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


class Appender:
    """Appends to a file that something else, written after each `sync`, tells the good part of.

    Parameters
    ----------
    path
        The file. Behind its first `size` bytes it is cut off; with `size` 0 it is made anew, so
        that who has mapped an older one keeps that.
    content
        SHA-256 of these bytes, as `sha256_start` gives it.
    """

    def __init__(self, path: Path, size: int = 0, content: "hashlib._Hash | None" = None) -> None:
        if not size:
            path.unlink(missing_ok=True)
        self._file = path.open("r+b" if size else "w+b")
        self._file.truncate(size)
        self._file.seek(size)
        self._content = content or hashlib.sha256()
        self._synced = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, block: bytes) -> None:
        """Append; it is safe after the next `sync`."""
        self._file.write(block)
        self._content.update(block)

    @property
    def due(self) -> bool:
        """Whether the last `sync` is so long ago that an interruption would hurt."""
        return time.monotonic() - self._synced > SYNC_SECONDS

    def sync(self) -> str:
        """Make safe on disk what was written; give the SHA-256 of the whole file."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()
        return self._content.hexdigest()
