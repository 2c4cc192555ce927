"""Test images with their labels, for descriptions that select nothing.

A trial's test labels are behind `SealedTest`, since a trial chooses. A picture of test images with
their classes measures no setting and stores no result; what it needs, it gets here, and no module
that measures or chooses may import this one (a contract in `pyproject.toml`, checked with the
layers).
"""

from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headstart.datasets.catalogue import load
from headstart.datasets.images import small_picture
from headstart.datasets.loading import loaded_dataset
from headstart.datasets.splits import Split
from headstart.errors import BrokenImageError
from headstart.spec import Dataset
from headstart.spec.formatting import SmallPicture

__all__ = ["class_pictures", "labelled_test"]


def labelled_test(dataset: Dataset, seed: int, cache: Path) -> tuple[Split, npt.NDArray[np.int64]]:
    """Return the test images that a trial of this seed sees, with labels.

    Returns
    -------
    Split
        n images with labels.
    places
        (n,) int64, the place of each among all images of the dataset, as in `Splits.places`.

    Raises
    ------
    HeadstartError
        As `load`.
    """
    splits = load(dataset, seed, cache)
    places = splits.places[-len(splits.test) :]
    before = dataset.sizes.train + dataset.sizes.validation
    whole = loaded_dataset(dataset, cache).parts["test"]
    return whole.take(places - before), places


def class_pictures(
    dataset: Dataset, seed: int, cache: Path, most: int
) -> list[tuple[str, SmallPicture]]:
    """Return a small copy of the first test image of each class that can be decoded.

    Of more than `most` classes these are spread evenly.

    Raises
    ------
    HeadstartError
        As `load`.
    """
    split, _ = labelled_test(dataset, seed, cache)
    classes = dataset.classes
    chosen = np.unique(
        np.linspace(0, len(classes) - 1, min(most, len(classes))).round().astype(int)
    )
    found = []
    for label in chosen.tolist():
        of = split.labels == label if split.labels.ndim == 1 else split.labels[:, label] == 1
        for place in np.flatnonzero(of).tolist():
            with suppress(BrokenImageError):
                found.append((classes[label], small_picture(split.images, place)))
                break
    return found
