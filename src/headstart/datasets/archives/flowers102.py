"""102 Flowers: 8,189 photographs of British flowers (Nilsback, Zisserman, ICVGIP 2008)."""

from pathlib import Path

from headstart.datasets.archives.lists import from_one, listed_split, unpacked
from headstart.datasets.archives.mat import read_variable
from headstart.datasets.raw_dataset import RawDataset
from headstart.datasets.splits import Split

__all__ = ["read"]

# The test part is the largest: some copies call it the training part.
VARIABLES = {"train": "trnid", "validation": "valid", "test": "tstid"}


def read(folder: Path) -> RawDataset:
    """Read ``jpg``, ``imagelabels.mat`` and ``setid.mat``; labels and images count from 1 there.

    The files have no names for the classes, so their numbers are the names.

    Raises
    ------
    DatasetMissingError, DatasetError
        Files or images that are missing, or that hold something else.
    """
    root = unpacked("102 Flowers", folder, "imagelabels.mat", "flowers-102")
    numbers = root / "imagelabels.mat"
    labels = from_one(read_variable(numbers, "labels"), numbers, "class number")
    classes = tuple(str(number) for number in range(1, int(labels.max(initial=-1)) + 2))
    parts: dict[str, Split] = {}
    for part, name in VARIABLES.items():
        places = from_one(
            read_variable(root / "setid.mat", name), root / "setid.mat", "image number", len(labels)
        )
        paths = [root / "jpg" / f"image_{place + 1:05d}.jpg" for place in places]
        parts[part] = listed_split(paths, labels[places], root / "setid.mat")
    return RawDataset(classes, parts)
