r"""Comparisons of models by cross-validation on the same images: which cannot be the best any more.

A model is dropped where another one is significantly better. The probability that the best model of
all is dropped is at most `Level.error`, over all looks and all models, by Bonferroni's inequality:
the best model b is dropped only if some other model j seems better by more than the critical value,
and only the M - 1 comparisons of b can do that, one-sided, at each look.

The variance of a difference over n images and K folds is

.. math:: \frac{K}{K-1} \, \frac{\sigma^2}{n},

where :math:`\sigma^2` is the variance of an image's difference in one repeat of the
cross-validation. Repeats are averaged for the difference, and get no credit in the variance: they
share all images. The factor is for the training images that folds share, the term
:math:`n_{test}/n_{train}` of C. Nadeau and Y. Bengio, "Inference for the generalization error",
Machine Learning 52 (2003), whose other term is for test sets that overlap: those of folds do not.
On simulated images, with classifiers that are fitted anew, the true standard deviation is 0.8 to
1.0 of this; their whole correction would be too large by a fifth to a half, and the variance of
averaged repeats without one too small by up to a quarter
(docs/decisions/0033-a-race-of-backbones.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

__all__ = [
    "Difference", "Level", "Rights", "against_others", "critical_values", "difference", "interval",
    "shrunken",
]  # fmt: skip

Floats = npt.NDArray[np.float64]
# Of a model on the images of a level, (R, n): whether each repeat predicts each image right.
Rights = npt.NDArray[np.bool_]
# Added to the images that only one model, and only the other, gets right, so that few disagreements
# have a variance (D. G. Bonett, R. M. Price, Journal of Educational and Behavioral Statistics 37,
# 2012).
DISAGREEMENTS = 1
# Models that a line through their accuracies needs, so that two degrees of freedom are left.
FEWEST_ON_LINE = 4


@dataclass(frozen=True)
class Level:
    """Images that models are compared on, the same for all.

    Parameters
    ----------
    weights
        (n,) weight of each image, 1 on average: 1 for top-1 accuracy, n / (K n_k) for mean
        per-class accuracy.
    clusters
        (n,) numbers from 0; images of one number belong together, and vary together.
    folds
        Folds of the cross-validation.
    critical
        Standard errors that a difference has to exceed at this level.
    """

    weights: Floats
    clusters: npt.NDArray[np.int64]
    folds: int
    critical: float

    def accuracy(self, right: Rights) -> float:
        """Return the weighted proportion of right predictions."""
        return float((right.mean(axis=0) * self.weights).mean())

    def squares(self, values: Floats) -> float:
        """Return the sum of squares of clusters of (R, n) values about their mean, per repeat."""
        own = values - values.mean(axis=1, keepdims=True)
        if self.clusters.max() + 1 < len(self.clusters):
            own = np.stack([np.bincount(self.clusters, weights=row) for row in own])
        return float((own**2).sum()) / len(own)

    @property
    def inflation(self) -> float:
        """The factor K / (K - 1) of a variance."""
        return self.folds / (self.folds - 1)


class Difference(NamedTuple):
    """A difference in accuracy (first minus second) and its standard error."""

    mean: float
    se: float


def critical_values(n_levels: int, n_models: int, error: float) -> Floats:
    """Return the critical value of each level, for one-sided comparisons of M models.

    A level may spend twice as much of the error as the one before: its images are twice as many,
    and what is dropped late cost more already.

    `error` is the probability that the best model is dropped, over all levels and models.

    Examples
    --------
    >>> critical_values(1, 2, 0.05).round(3)
    array([1.645])
    >>> critical_values(2, 11, 0.05).round(3)
    array([2.935, 2.713])
    """
    shares = 2.0 ** np.arange(n_levels)
    spent = error * shares / shares.sum() / max(1, n_models - 1)
    return np.asarray(-ndtri(spent), dtype=np.float64)


def difference(first: Rights, second: Rights, level: Level) -> Difference:
    """Compare two models on the images of a level."""
    d = (first.astype(np.int8) - second) * level.weights
    extra = 2 * DISAGREEMENTS
    variance = (level.squares(d) + extra) / (d.shape[1] + extra) / d.shape[1]
    return Difference(float(d.mean()), float(np.sqrt(level.inflation * variance)))


def interval(right: Rights, level: Level) -> tuple[float, float]:
    """Return the 95 % confidence interval of a model's accuracy.

    It is Wilson's, of as many independent images as would give the same variance.
    """
    values = right * level.weights
    p, n = float(values.mean()), values.shape[1]
    variance = level.inflation * level.squares(values) / n**2
    # All right, or none: nothing says how far images of one cluster are alike.
    effective = min(p * (1 - p) / variance, float(n)) if variance > 0 else n / level.folds
    z = float(ndtri(0.975))
    centre = p + z**2 / (2 * effective)
    half = z * float(np.sqrt(max(p * (1 - p), 0) / effective + z**2 / (4 * effective**2)))
    scale = 1 + z**2 / effective
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def shrunken(steps: Sequence[Rights], costs: Sequence[float], level: Level) -> Floats:
    """Return (M,) accuracies, moved towards what the cost of each model lets expect.

    On few images the most accurate of many models is above all a lucky one, and larger networks are
    in general better. So accuracies are moved towards the line through them over the logarithm of
    the cost: the more, the larger their sampling variance is beside the variance about the line
    (R. E. Fay, R. A. Herriot, "Estimates of income for small places: an application of James-Stein
    procedures to census data", JASA 74, 1979; here with one variance for all models).

    Parameters
    ----------
    steps
        What M models reached on the images of the level. With fewer than four, nothing is moved:
        they do not tell the variance about a line.
    costs
        (M,) multiply-adds, or another positive number that grows with the network.
    """
    accuracy = np.array([level.accuracy(right) for right in steps])
    if len(steps) < FEWEST_ON_LINE:
        return accuracy
    x = np.log(costs) - np.log(costs).mean()
    # Equal costs may differ from their mean by rounding: centred accuracies make nothing of it.
    slope = x @ (accuracy - accuracy.mean()) / (x @ x) if x.any() else 0.0
    line = accuracy.mean() + slope * x
    # What all models have in common on an image changes no order.
    values = np.stack([right * level.weights for right in steps])
    values = values - values.mean(axis=(0, 1))
    squares = np.mean([level.squares(of_model) for of_model in values])
    sampling = level.inflation * squares / values.shape[2] ** 2
    about_line = max(0.0, np.square(accuracy - line).sum() / (len(steps) - 2) - sampling)
    kept = about_line / (about_line + sampling) if about_line else 0.0
    return np.asarray(line + kept * (accuracy - line))


def against_others(right: Rights, others: Sequence[Rights], level: Level) -> tuple[float, float]:
    """Return the interval of a model's accuracy less that of the best other model.

    Simultaneous over all models (J. C. Hsu, "Simultaneous confidence intervals for all distances
    from the 'best'", Annals of Statistics 9, 1981): its upper end is 0 exactly where a model is
    significantly worse than another one.
    """
    found = [difference(right, other, level) for other in others]
    low = min((one.mean - level.critical * one.se for one in found), default=0.0)
    high = min((one.mean + level.critical * one.se for one in found), default=0.0)
    return min(low, 0.0), max(high, 0.0)
