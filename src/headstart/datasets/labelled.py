"""Test images with their labels, for descriptions that select nothing.

A trial's test labels are behind `SealedTest`, since a trial chooses. A picture of test images with
their classes measures no setting and stores no result; what it needs, it gets here, and no module
that measures or chooses may import this one (a contract in `pyproject.toml`, checked with the
layers).
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from headstart.datasets.catalogue import load
from headstart.datasets.loading import loaded_dataset
from headstart.datasets.splits import Split
from headstart.spec import Dataset

__all__ = ["labelled_test"]


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
