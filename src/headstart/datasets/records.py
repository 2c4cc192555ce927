"""Where it is kept what was seen of files: in a database, or in memory."""

import os
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import PIL

from headstart.datasets.image_info import ImageInfo

__all__ = ["DatabaseRecords", "Key", "MemoryRecords", "Record"]

# Raised when `inspect_image` comes to say something else. Another Pillow may know other formats.
VERSION = f"3, Pillow {PIL.__version__}"
WAIT_SECONDS = 30
SEEN = tuple(field.name for field in fields(ImageInfo))
# Of a table of its own: older versions of this program keep other columns in "files".
TABLE = "seen"
FLAGS = tuple(field.name for field in fields(ImageInfo) if field.type is bool)
COLUMNS = ("path", "place", "version", "size", "modified", *SEEN)
# SQLite before 3.32 takes 999 variables in one query.
BATCH = 900


class Key(NamedTuple):
    """What was looked at: a file's path, absolute, and the place of an image inside it.

    The path is bytes: a file's name need not be text. Negative places are kinds of look at the
    file itself.
    """

    path: bytes
    place: int

    @classmethod
    def of(cls, path: Path, place: int) -> "Key":
        """Name a file by its absolute path."""
        return cls(os.fsencode(path if path.is_absolute() else path.absolute()), place)


class Record(NamedTuple):
    """What was seen in a file of this size, in bytes, and time of modification, in ns.

    Of images that are made of several files, `modified` is any number that tells their state.
    """

    size: int
    modified: int
    seen: ImageInfo


class MemoryRecords:
    """Records that last as long as this object."""

    def __init__(self) -> None:
        self._records: dict[Key, Record] = {}

    def recall(self, keys: Collection[Key]) -> dict[Key, Record]:
        """Return what is known of these keys."""
        return {key: self._records[key] for key in keys if key in self._records}

    def keep(self, records: Mapping[Key, Record]) -> None:
        """Remember."""
        self._records.update(records)


class DatabaseRecords:
    """Records in an SQLite file that several processes may use at once.

    Parameters
    ----------
    path
        The file; made, with its folder, when it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def recall(self, keys: Collection[Key]) -> dict[Key, Record]:
        """Return what is known of these keys.

        Raises
        ------
        sqlite3.Error, OSError
            A file that cannot be used, or is no database.
        """
        wanted = set(keys)
        paths = sorted({key.path for key in wanted})
        first = min((key.place for key in wanted), default=0)
        last = max((key.place for key in wanted), default=0)
        found = {}
        with self._session() as connection:
            for start in range(0, len(paths), BATCH):
                some = paths[start : start + BATCH]
                rows = connection.execute(
                    f"SELECT * FROM {TABLE} WHERE path IN ({', '.join('?' * len(some))}) "  # noqa: S608
                    "AND version = ? AND place BETWEEN ? AND ?",
                    (*some, VERSION, first, last),
                )
                for path, place, _, size, modified, *seen in rows:
                    found[Key(path, place)] = Record(size, modified, _as_seen(seen))
        return {key: found[key] for key in found.keys() & wanted}

    def keep(self, records: Mapping[Key, Record]) -> None:
        """Remember, in one transaction.

        Raises
        ------
        sqlite3.Error, OSError
            A file that cannot be written, or is no database.
        """
        values_of = attrgetter(*SEEN)
        rows = [
            (*key, VERSION, record.size, record.modified, *values_of(record.seen))
            for key, record in records.items()
        ]
        marks = ", ".join("?" * len(COLUMNS))
        with self._session() as connection, connection:
            connection.executemany(f"REPLACE INTO {TABLE} VALUES ({marks})", rows)  # noqa: S608

    @contextmanager
    def _session(self) -> Iterator[sqlite3.Connection]:
        """Connect for a moment: the object may go to other threads and processes."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # No write-ahead log: it does not work on network drives, where caches often are.
        with closing(sqlite3.connect(self._path, timeout=WAIT_SECONDS)) as connection:
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {TABLE} ({', '.join(COLUMNS)}, "
                "PRIMARY KEY (path, place)) WITHOUT ROWID"
            )
            yield connection


def _as_seen(row: list[Any]) -> ImageInfo:
    """Make a ImageInfo of its columns; SQLite gives truth values as numbers."""
    values = dict(zip(SEEN, row, strict=True))
    return ImageInfo(**values | {name: bool(values[name]) for name in FLAGS})
