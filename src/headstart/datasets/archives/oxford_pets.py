"""Oxford-IIIT Pets: 7,349 cats and dogs of 37 breeds (Parkhi et al., CVPR 2012)."""

from pathlib import Path

from headstart.datasets.archives.lists import (
    FRESH_COPY,
    Labels,
    from_one,
    listed_split,
    read_rows,
    unpacked,
)
from headstart.datasets.raw_dataset import RawDataset
from headstart.datasets.splits import Split
from headstart.errors import DatasetError

__all__ = ["read"]

LISTS = {"train": "trainval.txt", "test": "test.txt"}


def read(folder: Path) -> RawDataset:
    """Read ``images`` and ``annotations``, with the creators' own two lists.

    A class is named as its files are, in their case: cats begin with a capital letter.

    Raises
    ------
    DatasetMissingError, DatasetError
        Lists or images that are missing; class numbers and file names that disagree.
    """
    root = unpacked("Oxford-IIIT Pets", folder, "annotations/trainval.txt", "oxford-iiit-pet")
    lists = {part: root / "annotations" / name for part, name in LISTS.items()}
    listed = {part: _read_list(path) for part, path in lists.items()}
    classes = _class_names(*listed["train"], lists["train"])
    parts: dict[str, Split] = {}
    for part, (images, labels) in listed.items():
        _check_names(images, labels, classes, lists[part])
        paths = [root / "images" / f"{image}.jpg" for image in images]
        parts[part] = listed_split(paths, labels, lists[part])
    return RawDataset(classes, parts)


def _read_list(path: Path) -> tuple[list[str], Labels]:
    # A line is `Abyssinian_100 1 1 1`: image, class from 1, species, breed within the species.
    rows = read_rows(path, 4)
    return [row[0] for row in rows], from_one((row[1] for row in rows), path, "class number")


def _breed(image: str) -> str:
    return image.rpartition("_")[0]


def _class_names(images: list[str], labels: Labels, path: Path) -> tuple[str, ...]:
    names = dict(zip(labels.tolist(), map(_breed, images), strict=True))
    if absent := set(range(max(names, default=0) + 1)) - set(names):
        raise DatasetError(f"{path} has no image of class {min(absent) + 1}: {FRESH_COPY}")
    return tuple(names[label] for label in sorted(names))


def _check_names(images: list[str], labels: Labels, classes: tuple[str, ...], path: Path) -> None:
    for image, label in zip(images, labels.tolist(), strict=True):
        expected = classes[label] if label < len(classes) else "none"
        if _breed(image) != expected:
            raise DatasetError(
                f"{path} gives {image} the class {label + 1}, which is {expected}: {FRESH_COPY}"
            )
