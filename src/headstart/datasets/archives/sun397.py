"""SUN397: scenes in 397 classes (Xiao et al., CVPR 2010)."""

from pathlib import Path

from headstart.datasets.archive import Archive
from headstart.datasets.archives.lists import read_lines, split_by_folder, unpacked

__all__ = ["read"]

# The first of the ten splits that the creators made.
LISTS = {"train": "Training_01.txt", "test": "Testing_01.txt"}


def read(folder: Path) -> Archive:
    """Read ``SUN397`` with the lists of ``Partitions.zip`` in it.

    A class is known by its whole path, ``/c/church/indoor``: by their last part, all that end in
    ``indoor`` would be one.

    Raises
    ------
    DatasetMissingError, DatasetError
        Lists or images that are missing; an image in a folder that is no class.
    """
    root = unpacked("SUN397", folder, "ClassName.txt", "SUN397")
    classes = tuple(read_lines(root / "ClassName.txt"))
    parts = {part: split_by_folder(root / name, root, classes) for part, name in LISTS.items()}
    return Archive(classes, parts)
