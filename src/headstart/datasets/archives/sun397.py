"""SUN397: scenes in 397 classes (Xiao et al., CVPR 2010).

Some files are PNG, GIF or BMP under names that end in ``.jpg``. The content of two is badly
encoded, and tensorflow/datasets leaves them out: ``c/church/outdoor/sun_bhenjvsvrtumjuri.jpg`` and
``t/track/outdoor/sun_aophkoiosslinihb.jpg``. Here they are images like the others, as in the
creators' lists.
"""

from pathlib import Path

from headstart.datasets.archives.lists import first_with, read_lines, split_by_folder, unpacked
from headstart.datasets.raw_dataset import RawDataset
from headstart.errors import DatasetMissingError

__all__ = ["read"]

# The first of the ten splits that the creators made.
LISTS = {"train": "Training_01.txt", "test": "Testing_01.txt"}
CLASSES = "ClassName.txt"
# The archive of the images makes SUN397; that of the lists makes no folder, so that people make
# one, and either may lie in the other's.
WITH_LISTS = ("SUN397", "Partitions", "SUN397/Partitions")
WITH_IMAGES = ("SUN397", "SUN397/SUN397")


def read(folder: Path) -> RawDataset:
    """Read the images of ``SUN397.tar.gz`` and the lists of ``Partitions.zip``.

    Each is looked for on its own: in the folder, in ``SUN397``, and the lists in ``Partitions``
    too. A class is known by its whole path, ``/c/church/indoor``: by their last part, all that
    end in ``indoor`` would be one.

    Raises
    ------
    DatasetMissingError, DatasetError
        Lists or images that are missing; an image in a folder that is no class.
    """
    places = [folder, *(folder / name for name in WITH_LISTS)]
    lists = first_with(LISTS.values(), *places)
    # Both archives have the names of the classes.
    names = unpacked("SUN397", folder, CLASSES, *WITH_LISTS) / CLASSES
    if lists is None:
        raise DatasetMissingError(
            f"the splits of SUN397 are not in {folder}: expected {LISTS['train']} there, or in "
            f"{' or '.join(WITH_LISTS)}; the archive of the images has none, unpack Partitions.zip "
            "(vision.princeton.edu/projects/2010/SUN/download) in that folder"
        )
    classes = tuple(read_lines(names))
    images = first_with(
        (name.lstrip("/") for name in classes), folder, *(folder / name for name in WITH_IMAGES)
    )
    if images is None:
        raise DatasetMissingError(
            f"the images of SUN397 are not in {folder}: expected the classes of {names} as folders "
            f"there, or in {' or '.join(WITH_IMAGES)}; unpack SUN397.tar.gz in that folder"
        )
    parts = {part: split_by_folder(lists / name, images, classes) for part, name in LISTS.items()}
    return RawDataset(classes, parts)
