"""Stanford Cars: 16,185 cars of 196 makes, models and years (Krause et al., 2013)."""

from pathlib import Path

from headstart.datasets.archive import Archive
from headstart.datasets.archives.lists import FRESH_COPY, from_one, listed_split, unpacked
from headstart.datasets.archives.mat import read_variable
from headstart.datasets.splits import Split
from headstart.errors import DatasetError, DatasetMissingError

__all__ = ["read"]

TEST_LABELS = "cars_test_annos_withlabels.mat"


def read(folder: Path) -> Archive:
    """Read ``cars_train``, ``cars_test`` and ``devkit``, with the labels of the test images.

    Raises
    ------
    DatasetMissingError, DatasetError
        Files or images that are missing, or that hold something else.
    """
    root = unpacked("Stanford Cars", folder, "devkit/cars_meta.mat", "stanford_cars")
    meta = read_variable(root / "devkit" / "cars_meta.mat", "class_names")
    classes = tuple(str(name) for name in meta)
    train = root / "devkit" / "cars_train_annos.mat"
    parts = {
        "train": _read_part(train, root / "cars_train", len(classes)),
        "test": _read_part(_test_labels(root), root / "cars_test", len(classes)),
    }
    return Archive(classes, parts)


def _test_labels(root: Path) -> Path:
    # The creators gave it out apart from the rest, so it is found in either place.
    for place in (root / "devkit" / TEST_LABELS, root / TEST_LABELS):
        if place.is_file():
            return place
    raise DatasetMissingError(
        f"{root / TEST_LABELS} is not there: the labels of the test images are a file of their own "
        "(cars_test_annos.mat has none); put it there"
    )


def _read_part(annotations: Path, images: Path, n_classes: int) -> Split:
    records = read_variable(annotations, "annotations")
    if not {"class", "fname"} <= set(records.dtype.names or ()):
        raise DatasetError(f"{annotations} has no 'class' and 'fname' for each image: {FRESH_COPY}")
    labels = from_one(records["class"], annotations, "class number", n_classes)
    return listed_split([images / str(name) for name in records["fname"]], labels, annotations)
