"""The files of CIFAR-10 and CIFAR-100: pickled dicts of pixels and labels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headstart.datasets.archives.lists import FRESH_COPY
from headstart.datasets.archives.pickles import read_pickle
from headstart.datasets.images import ArrayImages
from headstart.datasets.splits import Split
from headstart.errors import DatasetError

__all__ = ["read_batches", "read_names"]

SIDE = 32


def read_names(path: Path, key: bytes) -> tuple[str, ...]:
    """Read the names of the classes, in the order of the labels."""
    names = read_pickle(path).get(key)
    if not isinstance(names, list) or not all(isinstance(name, bytes) for name in names):
        raise DatasetError(f"{path} has no list of names '{key.decode()}': {FRESH_COPY}")
    return tuple(name.decode(errors="replace") for name in names)


def read_batches(paths: Sequence[Path], key: bytes, n_classes: int) -> Split:
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
        batch = read_pickle(path)
        data, numbers = batch.get(b"data"), batch.get(key)
        if not isinstance(data, np.ndarray) or data.shape[1:] != (3 * SIDE * SIDE,):
            raise DatasetError(
                f"{path} has no array 'data' of {3 * SIDE * SIDE:,} bytes an image: {FRESH_COPY}"
            )
        if (
            not isinstance(numbers, list)
            or len(numbers) != len(data)
            or not all(isinstance(n, int) and 0 <= n < n_classes for n in numbers)
        ):
            raise DatasetError(
                f"{path} has no list '{key.decode()}' of {len(data):,} labels of 0 to "
                f"{n_classes - 1}: {FRESH_COPY}"
            )
        # An image is stored as its red, its green and its blue plane, each row by row.
        pixels.append(data.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1))
        labels += numbers
    joined = ArrayImages(np.concatenate(pixels))
    return Split(joined, np.array(labels, dtype=np.int64), np.arange(len(labels), dtype=np.int64))
