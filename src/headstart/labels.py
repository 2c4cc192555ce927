"""What labels mean, one or several per image: a metric -> checks, counts, subsets, loss.

Random subsets use `RandomState` on purpose. NumPy guarantees its streams, so a seed gives the same
split on every machine and with every NumPy release.

Several labels are (n, K) int64 in {1 present, 0 difficult only, -1 absent}. Images without any
class count as an additional class, so that subsets include backgrounds.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from headstart.errors import DatasetError

__all__ = [
    "LabelKind",
    "MultiLabel",
    "SingleLabel",
    "hold_out_exactly",
    "kind_of",
]

Labels = npt.NDArray[np.int64]
_own = threading.local()


class LabelKind(ABC):
    """A kind of labels.

    Parameters
    ----------
    loss
        Loss of a linear classifier: ``"softmax"`` over classes, or ``"binary"`` per class.
    metrics
        Test metrics to report; keys of `headstart.metrics.SCORERS`.
    ndim
        Number of dimensions of an array of labels.
    """

    loss: ClassVar[Literal["softmax", "binary"]]
    metrics: ClassVar[tuple[str, ...]]
    ndim: ClassVar[int]

    @abstractmethod
    def find_invalid(self, labels: Labels, n_classes: int) -> tuple[int, str] | None:
        """Return the index of the first invalid label and a description, or None."""

    @abstractmethod
    def counts(self, labels: Labels, n_classes: int) -> Labels:
        """Return the (K,) int64 number of images per class."""

    @abstractmethod
    def subset(self, labels: Labels, size: int, seed: int) -> Labels:
        """Return `size` sorted indices, as evenly spread over the classes as possible.

        Return all indices if `size` exceeds their number.
        """

    @abstractmethod
    def subsample_per_class(self, labels: Labels, n_classes: int, n: int, seed: int) -> Labels:
        """Return `n` sorted indices per class, or all of a smaller class.

        Subsets are nested: a larger `n` with the same seed includes the subset of a smaller one.
        """

    @abstractmethod
    def hold_out(self, labels: Labels, fraction: float, seed: int) -> tuple[Labels, Labels]:
        """Return sorted indices (kept, held out) of a stratified split.

        Each class contributes `fraction` of its examples.
        """

    @abstractmethod
    def names(self, label: Any, classes: Sequence[str]) -> list[str]:
        """Return the names of an image's classes; those only difficult are in parentheses."""

    @abstractmethod
    def min_images(self, n_classes: int) -> int:
        """Return the smallest number of images that can cover all classes."""


class SingleLabel(LabelKind):
    """One label per image: (n,) int64 classes from 0."""

    loss = "softmax"
    metrics = ("top-1", "mean-per-class")
    ndim = 1

    def find_invalid(self, labels: Labels, n_classes: int) -> tuple[int, str] | None:
        outside = np.flatnonzero((labels < 0) | (labels >= n_classes))
        if not len(outside):
            return None
        place = int(outside[0])
        return place, f"label {labels[place]}, classes are 0 to {n_classes - 1}"

    def counts(self, labels: Labels, n_classes: int) -> Labels:
        return np.bincount(labels, minlength=n_classes).astype(np.int64)

    def subset(self, labels: Labels, size: int, seed: int) -> Labels:
        """Fill what a small class lacks from the others, in equal shares.

        Classes that contribute one more, because of a remainder, are random.
        """
        if size >= len(labels):
            return np.arange(len(labels), dtype=np.int64)
        random = _random(seed)
        classes, available = np.unique(labels, return_counts=True)
        quota = np.zeros(len(classes), dtype=np.int64)
        while (missing := size - quota.sum()) > 0:
            open_classes = np.flatnonzero(quota < available)
            share = missing // len(open_classes)
            if share:
                more = quota[open_classes] + share
                quota[open_classes] = np.minimum(more, available[open_classes])
            else:
                quota[random.permutation(open_classes)[:missing]] += 1
        return _first_of_each(labels, classes, quota, random)

    def subsample_per_class(self, labels: Labels, n_classes: int, n: int, seed: int) -> Labels:
        return _first_of_each(labels, np.arange(n_classes), np.full(n_classes, n), _random(seed))

    def hold_out(self, labels: Labels, fraction: float, seed: int) -> tuple[Labels, Labels]:
        """Leave at least one on either side of a class of two or more examples."""
        classes, available = np.unique(labels, return_counts=True)
        # As Python's `round`, half to even.
        count = np.minimum(np.maximum(np.round(fraction * available), 1), available - 1)
        return _kept_and_held(labels, classes, count.astype(np.int64), _random(seed))

    def names(self, label: Any, classes: Sequence[str]) -> list[str]:
        return [classes[label]]

    def min_images(self, n_classes: int) -> int:
        return n_classes


class MultiLabel(LabelKind):
    """Several labels per image: (n, K) int64, 1 present, -1 absent, 0 difficult.

    Difficult labels are ignored in fits and scores, as in PASCAL VOC.
    """

    loss = "binary"
    metrics = ("voc-map-11point",)
    ndim = 2

    def find_invalid(self, labels: Labels, n_classes: int) -> tuple[int, str] | None:
        if labels.shape[1] != n_classes:
            return 0, f"{labels.shape[1]} labels, one for each of {n_classes} classes is expected"
        rows, columns = np.nonzero(~np.isin(labels, (-1, 0, 1)))
        if not len(rows):
            return None
        found = labels[rows[0], columns[0]]
        return int(rows[0]), f"label {found}, 1 (present), 0 (difficult) or -1 (absent) is expected"

    def counts(self, labels: Labels, n_classes: int) -> Labels:  # noqa: ARG002  one column per class
        return np.asarray((labels == 1).sum(axis=0), dtype=np.int64)

    def subset(self, labels: Labels, size: int, seed: int) -> Labels:
        """Select images one by one, each from the class with the fewest so far."""
        if size >= len(labels):
            return np.arange(len(labels), dtype=np.int64)
        order = _random(seed).permutation(len(labels))
        shown = _shown(labels)[order]
        waiting = [np.flatnonzero(column).tolist()[::-1] for column in shown.T]
        counts, taken = np.zeros(shown.shape[1]), np.zeros(len(labels), dtype=bool)
        while taken.sum() < size:
            counts[[not places for places in waiting]] = np.inf
            place = waiting[int(counts.argmin())].pop()
            if not taken[place]:
                taken[place] = True
                counts += shown[place]
        return np.sort(order[taken]).astype(np.int64)

    def subsample_per_class(self, labels: Labels, n_classes: int, n: int, seed: int) -> Labels:
        # Nested, since images are selected one by one, independently of the total number.
        return self.subset(labels, n * n_classes, seed)

    def hold_out(self, labels: Labels, fraction: float, seed: int) -> tuple[Labels, Labels]:
        """Distribute the class with the fewest remaining images first (iterative stratification).

        An image goes to the side that lacks most of that class; ties go to the side that lacks most
        images, then to a random side.

        Source: Sechidis, Tsoumakas, Vlahavas, "On the Stratification of Multi-label Data", ECML
        PKDD 2011.
        """
        random = _random(seed)
        order = random.permutation(len(labels))
        shown = _shown(labels)[order]
        share = np.array([1 - fraction, fraction])
        # Number of images, and of images per class, that each side still lacks.
        lacks = share * len(labels)
        class_lacks = share[:, None] * shown.sum(axis=0)
        side = np.full(len(labels), -1)
        left = shown.sum(axis=0)
        while left.any():
            rarest = int(np.where(left > 0, left, len(labels) + 1).argmin())
            for place in np.flatnonzero(shown[:, rarest] & (side < 0)):
                wants = np.round(class_lacks[:, rarest], 9), np.round(lacks, 9), random.rand(2)
                chosen = int(np.lexsort(wants[::-1])[-1])
                side[place] = chosen
                lacks[chosen] -= 1
                class_lacks[chosen] -= shown[place]
                left = left - shown[place]
        return np.sort(order[side == 0]), np.sort(order[side == 1])

    def names(self, label: Any, classes: Sequence[str]) -> list[str]:
        said = {1: "{}", 0: "({})"}
        pairs = zip(label.tolist(), classes, strict=True)
        return [said[level].format(name) for level, name in pairs if level in said]

    def min_images(self, n_classes: int) -> int:  # noqa: ARG002
        # One image with all classes, and one without any.
        return 2


KINDS: Mapping[str, LabelKind] = MappingProxyType(
    {name: kind for kind in (SingleLabel(), MultiLabel()) for name in kind.metrics}
)


def kind_of(metric: str) -> LabelKind:
    """Return the kind of labels that a metric scores."""
    return KINDS[metric]


def hold_out_exactly(labels: Labels, size: int, seed: int) -> tuple[Labels, Labels]:
    """Return sorted indices (kept, held out) of a stratified split with `size` held out.

    Each class contributes its share of `size`, rounded down. The remainder comes one each from the
    classes with the largest rounding losses, ties in random order. Every class keeps at least one.

    Raises
    ------
    DatasetError
        `size` is larger than the classes can contribute.
    """
    classes, available = np.unique(labels, return_counts=True)
    if size > len(labels) - len(classes):
        raise DatasetError(
            f"cannot hold out {size:,} of {len(labels):,} images: each of their {len(classes):,} "
            "classes has to keep one image",
            code="dataset.split_impossible",
            found=size,
        )
    random = _random(seed)
    # Integers, so that equal losses compare equal. `size` is below the total, so no share is a
    # whole class.
    quota, loss = np.divmod(size * available, max(1, len(labels)))
    while (missing := size - int(quota.sum())) > 0:
        open_classes = random.permutation(np.flatnonzero(quota < available - 1))
        first = np.argsort(-loss[open_classes], kind="stable")[:missing]
        quota[open_classes[first]] += 1
    return _kept_and_held(labels, classes, quota, random)


def _first_of_each(
    labels: Labels, classes: Labels, counts: Labels, random: np.random.RandomState
) -> Labels:
    """Return so many sorted indices of each class, the first ones in a random order."""
    orders = [random.permutation(np.flatnonzero(labels == label)) for label in classes]
    chosen = [order[:count] for order, count in zip(orders, counts, strict=True)]
    return np.sort(np.concatenate([np.zeros(0, np.int64), *chosen]))


def _kept_and_held(
    labels: Labels, classes: Labels, counts: Labels, random: np.random.RandomState
) -> tuple[Labels, Labels]:
    held = _first_of_each(labels, classes, counts, random)
    return np.setdiff1d(np.arange(len(labels)), held), held


def _shown(labels: Labels) -> npt.NDArray[np.bool_]:
    """Return (n, K + 1) bool, the classes of each image; the last column means none."""
    shown = labels == 1
    return np.column_stack([shown, ~shown.any(axis=1)])


def _random(seed: int) -> np.random.RandomState:
    """Return this thread's generator, seeded anew: making one takes fifty times as long."""
    if not hasattr(_own, "random"):
        _own.random = np.random.RandomState()
    random: np.random.RandomState = _own.random
    random.seed(seed)
    return random
