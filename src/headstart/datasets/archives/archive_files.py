"""Files of the creators' archives, as their readers share them: lists, MATLAB files, pickles.

Each function raises DatasetMissingError for a file that is not there.

A pickle may name any function of any module and have it called, so what CIFAR's files need (bytes,
numbers, lists, dicts and arrays of bytes) is allowed and nothing else. The three names of NumPy in
them stand for the classes here: NumPy's own reconstruction, which trusts the file, is not called
either.
"""

import pickle
import zlib
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from headstart.datasets.images import FileImages
from headstart.datasets.splits import Split
from headstart.errors import DatasetError, DatasetMissingError, NotUnpackedError
from headstart.files import storage_errors

__all__ = [
    "Labels",
    "first_with",
    "has_content",
    "invalid_file",
    "labels_of",
    "listed_split",
    "read_content",
    "read_lines",
    "read_pickle",
    "read_rows",
    "read_variable",
    "split_by_folder",
    "unpacked",
    "whole_numbers",
]

Labels = npt.NDArray[np.int64]


def invalid_file(path: Path, fault: str, **values: object) -> DatasetError:
    """Make the error about a file that is not as its creators made it: its name, then `fault`."""
    return DatasetError(
        f"{path} {fault}; fetch a fresh copy",
        code="dataset.archive_invalid",
        file=path.name,
        **values,
    )


def unpacked(title: str, folder: Path, markers: str | tuple[str, ...], *inside: str) -> Path:
    """Find where an archive was unpacked: `folder` itself, or one of the folders `inside` it.

    The place is known by a file or folder in it, any of `markers`; NotUnpackedError, with the
    dataset's `title`, where none is in any of these places.
    """
    markers = (markers,) if isinstance(markers, str) else markers
    place = first_with(markers, folder, *(folder / name for name in inside))
    if place is None:
        raise NotUnpackedError(
            f"{title} is not in {folder}: expected {' or '.join(markers)} there, or in "
            f"{' or '.join(inside)}; unpack the creators' archive in that folder",
            expected=markers,
        )
    return place


def first_with(markers: Iterable[str], *places: Path) -> Path | None:
    """Return the first of `places` that holds any of `markers`; None if none does."""
    markers = tuple(markers)
    for place in places:
        if any((place / marker).exists() for marker in markers):
            return place
    return None


def read_content(path: Path) -> bytes:
    """Read a file of the archive; DatasetMissingError if it is not there."""
    if not path.is_file():
        raise DatasetMissingError(
            f"{path} is missing: unpack all of the creators' archive",
            code="dataset.file_missing",
            file=path.name,
        )
    with storage_errors(path, reading=True):
        return path.read_bytes()


def read_lines(path: Path) -> list[str]:
    """Read lines without the blanks around them, empty ones left out; DatasetError if not UTF-8."""
    try:
        text = read_content(path).decode()
    except UnicodeDecodeError as error:
        raise invalid_file(path, "is not text in UTF-8") from error
    return [line for line in map(str.strip, text.split("\n")) if line]


def read_rows(path: Path, n_fields: int) -> list[list[str]]:
    """Read lines of `n_fields` fields between blanks; the last field may hold blanks itself.

    DatasetError for a line with fewer fields.
    """
    rows = []
    for line in read_lines(path):
        row = line.split(maxsplit=n_fields - 1)
        if len(row) != n_fields:
            raise invalid_file(
                path, f"has the line '{line}': expected {n_fields} fields", found=line
            )
        rows.append(row)
    return rows


def labels_of(names: Iterable[str], classes: Sequence[str], source: Path) -> Labels:
    """Return the (n,) int64 places of `names` among `classes`; DatasetError for one of no class."""
    places = {name: place for place, name in enumerate(classes)}
    names = list(names)
    if unknown := set(names) - set(places):
        name = min(unknown)
        fault = f"names the class '{name}', which is none of the dataset's {len(classes)}"
        raise invalid_file(source, fault, found=name)
    return np.array([places[name] for name in names], dtype=np.int64)


def whole_numbers(
    numbers: Iterable[Any], source: Path, what: str, *, least: int = 1, most: int | None = None
) -> Labels:
    """Turn whole numbers that count from `least` into (n,) int64 that count from 0.

    They may be of any type, text and MATLAB's doubles too. DatasetError, which says `what` they
    number, for one that is not whole, under `least`, or over `most` if that is known.
    """
    expected = f"whole numbers from {least}" + ("" if most is None else f" to {most:,}")
    values = []
    for number in numbers:
        try:
            value = float(number)
        except (TypeError, ValueError):
            value = float("nan")
        if not value.is_integer() or value < least or (most is not None and value > most):
            fault = f"has the {what} {value:g}: expected {expected}"
            raise invalid_file(source, fault, found=f"{value:g}", expected=expected)
        values.append(int(value) - least)
    return np.array(values, dtype=np.int64)


def listed_split(paths: Sequence[Path], labels: Labels, source: Path) -> Split:
    """Take the images that `source` lists; DatasetMissingError if some are not there, or empty."""
    gone = [path for path in paths if not has_content(path)]
    if gone:
        raise DatasetMissingError(
            f"{len(gone):,} of the {len(paths):,} images that {source} lists are missing or empty, "
            f"first {gone[0]}: unpack all of the creators' archive",
            code="dataset.images_missing",
            n=len(gone),
            of=len(paths),
            first=str(gone[0]),
        )
    return Split(FileImages(paths), labels, np.arange(len(paths), dtype=np.int64))


def has_content(path: Path) -> bool:
    """Whether a file is there with anything in it: a download that failed leaves an empty one."""
    return path.is_file() and path.stat().st_size > 0


def split_by_folder(path: Path, images: Path, classes: Sequence[str], suffix: str = "") -> Split:
    """Read a list of ``CLASS/IMAGE`` lines; the class is all before the last slash."""
    lines = read_lines(path)
    # A leading slash would make the path start at the root of the file system.
    paths = [images / f"{line.lstrip('/')}{suffix}" for line in lines]
    labels = labels_of((line.rpartition("/")[0] for line in lines), classes, path)
    return listed_split(paths, labels, path)


def read_variable(path: Path, name: str) -> npt.NDArray[Any]:
    """Read a MATLAB variable as a vector: numbers, text (a cell array), or records (structs).

    DatasetError for what is no MATLAB file, or one without this variable.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    content = BytesIO(read_content(path))
    try:
        variables = loadmat(content, squeeze_me=True, variable_names=[name])
    # What scipy's readers raise on other content is not one type.
    except (
        MatReadError,
        NotImplementedError,
        LookupError,
        OSError,
        TypeError,
        ValueError,
        zlib.error,
    ) as error:
        raise invalid_file(path, f"is not a MATLAB file ({error})") from error
    if name not in variables:
        raise invalid_file(path, f"has no variable '{name}'", found=name)
    return np.atleast_1d(np.asarray(variables[name])).ravel()


def read_pickle(path: Path) -> dict[bytes, Any]:
    """Read a dict that Python 2 pickled; its text stays bytes, its arrays are uint8.

    DatasetError for what is no pickle of a dict, or holds anything else than the types named above.
    """
    try:
        content = _Unpickler(BytesIO(read_content(path)), encoding="bytes").load()
    # What a damaged pickle raises is not one type.
    except (
        pickle.UnpicklingError,
        AttributeError,
        EOFError,
        LookupError,
        MemoryError,
        OverflowError,
        TypeError,
        ValueError,
    ) as error:
        raise _not_of_cifar(path, str(error) or type(error).__name__) from error
    if not isinstance(content, dict):
        raise _not_of_cifar(path, f"it holds a {type(content).__name__}")
    return {
        key: value.pixels if isinstance(value, _Array) else value for key, value in content.items()
    }


def _not_of_cifar(path: Path, reason: str) -> DatasetError:
    fault = (
        f"is not one of CIFAR's pickles ({reason}): expected a dict of bytes, numbers, lists and "
        "arrays of bytes, and for safety nothing else is read"
    )
    return invalid_file(path, fault, reason=reason)


class _DType:
    """What ``numpy.dtype`` stands for: arrays of bytes only."""

    def __init__(self, code: bytes, *_align_and_copy: int) -> None:
        if code != b"u1":
            raise pickle.UnpicklingError(f"an array of type {code!r}")

    def __setstate__(self, state: object) -> None:
        """Byte order and the like mean nothing to single bytes."""


class _Array:
    """What ``numpy.ndarray`` stands for."""

    pixels: npt.NDArray[np.uint8] = np.zeros(0, np.uint8)

    def __setstate__(self, state: tuple[int, tuple[int, ...], _DType, bool, bytes]) -> None:
        _version, shape, dtype, fortran_order, content = state
        if not isinstance(dtype, _DType) or not isinstance(content, bytes):
            raise pickle.UnpicklingError("an array that is not of bytes")
        order: Literal["C", "F"] = "F" if fortran_order else "C"
        self.pixels = np.frombuffer(content, np.uint8).reshape(shape, order=order)


def _reconstruct(_kind: type, _shape: tuple[int, ...], _code: bytes) -> _Array:
    """Stand for NumPy's function of that name: an empty array, whose state comes next."""
    return _Array()


ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Look up what the file wants to call."""
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return ALLOWED[module, name]
