"""The cache's folder on this machine, with copies of objects in object storage.

Environment variables
---------------------
HEADSTART_CACHE
    The cache: a folder, or a URL that several machines share.
HEADSTART_LOCAL_CACHE
    With such a URL: the folder of this machine that is worked on.
HEADSTART_COPIES_GB
    Size of the folder of local copies at most; 20 unless given.
"""

import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from uuid import uuid4

from headstart.errors import StorageError
from headstart.files import sha256_file, storage_errors, writable_folder

__all__ = ["LocalCopies", "default_cache", "is_url"]

URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
HEXADECIMAL = re.compile(r"[0-9a-f]{64}")
GIGABYTE = 10**9
# A copy that was asked for so recently may not have been opened yet.
OPENING_SECONDS = 60.0
# What a killed process left half downloaded.
LEFT_SECONDS = 24 * 3600.0


def is_url(place: str | Path) -> bool:
    """Whether this names a URL, not a path."""
    return isinstance(place, str) and URL.match(place) is not None


def default_cache() -> Path:
    """Return the local folder for features and downloads; it need not be there yet.

    It is $HEADSTART_CACHE. If that is a URL, the cache lies there, and the local folder is the part
    of it that is worked on: $HEADSTART_LOCAL_CACHE. Else it is the XDG cache folder.

    Raises
    ------
    StorageError
        Something that is no folder has its name, or that of a folder above it.
    """
    variable = "HEADSTART_CACHE"
    if is_url(os.environ.get(variable, "")):
        variable = "HEADSTART_LOCAL_CACHE"
    given = os.environ.get(variable)
    try:
        usual = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(given).expanduser() if given else Path(usual) / "headstart"
    except RuntimeError as error:
        raise StorageError(
            f"no folder for the cache ({error}): set {variable} to a folder", code="cache.no_home"
        ) from error
    # The first part of it that is there.
    place = next((part for part in (folder, *folder.parents) if os.path.lexists(part)), folder)
    if os.path.lexists(place) and not place.is_dir():
        what = "a broken symlink" if place.is_symlink() else "not a folder"
        raise StorageError(
            f"cache {folder}: {place} is {what}: set {variable} to a folder",
            code="cache.not_folder",
            path=str(place),
        )
    return folder


@dataclass(frozen=True)
class LocalCopies:
    """Local copies of objects, named by their SHA-256; the least recently used go first.

    A copy that was asked for within the last minute stays, so that there is time to open it. One
    that a process has open is removed by name only: the process goes on reading.
    """

    folder: Path
    # Of the folder within a cache.
    NAME: ClassVar[str] = "copies"

    @property
    def limit(self) -> float:
        """Size of all copies at most, in bytes."""
        given = os.environ.get("HEADSTART_COPIES_GB")
        try:
            return float(given or 20) * GIGABYTE
        except ValueError:
            raise StorageError(
                f"invalid HEADSTART_COPIES_GB '{given}': expected a number of gigabytes",
                code="cache.copies_invalid",
                found=given,
            ) from None

    def find(self, sha256: str, suffix: str) -> Path | None:
        """Return the copy of this content; one that is damaged is removed."""
        if not HEXADECIMAL.fullmatch(sha256):
            # A digest from a damaged or hostile source could name another file.
            return None
        path = self.folder / f"{sha256}{suffix}"
        try:
            os.utime(path)
        except OSError:
            return None
        if sha256_file(path) == sha256:
            return path
        path.unlink(missing_ok=True)
        return None

    def temporary(self) -> Path:
        """Return a path for a download that is to be added."""
        return writable_folder(self.folder) / f".{uuid4().hex}.tmp"

    def add(self, file: Path, sha256: str, suffix: str) -> Path:
        """Make a file of this content a copy; remove others if there are too many."""
        path = self.folder / f"{sha256}{suffix}"
        with storage_errors(path):
            file.replace(path)
        self.make_room()
        return path

    def make_room(self) -> None:
        """Remove the copies used least recently until the rest is small enough."""
        now, limit = time.time(), self.limit
        found = []
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):
                state = path.stat()
                found.append((state.st_mtime, state.st_size, path))
        total = sum(size for _, size, _ in found)
        for used, size, path in sorted(found):
            left = path.suffix == ".tmp"
            if now - used < (LEFT_SECONDS if left else OPENING_SECONDS):
                continue
            if left or total > limit:
                with suppress(OSError):
                    path.unlink(missing_ok=True)
                    total -= size
