"""Caltech-101: 9,144 pictures in 101 classes and a background class (Fei-Fei et al., 2004)."""

from pathlib import Path

import numpy as np

from headstart.datasets.archive import Archive
from headstart.datasets.archives.lists import unpacked
from headstart.datasets.images import FileImages
from headstart.datasets.splits import Split

__all__ = ["read"]

IMAGES = "101_ObjectCategories"


def read(folder: Path) -> Archive:
    """Read ``101_ObjectCategories``: one part, ``all``, since the creators made no split.

    ``BACKGROUND_Google`` is a class like the others, which makes 102. Its folder also holds a
    file that is no image, so only ``image_*.jpg`` are read.

    Raises
    ------
    DatasetMissingError
        No such folder.
    """
    root = unpacked("Caltech-101", folder, IMAGES, "caltech-101", "caltech101") / IMAGES
    classes = tuple(
        sorted(place.name for place in root.iterdir() if place.is_dir() and place.name[0] != ".")
    )
    files = [sorted((root / name).glob("image_*.jpg")) for name in classes]
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(inside) for inside in files])
    images = FileImages([path for inside in files for path in inside])
    return Archive(classes, {"all": Split(images, labels, np.arange(len(labels), dtype=np.int64))})
