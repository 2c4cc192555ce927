"""Accuracy on the scale on which differences multiply the odds, and intervals for a proportion."""

from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import scipy

from headstart.errors import StatisticsError
from headstart.spec import Estimate

__all__ = ["accuracy_of", "edge_distance", "log_odds", "wilson_interval"]

Floats = npt.NDArray[np.float64]
# Percent are printed with so many decimals at most; what has more is not rounded.
DECIMALS = 4
# Of a unit of the last digit: what a binary number differs by from the decimal that was written.
WRITTEN = 1e-6


def log_odds(
    accuracy: npt.ArrayLike, n: npt.ArrayLike = np.nan, distance: npt.ArrayLike = np.nan
) -> Floats:
    """Natural log of the odds accuracy / (1 - accuracy).

    A difference d on this scale multiplies the odds n_correct / n_incorrect by exp(d). Where the
    accuracy is exactly 0 or 1 the logit is infinite; there, and only there, it is replaced by the
    empirical logit log((k + 1/2) / (n - k + 1/2)) of k = 0 or n right answers of n, which is the
    logit of (k + 1/2) / (n + 1) (Haldane 1956; Anscombe 1956). It lies beyond the logit of every
    other proportion of n examples. A mean over classes can be nearer to 1 than any proportion, and
    then has larger log odds than 1 itself has here: of K classes, one wrong answer in a class of m
    images leaves it at 1 - 1/(K m). Where n is unknown, the accuracy is taken to lie `distance`
    from 0 or 1 (`edge_distance`).

    Parameters
    ----------
    accuracy
        Proportions in [0, 1], any shape.
    n
        Numbers of test examples, broadcast with `accuracy`; NaN where unknown.
    distance
        Proportions in (0, 1/2], broadcast with `accuracy`; NaN where unknown.

    Raises
    ------
    StatisticsError
        A proportion outside [0, 1], or 0 or 1 where `n` and `distance` are unknown.

    Examples
    --------
    >>> float(log_odds(0.5)), round(float(log_odds(1.0, n=100)), 3)
    (0.0, 5.303)
    """
    p = np.asarray(accuracy, dtype=np.float64)
    p, n, distance = np.broadcast_arrays(
        p, np.asarray(n, dtype=np.float64), np.asarray(distance, dtype=np.float64)
    )
    if not np.all((p >= 0) & (p <= 1)):
        raise StatisticsError("expected proportions in [0, 1]", code="statistics.proportion")
    edge = (p == 0) | (p == 1)
    counted = edge & (n > 0)
    if not np.all(distance[edge & ~counted] > 0):
        raise StatisticsError(
            "the log odds of an accuracy of exactly 0 or 1 need the test-set size",
            code="statistics.size_missing",
        )
    values = scipy.special.logit(np.where(edge, 0.5, p))
    right = p * n
    with np.errstate(divide="ignore", invalid="ignore"):
        empirical = np.log((right + 0.5) / (n - right + 0.5))
    beyond = scipy.special.logit(np.where(edge & ~counted, distance, 0.5))
    guessed = np.where(p == 1, -1, 1) * beyond
    return np.asarray(np.where(counted, empirical, np.where(edge, guessed, values)))


def edge_distance(accuracy: npt.ArrayLike) -> float:
    """Return how far from 0 or 1 to take accuracies of exactly 0 or 1 whose test size is unknown.

    Half a unit of the last digit in which the accuracies are written in percent, where that is at
    most the fourth decimal: a printed 100.0 may be 99.95. Of unrounded numbers half the smallest
    distance of the others from 0 or 1. It is never more than that, so that no other accuracy is
    passed.

    Parameters
    ----------
    accuracy
        (n,) proportions of one dataset.

    Returns
    -------
    float
        A proportion; NaN where all accuracies are 0 or 1.

    Examples
    --------
    >>> edge_distance([0.913, 0.998, 1.0]), round(edge_distance([2 / 3, 6 / 7, 1.0]), 4)
    (0.0005, 0.0714)
    """
    p = np.asarray(accuracy, dtype=np.float64)
    p = p[(p > 0) & (p < 1)]
    if not len(p):
        return float("nan")
    half = float(np.minimum(p, 1 - p).min()) / 2
    for decimals in range(DECIMALS + 1):
        units = 100 * p * 10**decimals
        if np.all(np.abs(units - np.round(units)) < WRITTEN):
            return float(min(0.5 / (100 * 10**decimals), half))
    return half


def accuracy_of(log_odds: npt.ArrayLike) -> Floats:
    """Invert the logit: the proportion with these log odds, any shape."""
    return np.asarray(scipy.special.expit(np.asarray(log_odds, dtype=np.float64)))


def wilson_interval(accuracy: float, n: int, level: float = 0.95) -> Estimate:
    """Wilson's score interval for a top-1 accuracy on `n` independent test examples.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    JASA 22 (1927). It says how well the test set pins the accuracy down, not how the number would
    vary over training sets; and two models tested on the same images are compared by a paired
    test, not by whether their intervals overlap.

    Parameters
    ----------
    accuracy
        Proportion in [0, 1].
    n
        Number of test examples, >= 1.
    level
        Coverage in (0, 1).
    """
    # In closed form: scipy.stats, which has it too, takes most of a second to import, and
    # scipy.special a tenth; a table of results needs nothing else of them.
    p, z = round(accuracy * n) / n, NormalDist().inv_cdf((1 + level) / 2)
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * float(np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)))
    # Of all right and none right one end is known, which rounding would miss.
    low = max(0.0, centre - half) if p > 0 else 0.0
    high = min(1.0, centre + half) if p < 1 else 1.0
    return Estimate(mean=accuracy, low=low, high=high, level=level, n=n, method="wilson")
