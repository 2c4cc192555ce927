"""A folder of the user's: split folders that hold class folders that hold images.

photos/train/cat/1.jpg
photos/validation/cat/2.jpg
photos/test/cat/3.jpg
"""

from pathlib import Path

import numpy as np

from headstart.datasets.images import FileImages
from headstart.datasets.splits import Split
from headstart.errors import DatasetError, DatasetMissingError

__all__ = ["class_folders", "read", "read_split"]

SPLITS = ("train", "validation", "test")


def read(folder: Path) -> tuple[tuple[str, ...], dict[str, Split]]:
    """Read (classes, splits); the classes are those that have a folder in ``train``.

    Raises
    ------
    DatasetMissingError
        No such folder.
    DatasetError
        A split folder is missing, or a split has a class that ``train`` has not.
    """
    if not folder.is_dir():
        raise DatasetMissingError(f"dataset folder {folder} does not exist")
    for split in SPLITS:
        if not (folder / split).is_dir():
            raise DatasetError(
                f"dataset folder {folder} has no folder '{split}': expected "
                f"{folder}/{{train,validation,test}}/CLASS/IMAGE"
            )
    classes = class_folders(folder / "train")
    return classes, {split: read_split(folder / split, classes) for split in SPLITS}


def read_split(folder: Path, classes: tuple[str, ...]) -> Split:
    """Read class folders; a label is the place in `classes`."""
    if unknown := set(class_folders(folder)) - set(classes):
        raise DatasetError(
            f"{folder} has images labelled outside the classes: '{min(unknown)}' has no folder in "
            f"{folder.parent / 'train'}; add training images of it or remove it"
        )
    paths, labels = [], []
    for label, name in enumerate(classes):
        inside = sorted((folder / name).iterdir()) if (folder / name).is_dir() else []
        files = [file for file in inside if file.is_file() and not file.name.startswith(".")]
        paths += files
        labels += [label] * len(files)
    return Split(FileImages(paths), np.array(labels, dtype=np.int64), np.arange(len(labels)))


def class_folders(folder: Path) -> tuple[str, ...]:
    """Give the names of the folders in a folder, sorted."""
    return tuple(sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name[0] != "."))
