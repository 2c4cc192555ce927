"""What is known of files: each is read once, and again when it has changed.

A file counts as unchanged while path, size and time of modification are the same. One that was
modified in the last seconds is not remembered: it could change once more within a tick of the file
system's clock.
"""

import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from headstart.datasets.image_info import ImageInfo, inspect_image
from headstart.datasets.records import DatabaseRecords, Key, MemoryRecords, Record
from headstart.files import md5_file, sha256_file, storage_error, storage_errors, unusable

__all__ = ["Advance", "FileIndex", "Fingerprint"]

# Told how many images more are done.
Advance = Callable[[int], None]

# Kinds of look at a file: as an image, or its bytes alone, by SHA-256 or MD5.
IMAGE, BYTES, PUBLISHED = -1, -2, -3
# The coarsest clock of a file system in use is FAT's.
TICK_NS = 2_000_000_000
# So much work an interrupt may lose.
BATCH = 1000


class Fingerprint(NamedTuple):
    """What makes images of files, and what tells that it would make the same ones again.

    `name` says what it is and where, `n_bytes` the size of its files, `state` is a number that is
    another when any of them is; `modified` is when the last one was, in ns.
    """

    name: str
    n_bytes: int
    state: int
    modified: int


class _Asked(NamedTuple):
    """What is to be looked at; known where size and state are those that were kept."""

    key: Key
    size: int
    state: int
    modified: int


class FileIndex:
    """Looks at files, and remembers what it saw.

    Parameters
    ----------
    path
        A database that several processes may share; None remembers as long as this object lives. A
        database that cannot be used costs time, never a run: `note` is called once, and files are
        looked at anew.
    note
        Takes one line for a person.
    """

    def __init__(self, path: Path | None, note: Callable[[str], None] | None = None) -> None:
        self._path = path
        self._note = note
        self._records: MemoryRecords | DatabaseRecords = (
            MemoryRecords() if path is None else DatabaseRecords(path)
        )

    def sha256(self, paths: Sequence[Path]) -> list[str]:
        """Return the hexadecimal SHA-256 of files of any kind.

        Raises
        ------
        StorageError
            A file is missing or cannot be read.
        """
        return self._digests(paths, BYTES, sha256_file)

    def md5(self, paths: Sequence[Path], advance: Advance | None = None) -> list[str]:
        """Return the hexadecimal MD5 of files of any kind; errors as `sha256`."""
        return self._digests(paths, PUBLISHED, md5_file, advance)

    def inspect_generated(
        self,
        fingerprint: Fingerprint,
        rows: Sequence[int],
        look: Callable[[int], ImageInfo],
        advance: Advance | None = None,
    ) -> list[ImageInfo]:
        """Look at images that something makes of files, known by the state of these files.

        Parameters
        ----------
        fingerprint
            What makes them, and of which files.
        rows
            Places of the images in it, from 0.
        look
            Looks at the image at a place; called from several threads.
        """
        path = os.fsencode(fingerprint.name)
        stamp = (fingerprint.n_bytes, fingerprint.state, fingerprint.modified)
        asked = [_Asked(Key(path, row), *stamp) for row in rows]
        return self._through(asked, lambda i: look(rows[i]), advance)

    def _digests(
        self,
        paths: Sequence[Path],
        kind: int,
        digest: Callable[[Path], str],
        advance: Advance | None = None,
    ) -> list[str]:
        def look(row: int) -> ImageInfo:
            with storage_errors(paths[row], reading=True):
                return ImageInfo(digest(paths[row]), paths[row].stat().st_size)

        found = self._through(_stamped([(path, kind) for path in paths]), look, advance)
        return [seen.sha256 for seen in found]

    def inspect_files(
        self, paths: Sequence[Path], advance: Advance | None = None
    ) -> list[ImageInfo]:
        """Look at files of one image each.

        A broken symlink, or what is no regular file (a named pipe, say), is an image with a
        problem. It is not opened, and nothing is remembered of it.

        Raises
        ------
        StorageError
            A file is missing or cannot be read.
        """

        def look(row: int) -> ImageInfo:
            with storage_errors(paths[usable[row]], reading=True):
                content = paths[usable[row]].read_bytes()
            return inspect_image(content)

        problems = [_kind(path) for path in paths]
        usable = [row for row, problem in enumerate(problems) if not problem]
        found = iter(
            self._through(_stamped([(paths[row], IMAGE) for row in usable]), look, advance)
        )
        if advance and len(usable) < len(paths):
            advance(len(paths) - len(usable))
        return [
            ImageInfo(hashlib.sha256().hexdigest(), 0, problem=problem) if problem else next(found)
            for problem in problems
        ]

    def inspect_inside(
        self,
        container: Path,
        rows: Sequence[int],
        content: Callable[[int], bytes],
        advance: Advance | None = None,
    ) -> list[ImageInfo]:
        """Look at images that are inside one file, a table say.

        Parameters
        ----------
        container
            The file: what was seen in it holds until it changes.
        rows
            Places of the images in it, from 0.
        content
            Gives the bytes of the image at a place; called from several threads.

        Raises
        ------
        StorageError
            The file is missing or cannot be read.
        """
        asked = _stamped([(container, row) for row in rows])
        return self._through(asked, lambda i: inspect_image(content(rows[i])), advance)

    def _through(
        self,
        asked: Sequence[_Asked],
        look: Callable[[int], ImageInfo],
        advance: Advance | None = None,
    ) -> list[ImageInfo]:
        """Return what was seen at these places; `look` takes the index of one that is not known."""
        settled = time.time_ns() - TICK_NS
        known = self._recall([one.key for one in asked])
        fresh = [
            index
            for index, (key, size, state, _) in enumerate(asked)
            if key not in known or known[key][:2] != (size, state)
        ]
        if advance:
            advance(len(asked) - len(fresh))
        for start in range(0, len(fresh), BATCH):
            batch = fresh[start : start + BATCH]
            looked, lasting = {}, {}
            for index, seen in zip(batch, _in_threads(look, batch), strict=True):
                key, size, state, modified = asked[index]
                looked[key] = Record(size, state, seen)
                if modified < settled:
                    lasting[key] = looked[key]
                if advance:
                    advance(1)
            known |= looked
            self._keep(lasting)
        return [known[one.key].seen for one in asked]

    def _recall(self, keys: Sequence[Key]) -> dict[Key, Record]:
        try:
            return self._records.recall(keys)
        except (sqlite3.Error, OSError) as error:
            self._forget(error)
            return {}

    def _keep(self, records: dict[Key, Record]) -> None:
        try:
            self._records.keep(records)
        except (sqlite3.Error, OSError) as error:
            self._forget(error)
            self._records.keep(records)

    def _forget(self, error: Exception) -> None:
        self._records = MemoryRecords()
        if self._note:
            self._note(
                f"cannot use {self._path} ({error}): files are read anew each time; remove it, or "
                "make its folder writable"
            )


def _kind(path: Path) -> str:
    """Return why a path must not be opened; "" where it may be."""
    try:
        return unusable(path)
    except OSError as error:
        raise storage_error(path, error, reading=True) from error


def _stamped(places: Sequence[tuple[Path, int]]) -> list[_Asked]:
    """Ask for places in files by size and time of modification; a container is asked once."""
    states: dict[Path, os.stat_result] = {}
    asked = []
    for path, place in places:
        if path not in states:
            try:
                states[path] = os.stat(path)
            except OSError as error:
                raise storage_error(path, error, reading=True) from error
        state = states[path]
        time_ns = state.st_mtime_ns
        asked.append(_Asked(Key.of(path, place), state.st_size, time_ns, time_ns))
    return asked


def _in_threads(look: Callable[[int], ImageInfo], items: Sequence[int]) -> Iterator[ImageInfo]:
    """Map in order. Reading, hashing and decoding run in parallel; an error drops the rest."""
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    try:
        yield from pool.map(look, items)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
