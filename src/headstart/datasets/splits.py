"""Images with labels: a dataset as its source returns it, splits, and the sealed test set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.datasets.images import Images
from headstart.errors import DatasetError, SealedTestError
from headstart.spec import Selection

__all__ = ["ICLOUD", "LOOSE", "RawDataset", "SealedTest", "Split", "Splits", "number_groups"]

LOOSE = "images in no class folder"
# A file that lies in iCloud and not here: .NAME.icloud.
ICLOUD = ".icloud"
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
    groups
        (n,) int64: images of one number belong together (a patient, a session) and must not be
        split; None where nothing says so.
    """

    images: Images
    labels: npt.NDArray[np.int64]
    rows: Rows
    groups: Rows | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, places: Rows) -> "Split":
        """Return the examples at these places."""
        groups = None if self.groups is None else self.groups[places]
        return Split(self.images.take(places), self.labels[places], self.rows[places], groups)


@dataclass(frozen=True)
class RawDataset:
    """A dataset as it is distributed, or as its owner keeps it.

    Parameters
    ----------
    classes
        Names in the order of the labels.
    parts
        ``train`` and ``test``, and ``validation`` where there is one; ``all`` where there are no
        parts.
    missing
        How many images of a part are listed and are not there, for parts with some.
    groups
        For each part (n,) int64: images of one number belong together (a patient, a session) and
        must not be split. Empty where nothing says so.
    left_out
        Kinds of files that lie among the images and are taken for none -> how many; and `LOOSE`,
        images that nothing gives a class.
    parts_note
        Which names were taken for which part, in words; "" where nothing had to be.
    notes
        What else a person should know of how it was read, a line each.
    """

    classes: tuple[str, ...]
    parts: dict[str, Split]
    missing: dict[str, int] = field(default_factory=dict)
    groups: dict[str, npt.NDArray[np.int64]] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    parts_note: str = ""
    notes: tuple[str, ...] = ()


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

    def without_labels(self) -> "SealedTest":
        """Return the same images with nothing behind the door."""
        nothing = np.empty(0, dtype=np.int64)
        return SealedTest(Split(self.images, nothing, self.rows), self.__revision, blind=True)

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
            raise SealedTestError("test labels were already opened for this trial")
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

    def without_test_labels(self) -> "Splits":
        """Return these splits for code that has no business with test labels."""
        return replace(self, test=self.test.without_labels())


def encode_labels(
    values: Sequence[Any], places: Mapping[Any, int], n_classes: int, *, several: bool
) -> npt.NDArray[np.int64]:
    """Turn classes to labels.

    Parameters
    ----------
    values
        For each image its class; where there may be several, a collection of them.
    places
        The label of each class.

    Returns
    -------
    array
        (n,) int64; or (n, K) int64 in {1 present, -1 absent} where there may be several.
    """
    if not several:
        return np.array([places[value] for value in values], dtype=np.int64)
    labels = np.full((len(values), n_classes), -1, dtype=np.int64)
    for row, present in enumerate(values):
        labels[row, [places[value] for value in present]] = 1
    return labels


def number_groups(
    names: Mapping[str, Sequence[str]], where: str, column: str
) -> dict[str, npt.NDArray[np.int64]]:
    """Number the groups of each part, in the order of their names.

    Parameters
    ----------
    names
        For each part the group of each image.
    where, column
        What has them, for the message.

    Raises
    ------
    DatasetError
        A group is in two parts: what belongs together is split already.
    """
    owner: dict[str, str] = {}
    for part, some in names.items():
        for name in dict.fromkeys(some):
            if owner.setdefault(name, part) != part:
                raise DatasetError(
                    f"{where}: group '{name}' (column '{column}') has images in both "
                    f"{owner[name]} and {part}: put them on one side, or leave group= out",
                    code="dataset.group_split",
                    group=name,
                    parts=(owner[name], part),
                )
    places = {name: place for place, name in enumerate(sorted(owner))}
    return {
        part: np.array([places[name] for name in some], dtype=np.int64)
        for part, some in names.items()
    }
