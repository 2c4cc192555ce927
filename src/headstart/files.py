"""Files written whole or not at all, and the system's complaints in words."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headstart.errors import DiskFullError, NotWritableError, StorageError

__all__ = ["check_free_space", "replaced", "sha256_file", "storage_errors", "writable_folder"]

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the system's OSError about `path` into one line that says what to do.

    Raises
    ------
    DiskFullError, NotWritableError, StorageError
        By the cause; an OSError that is about something else goes through as StorageError too.
    """
    try:
        yield
    except OSError as error:
        raise storage_error(path, error) from error


def storage_error(path: Path, error: OSError) -> StorageError:
    """Name the StorageError that says what `error` means for `path`."""
    if error.errno in FULL:
        return DiskFullError(
            f"no space left to write {path}: free some space (or choose another folder) "
            "and run the same command, it carries on"
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


def check_free_space(folder: Path, needed: int) -> None:
    """Raise DiskFullError when fewer than `needed` bytes are free where `folder` is or will be."""
    existing = folder
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise DiskFullError(
            f"{folder} needs {needed / 1e6:,.0f} MB for features, {free / 1e6:,.0f} MB are free: "
            "free some space, or set HEADSTART_CACHE to a folder on another disk"
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
