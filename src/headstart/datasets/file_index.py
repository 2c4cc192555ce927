"""An index of image files: each is read once, and again after it changed.

A file counts as unchanged while path, size and time of modification are the same. One that was
modified in the last seconds is not remembered: it could change once more within a tick of the file
system's clock. What was found is kept in a database, or in memory.
"""

import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import PIL

from headstart.datasets.decode import ImageInfo, inspect_image
from headstart.errors import StorageError
from headstart.files import locked, md5_file, sha256_file, storage_error, storage_errors, unusable
from headstart.threads import available_cpus

__all__ = ["Advance", "FileIndex", "Fingerprint"]

# Raised when `inspect_image` comes to say something else. Another Pillow may know other formats.
VERSION = f"3, Pillow {PIL.__version__}"
WAIT_SECONDS = 30
FIELDS = tuple(field.name for field in fields(ImageInfo))
# Of a table of its own: older versions of this program keep other columns in "files".
TABLE = "seen"
FLAGS = tuple(field.name for field in fields(ImageInfo) if field.type is bool)
COLUMNS = ("path", "place", "version", "size", "modified", *FIELDS)
# SQLite before 3.32 takes 999 variables in one query.
MOST_VARIABLES = 900
# Called with the number of further images done.
Advance = Callable[[int], None]

# Kinds of look at a file: as an image, or its bytes alone, by SHA-256 or MD5.
IMAGE, BYTES, PUBLISHED = -1, -2, -3
# The coarsest clock of a file system in use is FAT's.
TICK_NS = 2_000_000_000
# So much work an interrupt may lose.
BATCH = 1000

# What was looked at: a file's absolute path, as bytes since its name need not be text, and the
# place of an image inside it. Negative places are kinds of look at the file itself.
Key = tuple[bytes, int]


class Record(NamedTuple):
    """What was seen in a file of this size, in bytes, and state: its time of modification, in ns.

    Of images that are made of several files, `state` is any number that tells theirs.
    """

    size: int
    state: int
    info: ImageInfo


class Fingerprint(NamedTuple):
    """What makes images of files, and what tells that it would make the same ones again.

    `name` says what it is and where, `n_bytes` the size of its files, `state` is a number that is
    another when any of them is; `modified` is when the last one was, in ns.
    """

    name: str
    n_bytes: int
    state: int
    modified: int


class _Lookup(NamedTuple):
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
        # Where there is no database.
        self._in_memory: dict[Key, Record] = {}

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

        `look` is called with some of `rows`, places of images from 0, in several threads.
        """
        path = os.fsencode(fingerprint.name)
        stamp = (fingerprint.n_bytes, fingerprint.state, fingerprint.modified)
        lookups = [_Lookup((path, row), *stamp) for row in rows]
        return self._through(lookups, lambda i: look(rows[i]), advance)

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
        return [info.sha256 for info in found]

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
        """Look at images that are inside one file, a table say, known until it changes.

        `content` gives the bytes of the image at one of `rows`, places from 0; it is called in
        several threads. StorageError if the file is missing or cannot be read.
        """
        lookups = _stamped([(container, row) for row in rows])
        return self._through(lookups, lambda i: inspect_image(content(rows[i])), advance)

    def _through(
        self,
        lookups: Sequence[_Lookup],
        look: Callable[[int], ImageInfo],
        advance: Advance | None = None,
    ) -> list[ImageInfo]:
        """Return what was seen at these places; `look` takes the index of one that is not known."""
        settled = time.time_ns() - TICK_NS
        known = self._recall([one.key for one in lookups])
        fresh = [
            index
            for index, (key, size, state, _) in enumerate(lookups)
            if key not in known or known[key][:2] != (size, state)
        ]
        if advance:
            advance(len(lookups) - len(fresh))
        for start in range(0, len(fresh), BATCH):
            batch = fresh[start : start + BATCH]
            looked, lasting = {}, {}
            for index, info in zip(batch, _in_threads(look, batch), strict=True):
                key, size, state, modified = lookups[index]
                looked[key] = Record(size, state, info)
                if modified < settled:
                    lasting[key] = looked[key]
                if advance:
                    advance(1)
            known |= looked
            self._keep(lasting)
        return [known[one.key].info for one in lookups]

    def _recall(self, keys: Collection[Key]) -> dict[Key, Record]:
        if self._path is not None:
            try:
                return self._read(set(keys))
            except (sqlite3.Error, OSError) as error:
                self._do_without(error)
        return {key: self._in_memory[key] for key in keys if key in self._in_memory}

    def _keep(self, records: dict[Key, Record]) -> None:
        if self._path is not None:
            try:
                self._write(records)
            except (sqlite3.Error, OSError) as error:
                self._do_without(error)
            else:
                return
        self._in_memory |= records

    def _do_without(self, error: Exception) -> None:
        if self._note:
            self._note(
                f"cannot use {self._path} ({error}): files are read anew each time; remove it, or "
                "make its folder writable"
            )
        self._path = None

    def _read(self, wanted: set[Key]) -> dict[Key, Record]:
        paths = sorted({path for path, _ in wanted})
        first = min((place for _, place in wanted), default=0)
        last = max((place for _, place in wanted), default=0)
        found = {}
        with self._session() as connection:
            for start in range(0, len(paths), MOST_VARIABLES):
                some = paths[start : start + MOST_VARIABLES]
                rows = connection.execute(
                    f"SELECT * FROM {TABLE} WHERE path IN ({', '.join('?' * len(some))}) "  # noqa: S608
                    "AND version = ? AND place BETWEEN ? AND ?",
                    (*some, VERSION, first, last),
                )
                for path, place, _, size, state, *fields_of in rows:
                    if (path, place) in wanted:
                        values = dict(zip(FIELDS, fields_of, strict=True))
                        # SQLite gives truth values as numbers.
                        values |= {name: bool(values[name]) for name in FLAGS}
                        found[path, place] = Record(size, state, ImageInfo(**values))
        return found

    def _write(self, records: Mapping[Key, Record]) -> None:
        values_of = attrgetter(*FIELDS)
        rows = [
            (*key, VERSION, record.size, record.state, *values_of(record.info))
            for key, record in records.items()
        ]
        marks = ", ".join("?" * len(COLUMNS))
        with self._session() as connection, connection:
            connection.executemany(f"REPLACE INTO {TABLE} VALUES ({marks})", rows)  # noqa: S608

    @contextmanager
    def _session(self) -> Iterator[sqlite3.Connection]:
        """Connect for a moment: the object may go to other threads and processes."""
        assert self._path is not None  # noqa: S101 - callers look
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # No write-ahead log: it does not work on network drives, where caches often are; nor may
        # the locks of SQLite, which are those of the file system.
        with ExitStack() as stack:
            # Where no lock can be written, nobody writes to the database.
            with suppress(StorageError):
                stack.enter_context(locked(self._path.with_suffix(".lock"), lambda: None))
            connection = sqlite3.connect(self._path, timeout=WAIT_SECONDS)
            stack.enter_context(closing(connection))
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {TABLE} ({', '.join(COLUMNS)}, "
                "PRIMARY KEY (path, place)) WITHOUT ROWID"
            )
            yield connection


def _kind(path: Path) -> str:
    """Return why a path must not be opened; "" where it may be."""
    try:
        return unusable(path)
    except OSError as error:
        raise storage_error(path, error, reading=True) from error


def _stamped(places: Sequence[tuple[Path, int]]) -> list[_Lookup]:
    """Ask for places in files by size and time of modification; a container is asked once."""
    states: dict[Path, os.stat_result] = {}
    lookups = []
    for path, place in places:
        if path not in states:
            try:
                states[path] = os.stat(path)
            except OSError as error:
                raise storage_error(path, error, reading=True) from error
        state = states[path]
        key = (os.fsencode(path.absolute()), place)
        lookups.append(_Lookup(key, state.st_size, state.st_mtime_ns, state.st_mtime_ns))
    return lookups


def _in_threads(look: Callable[[int], ImageInfo], items: Sequence[int]) -> Iterator[ImageInfo]:
    """Map in order. Reading, hashing and decoding run in parallel; an error drops the rest."""
    pool = ThreadPoolExecutor(min(8, available_cpus()))
    try:
        yield from pool.map(look, items)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
