"""Splits: images with labels, the sealed test set, and how subsets are drawn.

`RandomState` is used on purpose: NumPy freezes its streams for good, so a seed gives the same
split on every machine and with every NumPy release.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headstart.datasets.images import Images
from headstart.errors import DatasetError, SealedTestError
from headstart.spec import Selection

__all__ = ["SealedTest", "Split", "Splits", "balanced_subset", "hold_out", "hold_out_exactly"]

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Images with labels.

    Parameters
    ----------
    images
        n images.
    labels
        (n,) int64, classes from 0; or, where an image has several, (n, K) int64 in {1 present,
        0 difficult only, -1 absent}.
    rows
        (n,) int64, the place of each image in the dataset's full split.
    """

    images: Images
    labels: npt.NDArray[np.int64]
    rows: Rows

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, places: Rows) -> "Split":
        """Give the examples at these places."""
        return Split(self.images.take(places), self.labels[places], self.rows[places])


class SealedTest:
    """The test set: images for all to see, labels behind a door that opens once.

    There is no attribute that gives the labels. `open` wants the `Selection`, which exists only
    when the choice on validation is made, and made on these examples; a second `open` raises.

    Parameters
    ----------
    split
        The test images with their labels.
    revision
        Of the splits that this test set belongs to.
    """

    def __init__(self, split: Split, revision: str) -> None:
        self.images = split.images
        self.__revision = revision
        self.rows = split.rows
        self.__labels = split.labels
        self.__opened = False

    def __len__(self) -> int:
        return len(self.rows)

    def open(self, selection: Selection) -> npt.NDArray[np.int64]:
        """Give the (n,) int64 test labels, once.

        Raises
        ------
        SealedTestError
            No selection was made on these examples, or the labels were given out before.
        """
        if not isinstance(selection, Selection) or selection.examples != self.__revision:
            raise SealedTestError(
                "test labels are given out for a Selection made on the validation set beside them"
            )
        if self.__opened:
            raise SealedTestError("test labels are given out once a trial, and they were")
        self.__opened = True
        return self.__labels


@dataclass(frozen=True)
class Splits:
    """A dataset ready for a trial.

    Parameters
    ----------
    train, validation, test
        What the trial sees of each.
    n_classes
        Classes are 0 to n_classes - 1.
    revision
        Digest of exactly these examples.
    places
        (n,) int64, the place of each image of train, validation and test, in this order, among all
        images of the dataset's three splits. (`Split.rows` are places in the splits as published,
        of which one may have been divided into train and validation.)
    """

    train: Split
    validation: Split
    test: SealedTest
    n_classes: int
    revision: str
    places: Rows


def hold_out(labels: Rows, fraction: float, seed: int) -> tuple[Rows, Rows]:
    """Split places into (kept, held out), stratified: each class gives `fraction` of its examples.

    Both come back sorted. A class of two or more examples keeps one and gives one at least.
    """
    random = np.random.RandomState(seed)
    held = []
    for label in np.unique(labels):
        places = random.permutation(np.flatnonzero(labels == label))
        count = round(fraction * len(places))
        held.append(places[: min(max(count, 1), len(places) - 1)])
    out = np.sort(np.concatenate(held))
    return np.setdiff1d(np.arange(len(labels)), out), out


def hold_out_exactly(labels: Rows, size: int, seed: int) -> tuple[Rows, Rows]:
    """Split places into (kept, held out) with exactly `size` held out, stratified; both sorted.

    Each class gives its share of `size`, rounded down; what is then lacking comes one each from
    the classes that lost most by rounding, equal losses in a drawn order. A class keeps one.

    Raises
    ------
    DatasetError
        `size` is more than the classes can give.
    """
    classes, available = np.unique(labels, return_counts=True)
    if size > len(labels) - len(classes):
        raise DatasetError(
            f"cannot hold out {size:,} of {len(labels):,} images: each of their {len(classes):,} "
            "classes has to keep one"
        )
    random = np.random.RandomState(seed)
    # In whole numbers, so that equal losses are equal. What all give is less than all there are, so
    # no share is a whole class.
    quota, loss = np.divmod(size * available, max(1, len(labels)))
    while (missing := size - int(quota.sum())) > 0:
        hungry = random.permutation(np.flatnonzero(quota < available - 1))
        first = np.argsort(-loss[hungry], kind="stable")[:missing]
        quota[hungry[first]] += 1
    held = [
        random.permutation(np.flatnonzero(labels == label))[:count]
        for label, count in zip(classes, quota, strict=True)
    ]
    out = np.sort(np.concatenate([np.zeros(0, np.int64), *held]))
    return np.setdiff1d(np.arange(len(labels)), out), out


def balanced_subset(labels: Rows, size: int, seed: int) -> Rows:
    """Draw `size` places, as even over the classes as the classes allow; sorted.

    What a small class cannot give, the others give in even shares; when the size does not divide,
    the classes that give one more are drawn too. All places if `size` exceeds them.
    """
    if size >= len(labels):
        return np.arange(len(labels), dtype=np.int64)
    random = np.random.RandomState(seed)
    classes, available = np.unique(labels, return_counts=True)
    quota = np.zeros(len(classes), dtype=np.int64)
    while (missing := size - quota.sum()) > 0:
        hungry = np.flatnonzero(quota < available)
        share = missing // len(hungry)
        if share:
            quota[hungry] = np.minimum(quota[hungry] + share, available[hungry])
        else:
            quota[random.permutation(hungry)[:missing]] += 1
    chosen = [
        random.permutation(np.flatnonzero(labels == label))[:count]
        for label, count in zip(classes, quota, strict=True)
    ]
    return np.sort(np.concatenate(chosen)).astype(np.int64)
