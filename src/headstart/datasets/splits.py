"""Images with labels: a dataset as its source returns it, splits, and the sealed test set.

Splits that a dataset comes without are drawn, from the seed and stratified: each class gives its
share, as far as groups allow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstart.datasets.images import Images
from headstart.errors import DatasetError, SealedTestError
from headstart.labels import LabelKind, kind_of
from headstart.spec import Selection, digest

if TYPE_CHECKING:
    from scipy import sparse


__all__ = [
    "ICLOUD",
    "LOOSE",
    "RawDataset",
    "SealedTest",
    "Split",
    "Splits",
    "draw_splits",
    "hold_out_groups",
    "number_groups",
]

LOOSE = "images in no class folder"
# A file that lies in iCloud and not here: .NAME.icloud.
ICLOUD = ".icloud"
Rows = npt.NDArray[np.int64]
SINGLE = kind_of("top-1")
# Over the groups: those after the first mend what the first could not know.
PASSES = 5
# Changes of a distance smaller than this are rounding.
ROUNDING = 1e-9


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
        nothing = Split(self.test.images, np.empty(0, dtype=np.int64), self.test.rows)
        return replace(self, test=SealedTest(nothing, self.revision, blind=True))


def encode_labels(
    values: Sequence[Any], places: Mapping[Any, int], n_classes: int, *, several: bool
) -> npt.NDArray[np.int64]:
    """Turn the class of each image, or a collection of several, to labels by the place of each.

    Return (n,) int64; or (n, K) int64 in {1 present, -1 absent} where there may be several.
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
    """Number the groups of the images of each part, in the order of their names: (n,) int64.

    Raise DatasetError for a group in two parts: what belongs together is split already. The message
    says `where` it is, in which `column`.
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


def draw_splits(
    raw: RawDataset, seed: int, name: str = "", kind: LabelKind = SINGLE
) -> tuple[dict[str, Split], str]:
    """Return ``train``, ``validation`` and ``test``, and say in words where they come from.

    Parts that are there stay as they are, but that of train and validation alone, validation
    becomes the test set: a test set that was used to choose would be none. What lacks is drawn: a
    fifth of train for validation; of images in no parts a fifth for each of validation and test.
    Images of one group stay together. A class of a single image or group stays in train.

    Parameters
    ----------
    raw
        Parts train and at least one of validation and test; or all.
    seed
        The same seed draws the same splits; of validation and test, each has a stream of its own.
    name
        Of the dataset, for messages.
    kind
        What the labels mean; stratifies images without groups.

    Raises
    ------
    DatasetError
        Other parts; or so few images or groups that a part would be empty.
    """
    parts = raw.parts
    if set(parts) == {"train", "validation", "test"}:
        ordered = {part: parts[part] for part in ("train", "validation", "test")}
        return ordered, raw.parts_note or "as given"
    if set(parts) not in ({"all"}, {"train", "test"}, {"train", "validation"}):
        raise DatasetError(
            f"dataset '{name}': expected the parts train, and validation or test, or none; found "
            f"{', '.join(parts)}",
            code="dataset.split_missing",
            found=list(parts),
        )
    if "all" in parts:
        rest, test = _divide(parts["all"], 0.2, "test", seed, name, kind)
        train, validation = _divide(rest, 0.25, "validation", seed, name, kind)
        rule = "drawn: 60 % train, 20 % validation, 20 % test"
    else:
        train, validation = _divide(parts["train"], 0.2, "validation", seed, name, kind)
        test = parts["test" if "test" in parts else "validation"]
        test_rule = "test as given"
        if "test" not in parts:
            test_rule = "what is named validation is the test set, as none is named test"
        rule = f"{test_rule}; 20 % of train drawn for validation"
    together = "" if train.groups is None else ", groups kept together"
    note = f"{raw.parts_note}; " if raw.parts_note else ""
    splits = {"train": train, "validation": validation, "test": test}
    return splits, f"{note}{rule}, stratified, seed {seed}{together}"


def _divide(
    split: Split, fraction: float, what: str, seed: int, name: str, kind: LabelKind
) -> tuple[Split, Split]:
    """Return what is kept of a split, and the `fraction` held out for `what`."""
    if not len(split):
        raise DatasetError(
            f"dataset '{name}' has no images to draw {what} images from: add some",
            code="dataset.split_empty",
            split=what,
        )
    own_seed = int(digest({"drawn": what, "seed": seed})[:8], 16)
    if split.groups is None:
        kept, held = kind.hold_out(split.labels, fraction, own_seed)
        found = f"{len(split):,} images, no two of one class"
    else:
        kept, held = hold_out_groups(split.labels, split.groups, fraction, own_seed)
        n_groups = len(np.unique(split.groups))
        found = f"number of groups: {n_groups:,}, each with all images of some class"
    if not len(held):
        raise DatasetError(
            f"no {what} images of dataset '{name}' can be drawn ({found}): a class needs some on "
            "both sides; add images, or give all parts",
            code="dataset.split_impossible",
            split=what,
        )
    return split.take(kept), split.take(held)


def hold_out_groups(labels: Rows, groups: Rows, fraction: float, seed: int) -> tuple[Rows, Rows]:
    """Split places into (kept, held out), whole groups on one side; both sorted.

    Groups are looked at in a drawn order, several times. One changes sides if that brings the
    shares held out, of each class and (counting as much as all classes) of the whole, closer to
    `fraction`, as the sum of squares; the best one is held out if none does. Every class keeps an
    image. (scikit-learn's StratifiedGroupKFold, greedy too, may leave train without a class, and
    does not promise that a seed gives the same with every release.)

    Parameters
    ----------
    labels
        (n,) int64, or (n, K) int64 in which 1 is present.
    groups
        (n,) int64.
    fraction
        Of the images, to be held out.

    Returns
    -------
    tuple
        Places as int64. None is held out if every group has all images of some class.
    """
    from scipy import sparse

    _, group = np.unique(groups, return_inverse=True)
    if labels.ndim == 1:
        rows, classes, n_classes = group, labels, int(labels.max()) + 1
    else:
        images, classes = np.nonzero(labels == 1)
        rows, n_classes = group[images], labels.shape[1]
    ones = np.ones(len(rows), dtype=np.int64)
    shape = (int(group.max()) + 1, n_classes)
    # Entries of one place are added up: images of each class in each group.
    counts = sparse.csr_array(sparse.coo_array((ones, (rows, classes)), shape=shape))
    chosen = _choose_groups(counts, np.bincount(group), fraction, seed)
    held = np.isin(group, chosen)
    return np.flatnonzero(~held).astype(np.int64), np.flatnonzero(held).astype(np.int64)


def _choose_groups(
    counts: "sparse.csr_array", sizes: Rows, fraction: float, seed: int
) -> list[int]:
    """Choose the rows of `counts` (groups, classes) int64 to hold out; `sizes` (groups,)."""
    total, n = np.asarray(counts.sum(axis=0)), int(sizes.sum())
    n_classes = np.count_nonzero(total)
    held_of, held_n = np.zeros(len(total), np.int64), 0
    order = np.random.RandomState(seed).permutation(len(sizes)).tolist()
    chosen: set[int] = set()
    best, least = set[int](), np.inf
    for _ in range(PASSES):
        for group in order:
            span = slice(counts.indptr[group], counts.indptr[group + 1])
            sign = -1 if group in chosen else 1
            classes, of_class = counts.indices[span], sign * counts.data[span]
            size = sign * int(sizes[group])
            if (held_of[classes] + of_class == total[classes]).any() or held_n + size == n:
                continue
            missed = 2 * (held_of[classes] - fraction * total[classes]) + of_class
            change = float((of_class * missed / total[classes] ** 2).sum())
            change += n_classes * size * (2 * (held_n - fraction * n) + size) / n**2
            if change < -ROUNDING:
                chosen ^= {group}
                held_of[classes] += of_class
                held_n += size
            elif not chosen and change < least - ROUNDING:
                best, least = {group}, change
    return sorted(chosen or best)
