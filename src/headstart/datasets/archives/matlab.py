"""Datasets with annotations in MATLAB files: Stanford Cars and 102 Flowers.

Stanford Cars (16,185 cars of 196 makes, models and years; Krause et al., 2013) was given out twice:
as ``cars_train`` and ``cars_test``, numbered apart, with a ``devkit``; and as ``car_ims``, numbered
through by class, with ``cars_annos.mat``. The parts are the same, the numbers are not, so the
annotations of the one say nothing of the images of the other.

102 Flowers: 8,189 photographs of British flowers (Nilsback, Zisserman, ICVGIP 2008).
"""

import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.datasets.archives.list_files import (
    first_with,
    from_one,
    invalid_file,
    listed_split,
    read_content,
    unpacked,
    whole_numbers,
)
from headstart.datasets.splits import RawDataset, Split
from headstart.errors import DatasetMissingError

__all__ = ["read_flowers102", "read_stanford_cars"]

# Of Stanford Cars.
META = "cars_meta.mat"
TEST_LABELS = "cars_test_annos_withlabels.mat"
# The second is how a copy on Kaggle has it.
DEVKITS = ("devkit", "car_devkit/devkit")
WHOLE = "cars_annos.mat"
WHOLE_IMAGES = "car_ims"
# Of 102 Flowers. The test part is the largest: some copies call it the training part.
FLOWER_LISTS = {"train": "trnid", "validation": "valid", "test": "tstid"}


def read_stanford_cars(folder: Path) -> RawDataset:
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
        return _read_cars_halves(root, devkit, labelled / TEST_LABELS)
    if (root / WHOLE).is_file():
        return _read_cars_whole(root)
    raise DatasetMissingError(
        f"{root / TEST_LABELS} is missing: the labels of the test images are a file of their own "
        "(cars_test_annos.mat has none); put it there",
        code="dataset.file_missing",
        file=TEST_LABELS,
    )


def _read_cars_halves(root: Path, devkit: Path, test_labels: Path) -> RawDataset:
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


def _read_cars_whole(root: Path) -> RawDataset:
    path = root / WHOLE
    if not (root / WHOLE_IMAGES).is_dir():
        raise DatasetMissingError(
            f"{path} numbers the images of {WHOLE_IMAGES}, which is not in {root}; those of "
            f"cars_train and cars_test have other numbers: fetch car_ims.tgz, or for cars_train "
            f"and cars_test car_devkit.tgz and {TEST_LABELS}",
            code="dataset.file_missing",
            file=WHOLE_IMAGES,
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
    return tuple(str(name) for name in _read_variable(path, "class_names"))


def _read_records(path: Path, *fields: str) -> npt.NDArray[Any]:
    records = _read_variable(path, "annotations")
    if not set(fields) <= set(records.dtype.names or ()):
        *first, last = (f"'{field}'" for field in fields)
        fault = f"has no {', '.join(first)} and {last} for each image"
        raise invalid_file(path, fault, expected=fields)
    return records


def read_flowers102(folder: Path) -> RawDataset:
    """Read ``jpg``, ``imagelabels.mat`` and ``setid.mat``; labels and images count from 1 there.

    The files have no names for the classes, so their numbers are the names.

    Raises
    ------
    DatasetMissingError, DatasetError
        Files or images that are missing, or that hold something else.
    """
    root = unpacked("102 Flowers", folder, "imagelabels.mat", "flowers-102")
    numbers = root / "imagelabels.mat"
    labels = from_one(_read_variable(numbers, "labels"), numbers, "class number")
    classes = tuple(str(number) for number in range(1, int(labels.max(initial=-1)) + 2))
    parts: dict[str, Split] = {}
    for part, name in FLOWER_LISTS.items():
        places = from_one(
            _read_variable(root / "setid.mat", name),
            root / "setid.mat",
            "image number",
            len(labels),
        )
        paths = [root / "jpg" / f"image_{place + 1:05d}.jpg" for place in places]
        parts[part] = listed_split(paths, labels[places], root / "setid.mat")
    return RawDataset(classes, parts)


def _read_variable(path: Path, name: str) -> npt.NDArray[Any]:
    """Read one variable as a vector: numbers, text (a cell array), or records (a struct array).

    Raises
    ------
    DatasetMissingError
        No such file.
    DatasetError
        Not a MATLAB file, or one without this variable.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    content = BytesIO(read_content(path))
    try:
        variables = loadmat(content, squeeze_me=True, variable_names=[name])
    # What scipy's readers raise on other content is not one type.
    except (
        MatReadError,
        NotImplementedError,
        LookupError,
        OSError,
        TypeError,
        ValueError,
        zlib.error,
    ) as error:
        raise invalid_file(path, f"is not a MATLAB file ({error})") from error
    if name not in variables:
        raise invalid_file(path, f"has no variable '{name}'", found=name)
    return np.atleast_1d(np.asarray(variables[name])).ravel()
