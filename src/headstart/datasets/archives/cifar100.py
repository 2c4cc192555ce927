"""CIFAR-100: 60,000 pictures of 32 x 32 pixels in 100 classes (Krizhevsky, 2009)."""

from pathlib import Path

from headstart.datasets.archives.cifar_batches import read_batches, read_names
from headstart.datasets.archives.lists import unpacked
from headstart.datasets.raw_dataset import RawDataset

__all__ = ["read"]


def read(folder: Path) -> RawDataset:
    """Read ``cifar-100-python``, the version for Python, with its 100 fine labels.

    Raises
    ------
    DatasetMissingError, DatasetError
        Files that are missing, or that hold something else.
    """
    # CIFAR-10's archive has no file of this name, so the two are not taken for one another.
    root = unpacked("CIFAR-100", folder, "meta", "cifar-100-python")
    classes = read_names(root / "meta", b"fine_label_names")
    parts = {
        part: read_batches([root / part], b"fine_labels", len(classes))
        for part in ("train", "test")
    }
    return RawDataset(classes, parts)
