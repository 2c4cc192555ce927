"""CIFAR-10 and CIFAR-100: 60,000 pictures of 32 x 32 pixels each (Krizhevsky, 2009), pickled.

A pickle may name any function of any module and have it called, so what CIFAR's files need (bytes,
numbers, lists, dicts and arrays of bytes) is allowed and nothing else. The three names of NumPy in
them stand for the classes here: NumPy's own reconstruction, which trusts the file, is not called
either.
"""

import pickle
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from headstart.datasets.archives.list_files import invalid_file, read_content, unpacked
from headstart.datasets.images import ArrayImages
from headstart.datasets.splits import RawDataset, Split
from headstart.errors import DatasetError

__all__ = ["read_cifar10", "read_cifar100"]

SIDE = 32


def read_cifar10(folder: Path) -> RawDataset:
    """Read ``cifar-10-batches-py``, the version for Python.

    Raises
    ------
    DatasetMissingError, DatasetError
        Files that are missing, or that hold something else.
    """
    root = unpacked("CIFAR-10", folder, "batches.meta", "cifar-10-batches-py")
    classes = _read_names(root / "batches.meta", b"label_names")
    files = {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]}
    parts = {
        part: _read_batches([root / name for name in names], b"labels", len(classes))
        for part, names in files.items()
    }
    return RawDataset(classes, parts)


def read_cifar100(folder: Path) -> RawDataset:
    """Read ``cifar-100-python``, the version for Python, with its 100 fine labels.

    Raises
    ------
    DatasetMissingError, DatasetError
        Files that are missing, or that hold something else.
    """
    # CIFAR-10's archive has no file of this name, so the two are not taken for one another.
    root = unpacked("CIFAR-100", folder, "meta", "cifar-100-python")
    classes = _read_names(root / "meta", b"fine_label_names")
    parts = {
        part: _read_batches([root / part], b"fine_labels", len(classes))
        for part in ("train", "test")
    }
    return RawDataset(classes, parts)


def _read_names(path: Path, key: bytes) -> tuple[str, ...]:
    """Read the names of the classes, in the order of the labels."""
    names = _read_pickle(path).get(key)
    if not isinstance(names, list) or not all(isinstance(name, bytes) for name in names):
        raise invalid_file(path, f"has no list of names '{key.decode()}'", found=key.decode())
    return tuple(name.decode(errors="replace") for name in names)


def _read_batches(paths: Sequence[Path], key: bytes, n_classes: int) -> Split:
    """Read files one after the other; `key` is that of the labels.

    Raises
    ------
    DatasetMissingError
        A file is not there.
    DatasetError
        A file without (n, 3072) pixels and as many labels of 0 to `n_classes` - 1.
    """
    pixels: list[npt.NDArray[np.uint8]] = []
    labels: list[int] = []
    for path in paths:
        batch = _read_pickle(path)
        data, numbers = batch.get(b"data"), batch.get(key)
        if not isinstance(data, np.ndarray) or data.shape[1:] != (3 * SIDE * SIDE,):
            fault = f"has no array 'data' of {3 * SIDE * SIDE:,} bytes per image"
            raise invalid_file(path, fault, found="data")
        if (
            not isinstance(numbers, list)
            or len(numbers) != len(data)
            or not all(isinstance(n, int) and 0 <= n < n_classes for n in numbers)
        ):
            name = key.decode()
            fault = f"has no list '{name}' of {len(data):,} labels of 0 to {n_classes - 1}"
            raise invalid_file(path, fault, found=name)
        # An image is stored as its red, its green and its blue plane, each row by row.
        pixels.append(data.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1))
        labels += numbers
    joined = ArrayImages(np.concatenate(pixels))
    return Split(joined, np.array(labels, dtype=np.int64), np.arange(len(labels), dtype=np.int64))


def _read_pickle(path: Path) -> dict[bytes, Any]:
    """Read a dict that Python 2 pickled; its text stays bytes, its arrays are uint8.

    Raises
    ------
    DatasetMissingError
        No such file.
    DatasetError
        Not a pickle of a dict, or one that holds anything else than the types named above.
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
        raise _refusal(path, str(error) or type(error).__name__) from error
    if not isinstance(content, dict):
        raise _refusal(path, f"it holds a {type(content).__name__}")
    return {
        key: value.pixels if isinstance(value, _Array) else value for key, value in content.items()
    }


def _refusal(path: Path, reason: str) -> DatasetError:
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
