"""Pickles of bytes, numbers, lists, dicts and arrays of bytes, read without running anything.

A pickle may name any function of any module and have it called, so what CIFAR's files need is
allowed and nothing else. The three names of NumPy in them stand for the classes here: NumPy's own
reconstruction, which trusts the file, is not called either.
"""

import pickle
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from headstart.datasets.archives.lists import FRESH_COPY, read_content
from headstart.errors import DatasetError

__all__ = ["read_pickle"]


def read_pickle(path: Path) -> dict[bytes, Any]:
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
        raise DatasetError(_refusal(path, str(error) or type(error).__name__)) from error
    if not isinstance(content, dict):
        raise DatasetError(_refusal(path, f"it holds a {type(content).__name__}"))
    return {
        key: value.pixels if isinstance(value, _Array) else value for key, value in content.items()
    }


def _refusal(path: Path, reason: str) -> str:
    return (
        f"{path} is not one of CIFAR's pickles ({reason}): expected a dict of bytes, numbers, "
        f"lists and arrays of bytes, and for safety nothing else is read; {FRESH_COPY}"
    )


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
