"""One label an image, or several: all that follows from it, in one place."""

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
    """What labels mean.

    Parameters
    ----------
    loss
        The loss of a linear classifier: ``"softmax"`` over all classes, or ``"binary"`` for each.
    metrics
        What is reported of a test; names of `headstart.metrics.SCORERS`.
    ndim
        Of an array of labels.
    """

    loss: ClassVar[Literal["softmax", "binary"]]
    metrics: ClassVar[tuple[str, ...]]
    ndim: ClassVar[int]

    @abstractmethod
    def strange(self, labels: Labels, n_classes: int) -> tuple[int, str] | None:
        """Find a label that cannot be: its place, and what is wrong with it in words."""

    @abstractmethod
    def counts(self, labels: Labels, n_classes: int) -> Labels:
        """(K,) int64, how many images show each class."""

    @abstractmethod
    def subset(self, labels: Labels, size: int, seed: int) -> Labels:
        """Draw `size` places, as even over the classes as they allow; sorted."""

    @abstractmethod
    def few(self, labels: Labels, n_classes: int, n: int, seed: int) -> Labels:
        """Draw `n` places of each class, all of a class that has fewer; sorted.

        The draw of more holds the draw of fewer of the same seed.
        """

    @abstractmethod
    def hold_out(self, labels: Labels, fraction: float, seed: int) -> tuple[Labels, Labels]:
        """Split places into (kept, held out), stratified, both sorted."""

    @abstractmethod
    def names(self, label: Any, classes: Sequence[str]) -> list[str]:
        """Name the classes that one image shows, those it shows only as difficult in brackets."""

    @abstractmethod
    def fewest(self, n_classes: int) -> int:
        """Give the least number of images that can show all classes."""


class SingleLabel(LabelKind):
    """(n,) int64, the class of each image, from 0."""

    loss = "softmax"
    metrics = ("top-1", "mean-per-class")
    ndim = 1

    def strange(self, labels: Labels, n_classes: int) -> tuple[int, str] | None:
        outside = np.flatnonzero((labels < 0) | (labels >= n_classes))
        if not len(outside):
            return None
        place = int(outside[0])
        return place, f"label {labels[place]}, classes are 0 to {n_classes - 1}"

    def counts(self, labels: Labels, n_classes: int) -> Labels:
        return np.bincount(labels, minlength=n_classes).astype(np.int64)

    def subset(self, labels: Labels, size: int, seed: int) -> Labels:
        return balanced_subset(labels, size, seed)

    def few(self, labels: Labels, n_classes: int, n: int, seed: int) -> Labels:
        return few_of_each(labels, n_classes, n, seed)

    def hold_out(self, labels: Labels, fraction: float, seed: int) -> tuple[Labels, Labels]:
        return hold_out(labels, fraction, seed)

    def names(self, label: Any, classes: Sequence[str]) -> list[str]:
        return [classes[label]]

    def fewest(self, n_classes: int) -> int:
        return n_classes


class MultiLabel(LabelKind):
    """(n, K) int64: 1 a class is present, -1 absent, 0 present only as difficult.

    A difficult one is neither: it counts in no fit and in no score, as in PASCAL VOC.
    """

    loss = "binary"
    metrics = ("voc-map-11point",)
    ndim = 2

    def strange(self, labels: Labels, n_classes: int) -> tuple[int, str] | None:
        if labels.shape[1] != n_classes:
            return 0, f"{labels.shape[1]} labels, one for each of {n_classes} classes is expected"
        rows, columns = np.nonzero(~np.isin(labels, (-1, 0, 1)))
        if not len(rows):
            return None
        found = labels[rows[0], columns[0]]
        return int(rows[0]), f"label {found}, 1 (present), 0 (difficult) or -1 (absent) is expected"

    def counts(self, labels: Labels, n_classes: int) -> Labels:  # noqa: ARG002  a column a class
        return np.asarray((labels == 1).sum(axis=0), dtype=np.int64)

    def subset(self, labels: Labels, size: int, seed: int) -> Labels:
        return balanced_rows(labels, size, seed)

    def few(self, labels: Labels, n_classes: int, n: int, seed: int) -> Labels:
        # Images are taken one after the other by a rule that does not know how many are wanted.
        return balanced_rows(labels, n * n_classes, seed)

    def hold_out(self, labels: Labels, fraction: float, seed: int) -> tuple[Labels, Labels]:
        return hold_out_rows(labels, fraction, seed)

    def names(self, label: Any, classes: Sequence[str]) -> list[str]:
        said = {1: "{}", 0: "({})"}
        pairs = zip(label.tolist(), classes, strict=True)
        return [said[level].format(name) for level, name in pairs if level in said]

    def fewest(self, n_classes: int) -> int:  # noqa: ARG002
        # One image may show all classes, and another has to lack them.
        return 2


KINDS: Mapping[str, LabelKind] = MappingProxyType(
    {name: kind for kind in (SingleLabel(), MultiLabel()) for name in kind.metrics}
)


def kind_of(metric: str) -> LabelKind:
    """Say what labels mean where predictions are scored by this metric."""
    return KINDS[metric]
