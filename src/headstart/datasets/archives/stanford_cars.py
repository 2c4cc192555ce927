"""Stanford Cars: 16,185 cars of 196 makes, models and years (Krause et al., 2013).

The creators gave it out twice: as ``cars_train`` and ``cars_test``, numbered apart, with a
``devkit``; and as ``car_ims``, numbered through by class, with ``cars_annos.mat``. The parts are
the same, the numbers are not, so the annotations of the one say nothing of the images of the other.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.datasets.archives.lists import (
    FRESH_COPY,
    first_with,
    from_one,
    listed_split,
    unpacked,
    whole_numbers,
)
from headstart.datasets.archives.mat import read_variable
from headstart.datasets.raw_dataset import RawDataset
from headstart.errors import DatasetError, DatasetMissingError

__all__ = ["read"]

META = "cars_meta.mat"
TEST_LABELS = "cars_test_annos_withlabels.mat"
# The second is how a copy on Kaggle has it.
DEVKITS = ("devkit", "car_devkit/devkit")
WHOLE = "cars_annos.mat"
WHOLE_IMAGES = "car_ims"


def read(folder: Path) -> RawDataset:
    """Read ``cars_train``, ``cars_test`` and ``devkit``, with the labels of the test images.

    Or ``car_ims`` and ``cars_annos.mat``, where the first are not there. The images may lie a
    level deeper, as in ``cars_train/cars_train``.

    Raises
    ------
    DatasetMissingError, DatasetError
        Files or images that are missing, or that hold something else.
    """
    markers = (*(f"{name}/{META}" for name in DEVKITS), WHOLE)
    root = unpacked("Stanford Cars", folder, markers, "stanford_cars")
    devkit = first_with([META], *(root / name for name in DEVKITS))
    # The creators gave the labels of the test images out apart, so they are found in either place.
    labelled = None if devkit is None else first_with([TEST_LABELS], devkit, root)
    if devkit and labelled:
        return _read_halves(root, devkit, labelled / TEST_LABELS)
    if (root / WHOLE).is_file():
        return _read_whole(root)
    raise DatasetMissingError(
        f"{root / TEST_LABELS} is not there: the labels of the test images are a file of their own "
        "(cars_test_annos.mat has none); put it there"
    )


def _read_halves(root: Path, devkit: Path, test_labels: Path) -> RawDataset:
    classes = _class_names(devkit / META)
    annotations = {"train": devkit / "cars_train_annos.mat", "test": test_labels}
    parts = {}
    for part, path in annotations.items():
        records = _read_records(path, "class", "fname")
        labels = from_one(records["class"], path, "class number", len(classes))
        images = root / f"cars_{part}"
        if (images / images.name).is_dir():
            images = images / images.name
        parts[part] = listed_split([images / str(name) for name in records["fname"]], labels, path)
    return RawDataset(classes, parts)


def _read_whole(root: Path) -> RawDataset:
    path = root / WHOLE
    if not (root / WHOLE_IMAGES).is_dir():
        raise DatasetMissingError(
            f"{path} numbers the images of {WHOLE_IMAGES}, which is not in {root}; those of "
            f"cars_train and cars_test have other numbers: fetch car_ims.tgz, or for cars_train "
            f"and cars_test car_devkit.tgz and {TEST_LABELS}"
        )
    classes = _class_names(path)
    records = _read_records(path, "class", "relative_im_path", "test")
    labels = from_one(records["class"], path, "class number", len(classes))
    numbers = whole_numbers(records["test"], path, "value of 'test'", least=0, most=1)
    paths = [root / str(name) for name in records["relative_im_path"]]
    parts = {}
    for number, part in enumerate(("train", "test")):
        rows = np.flatnonzero(numbers == number)
        parts[part] = listed_split([paths[row] for row in rows], labels[rows], path)
    return RawDataset(classes, parts)


def _class_names(path: Path) -> tuple[str, ...]:
    return tuple(str(name) for name in read_variable(path, "class_names"))


def _read_records(path: Path, *fields: str) -> npt.NDArray[Any]:
    records = read_variable(path, "annotations")
    if not set(fields) <= set(records.dtype.names or ()):
        raise DatasetError(f"{path} has no {_listed(fields)} for each image: {FRESH_COPY}")
    return records


def _listed(fields: Sequence[str]) -> str:
    *first, last = (f"'{field}'" for field in fields)
    return f"{', '.join(first)} and {last}"
