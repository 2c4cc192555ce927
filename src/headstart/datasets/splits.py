"""Splits: images with labels, and the sealed test set."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headstart.datasets.images import Images
from headstart.errors import SealedTestError
from headstart.spec import Selection

__all__ = ["SealedTest", "Split", "Splits"]

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
        """Return the examples at these places."""
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
    blind
        Whether nothing is behind the door: for code that has no business with test labels.
    """

    def __init__(self, split: Split, revision: str, *, blind: bool = False) -> None:
        self.images = split.images
        self.__revision = revision
        self.rows = split.rows
        self.__labels = None if blind else split.labels
        self.__opened = False

    def __len__(self) -> int:
        return len(self.rows)

    def open(self, selection: Selection) -> npt.NDArray[np.int64]:
        """Return the (n,) or (n, K) int64 test labels, once.

        Raises
        ------
        SealedTestError
            No selection was made on these examples; the labels were given out before, or are not
            there at all.
        """
        if self.__labels is None:
            raise SealedTestError(
                "these splits hold no test labels: a trial opens them, nothing that it asks"
            )
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
