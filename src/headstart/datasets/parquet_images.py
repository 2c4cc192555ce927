"""Images inside Parquet files, as the Hugging Face hub keeps them.

Row groups are decoded when an image of theirs is asked for, and the last few are kept: a walk
through the rows reads every row group once, and memory stays within a few of them.
"""

import copy
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from headstart.datasets.decode import kind_of_file
from headstart.datasets.file_index import Advance, FileIndex
from headstart.datasets.image_info import ImageInfo
from headstart.datasets.images import EncodedImages
from headstart.errors import DatasetError, StorageError
from headstart.files import storage_errors

__all__ = ["ParquetImages", "kept_paths", "opened"]

# The hub writes 100 images per row group, 1,000 in older files.
KEPT = 3
BYTES, PATH = "bytes", "path"
# Bytes that tell what a file is.
HEAD = 1024


@contextmanager
def opened(file: Path) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file.

    Raises
    ------
    StorageError
        It cannot be read.
    DatasetError
        It is no Parquet file, or it is cut off: the index is at its end.
    """
    with storage_errors(file, reading=True):
        content = file.open("rb")
        start = content.read(HEAD)
    try:
        # An open file: Arrow takes no name that is not UTF-8.
        with content, pq.ParquetFile(content) as parquet:
            yield parquet
    # What is damaged shows as either kind, depending on where it is.
    except (pa.ArrowException, OSError) as error:
        if kind := kind_of_file(start):
            raise DatasetError(
                f"{file} is no Parquet file but {kind}", code="dataset.unreadable", found=kind
            ) from error
        said = str(error).strip().splitlines()[0]
        raise DatasetError(
            f"{file} is not a whole Parquet file ({said}): fetch it again",
            code="dataset.unreadable",
        ) from error


class ParquetImages(EncodedImages):
    """Images in a column of Parquet files.

    Parameters
    ----------
    files
        In order: the rows of the second follow those of the first.
    column
        Of type struct<bytes: binary, path: string>, or binary.

    Raises
    ------
    DatasetError
        A file is no Parquet file.
    """

    def __init__(self, files: Sequence[Path], column: str) -> None:
        self._column = _Column(files, column)
        self._rows = np.arange(len(self._column), dtype=np.int64)

    def __len__(self) -> int:
        return len(self._rows)

    def content(self, row: int) -> bytes:
        return self._column.content(int(self._rows[row]))

    def where(self, row: int) -> str:
        return self._column.where(int(self._rows[row]))

    def take(self, rows: npt.NDArray[np.int64]) -> "ParquetImages":
        taken = copy.copy(self)
        taken._rows = self._rows[rows]
        return taken

    def info(self, file_index: FileIndex, advance: Advance | None = None) -> list[ImageInfo]:
        places, inside = self._column.places(self._rows)
        found: dict[int, ImageInfo] = {}
        for place in np.unique(places).tolist():
            rows = np.flatnonzero(places == place)
            seen = file_index.inspect_inside(
                self._column.files[place],
                inside[rows].tolist(),
                partial(self._column.content_in, place),
                advance,
            )
            found |= zip(rows.tolist(), seen, strict=True)
        return [found[row] for row in range(len(self))]

    def digest(self, file_index: FileIndex, advance: Advance | None = None) -> str:
        """Hexadecimal SHA-256 over (SHA-256 of the file, row in the file as int64), in order."""
        places, inside = self._column.places(self._rows)
        digests = {}
        used, counts = np.unique(places, return_counts=True)
        for place, n_images in zip(used.tolist(), counts.tolist(), strict=True):
            (digest,) = file_index.sha256([self._column.files[place]])
            digests[place] = bytes.fromhex(digest)
            if advance:
                advance(n_images)
        content = hashlib.sha256()
        for place, row in zip(places.tolist(), inside.astype("<i8"), strict=True):
            content.update(digests[place] + row.tobytes())
        return content.hexdigest()


def kept_paths(file: Path, column: str) -> list[str | None] | None:
    """Return the paths in a column of images that holds no image itself; None if it holds some.

    Raises
    ------
    DatasetError
        It is no Parquet file.
    """
    with opened(file) as parquet:
        if not _is_struct(parquet, column):
            return None
        for group in range(parquet.num_row_groups):
            found = parquet.read_row_group(group, columns=[f"{column}.{BYTES}"]).column(0)
            if any(value.as_py() and value[BYTES].is_valid for value in found):
                return None
        return list(_names(parquet, column))


class _Column:
    """A column of images over several files; all subsets of the images share it."""

    def __init__(self, files: Sequence[Path], name: str) -> None:
        self.files = tuple(files)
        self._name = name
        sizes, names = [], []
        for file in self.files:
            with opened(file) as parquet:
                groups = [
                    parquet.metadata.row_group(group).num_rows
                    for group in range(parquet.num_row_groups)
                ]
                names.append(_names(parquet, name))
            sizes.append(groups)
        self._names = np.concatenate([np.zeros(0, dtype=object), *names])
        # (file, row group) of each run of rows, and the number of its first row.
        self._groups = [(f, g) for f, groups in enumerate(sizes) for g in range(len(groups))]
        self._firsts = _firsts([n for groups in sizes for n in groups])
        self.file_firsts = _firsts([sum(groups) for groups in sizes])
        self._kept: OrderedDict[int, Any] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._names)

    def places(
        self, rows: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the number of each row's file, and its number in that file."""
        files = np.searchsorted(self.file_firsts, rows, side="right") - 1
        return files, rows - self.file_firsts[files]

    def where(self, row: int) -> str:
        (place,), (inside,) = self.places(np.array([row]))
        file, name = self.files[place], self._names[row]
        # 0000.parquet is in every folder of the hub's own conversions.
        shown = f"{file.parent.name}/{file.name}" if file.stem.isdigit() else file.name
        return f"{shown}, row {inside}" + (f" ({name})" if name else "")

    def content(self, row: int) -> bytes:
        """Read the bytes of an image, b"" where there are none."""
        group = int(np.searchsorted(self._firsts, row, side="right")) - 1
        # Threads that decode ask for neighbours: the second one waits, and finds it read.
        with self._lock:
            if group not in self._kept:
                while len(self._kept) >= KEPT:
                    self._kept.popitem(last=False)
                self._kept[group] = self._read(group)
            self._kept.move_to_end(group)
            values = self._kept[group]
        value = values[row - int(self._firsts[group])].as_py()
        content: bytes | None = value[BYTES] if isinstance(value, dict) else value
        return content or b""

    def content_in(self, file: int, row: int) -> bytes:
        """Read the bytes of the image in a row of a file."""
        return self.content(int(self.file_firsts[file]) + row)

    def _read(self, group: int) -> pa.ChunkedArray:
        place, inside = self._groups[group]
        file = self.files[place]
        try:
            with opened(file) as parquet:
                leaf = f"{self._name}.{BYTES}" if _is_struct(parquet, self._name) else self._name
                return parquet.read_row_group(inside, columns=[leaf]).column(0)
        except DatasetError as error:
            raise StorageError(str(error), code="storage.damaged") from error


def _firsts(sizes: list[int]) -> npt.NDArray[np.int64]:
    """Return the number of the first row of each of several runs of rows."""
    return np.cumsum([0, *sizes], dtype=np.int64)[:-1]


def _is_struct(parquet: pq.ParquetFile, column: str) -> bool:
    return bool(pa.types.is_struct(parquet.schema_arrow.field(column).type))


def _names(parquet: pq.ParquetFile, column: str) -> npt.NDArray[Any]:
    """Read what the images were called, without reading the images."""
    names = np.full(parquet.metadata.num_rows, None, dtype=object)
    field = parquet.schema_arrow.field(column)
    if pa.types.is_struct(field.type) and field.type.get_field_index(PATH) >= 0:
        column_of_names = parquet.read(columns=[f"{column}.{PATH}"]).column(0)
        names[:] = [value and value[PATH] for value in column_of_names.to_pylist()]
    return names
