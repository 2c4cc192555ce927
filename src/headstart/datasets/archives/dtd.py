"""Describable Textures (DTD): 5,640 textures in 47 classes (Cimpoi et al., CVPR 2014)."""

from pathlib import Path

from headstart.datasets.archives.lists import classes_in, split_by_folder, unpacked
from headstart.datasets.raw_dataset import RawDataset

__all__ = ["read"]

# The first of the ten splits that the creators made.
LISTS = {"train": "train1.txt", "validation": "val1.txt", "test": "test1.txt"}


def read(folder: Path) -> RawDataset:
    """Read ``dtd``: lists of ``CLASS/IMAGE``, images in ``images``; an image's key attribute.

    Raises
    ------
    DatasetMissingError, DatasetError
        Lists or images that are missing; a class that the training list has not.
    """
    # torchvision unpacks into a folder of its own: dtd/dtd.
    root = unpacked("DTD", folder, "labels/train1.txt", "dtd", "dtd/dtd")
    classes = classes_in(root / "labels" / LISTS["train"])
    parts = {
        part: split_by_folder(root / "labels" / name, root / "images", classes)
        for part, name in LISTS.items()
    }
    return RawDataset(classes, parts)
