"""One label per image, or several: everything that depends on it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from headstart.labels.draws import balanced_subset, few_of_each, hold_out
from headstart.labels.multilabel import balanced_rows, hold_out_rows

__all__ = ["LabelKind", "MultiLabel", "SingleLabel", "kind_of"]

Labels = npt.NDArray[np.int64]


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
        """Return `size` sorted indices, as evenly spread over the classes as possible."""

    @abstractmethod
    def subsample_per_class(self, labels: Labels, n_classes: int, n: int, seed: int) -> Labels:
        """Return `n` sorted indices per class, or all of a smaller class.

        Subsets are nested: a larger `n` with the same seed includes the subset of a smaller one.
        """

    @abstractmethod
    def hold_out(self, labels: Labels, fraction: float, seed: int) -> tuple[Labels, Labels]:
        """Return sorted indices (kept, held out) of a stratified split."""

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
        return balanced_subset(labels, size, seed)

    def subsample_per_class(self, labels: Labels, n_classes: int, n: int, seed: int) -> Labels:
        return few_of_each(labels, n_classes, n, seed)

    def hold_out(self, labels: Labels, fraction: float, seed: int) -> tuple[Labels, Labels]:
        return hold_out(labels, fraction, seed)

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
        return balanced_rows(labels, size, seed)

    def subsample_per_class(self, labels: Labels, n_classes: int, n: int, seed: int) -> Labels:
        # Nested, since images are selected one by one, independently of the total number.
        return balanced_rows(labels, n * n_classes, seed)

    def hold_out(self, labels: Labels, fraction: float, seed: int) -> tuple[Labels, Labels]:
        return hold_out_rows(labels, fraction, seed)

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
