"""Food-101: 101,000 photographs of dishes (Bossard, Guillaumin, Van Gool, ECCV 2014)."""

from pathlib import Path

from headstart.datasets.archives.lists import classes_in, split_by_folder, unpacked
from headstart.datasets.raw_dataset import RawDataset

__all__ = ["read"]


def read(folder: Path) -> RawDataset:
    """Read ``food-101``: lists of ``CLASS/NUMBER``, images in ``images``.

    Raises
    ------
    DatasetMissingError, DatasetError
        Lists or images that are missing; a class that only the test list has.
    """
    root = unpacked("Food-101", folder, "meta/train.txt", "food-101")
    classes = classes_in(root / "meta" / "train.txt")
    parts = {
        part: split_by_folder(root / "meta" / f"{part}.txt", root / "images", classes, ".jpg")
        for part in ("train", "test")
    }
    return RawDataset(classes, parts)
