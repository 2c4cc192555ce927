"""Caltech-101: 9,144 pictures in 101 classes and a background class (Fei-Fei et al., 2004)."""

from pathlib import Path

import numpy as np

from headstart.datasets.archives.lists import first_with, listed_split, unpacked
from headstart.datasets.raw_dataset import RawDataset
from headstart.errors import DatasetMissingError

__all__ = ["read"]

IMAGES = "101_ObjectCategories"
INNER = "101_ObjectCategories.tar.gz"
PLACES = ("caltech-101", "caltech101")


def read(folder: Path) -> RawDataset:
    """Read ``101_ObjectCategories``: one part, ``all``, since the creators made no split.

    ``BACKGROUND_Google`` is a class like the others, which makes 102. Its folder also holds a
    file that is no image, so only ``image_*.jpg`` are read.

    Raises
    ------
    DatasetMissingError
        No such folder, or empty images in it.
    """
    places = [folder / name for name in PLACES]
    # The archive holds another one, which is easily left as it is.
    packed = first_with([INNER], folder, *places)
    if packed and not first_with([IMAGES], folder, *places):
        raise DatasetMissingError(f"{packed / INNER} is not unpacked: unpack it in {packed}")
    root = unpacked("Caltech-101", folder, IMAGES, *PLACES) / IMAGES
    classes = tuple(
        sorted(place.name for place in root.iterdir() if place.is_dir() and place.name[0] != ".")
    )
    files = [sorted((root / name).glob("image_*.jpg")) for name in classes]
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(inside) for inside in files])
    paths = [path for inside in files for path in inside]
    return RawDataset(classes, {"all": listed_split(paths, labels, root)})
