"""CIFAR-10: 60,000 pictures of 32 x 32 pixels in 10 classes (Krizhevsky, 2009)."""

from pathlib import Path

from headstart.datasets.archives.cifar_batches import read_batches, read_names
from headstart.datasets.archives.lists import unpacked
from headstart.datasets.raw_dataset import RawDataset

__all__ = ["read"]

TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))


def read(folder: Path) -> RawDataset:
    """Read ``cifar-10-batches-py``, the version for Python.

    Raises
    ------
    DatasetMissingError, DatasetError
        Files that are missing, or that hold something else.
    """
    root = unpacked("CIFAR-10", folder, "batches.meta", "cifar-10-batches-py")
    classes = read_names(root / "batches.meta", b"label_names")
    files = {"train": TRAIN, "test": ("test_batch",)}
    parts = {
        part: read_batches([root / name for name in names], b"labels", len(classes))
        for part, names in files.items()
    }
    return RawDataset(classes, parts)
