"""Proportions of right answers: log odds, intervals, and tests of whether two models differ."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy

from headstart.errors import StatisticsError
from headstart.metrics import interpolated_precision
from headstart.spec import Estimate
from headstart.stats.regression import average_ranks

__all__ = [
    "PairedTest",
    "accuracy_of",
    "edge_distance",
    "independent_difference",
    "log_odds",
    "map_swap_test",
    "mcnemar",
    "paired_proportions",
    "sign_flip_test",
    "wilcoxon",
    "wilson_interval",
    "wilson_limits",
]

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]
Merged = tuple[npt.NDArray[np.int64], Booleans, Booleans]
# Percent are printed with so many decimals at most; what has more is not rounded.
DECIMALS = 4
# Of a unit of the last digit: what a binary number differs by from the decimal that was written.
WRITTEN = 1e-6
# Sums of differences, the largest of which is 1, that are nearer than this are equal.
SAME = 1e-7
# Differences in mAP that are nearer than this are equal.
SAME_MAP = 1e-12
# Permutations of mAP that are in memory together.
BLOCK = 100


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
    low, high = (float(end) for end in wilson_limits(accuracy, n, level))
    return Estimate(mean=accuracy, low=low, high=high, level=level, n=n, method="wilson")


def wilson_limits(
    accuracy: npt.ArrayLike, n: npt.ArrayLike, level: float = 0.95
) -> tuple[Floats, Floats]:
    """Return the ends of Wilson's interval of proportions of `n` examples, any shape."""
    # In closed form: scipy.stats, which has it too, takes most of a second to import.
    n = np.asarray(n, dtype=np.float64)
    p, z = np.round(np.asarray(accuracy) * n) / n, scipy.special.ndtri((1 + level) / 2)
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    # Of all right and none right one end is known, which rounding would miss.
    return (
        np.where(p > 0, np.maximum(centre - half, 0), 0.0),
        np.where(p < 1, np.minimum(centre + half, 1), 1.0),
    )


class PairedTest(NamedTuple):
    """The difference (first minus second), its two-sided p-value, and how many pairs made it.

    `low` to `high` is the interval of the difference, NaN where the test has none.
    """

    difference: float
    p_value: float
    n: int
    low: float = np.nan
    high: float = np.nan


def mcnemar(right: npt.ArrayLike, other_right: npt.ArrayLike, level: float = 0.95) -> PairedTest:
    """Exact McNemar test: of the images that one model alone gets right, is it half each?

    With the interval of the difference in accuracy (`paired_proportions`).

    Source: Q. McNemar, Psychometrika 12 (1947), with the binomial distribution in place of the
    chi-squared approximation. It equals the permutation test on top-1 accuracy, computed exactly.

    Parameters
    ----------
    right, other_right
        (n,) booleans: whether each model predicts each image right.
    level
        Coverage of the interval.
    """
    # Takes most of a second to import, which a table of results need not wait for.
    from scipy.stats import binomtest

    first, second = np.asarray(right, dtype=bool), np.asarray(other_right, dtype=bool)
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    discordant = only_first + only_second
    p = binomtest(only_first, discordant).pvalue if discordant else 1.0
    both = int((first & second).sum())
    low, high = paired_proportions(both, only_first, only_second, len(first), level)
    return PairedTest((only_first - only_second) / len(first), float(p), len(first), low, high)


def paired_proportions(
    both: int, only_first: int, only_second: int, n: int, level: float = 0.95
) -> tuple[float, float]:
    """Return the interval of the difference of two proportions of the same n examples.

    Newcombe's hybrid score interval: the Wilson intervals of the two proportions, squared and added
    with their correlation, continuity-corrected (R. G. Newcombe, Statistics in Medicine 17, 1998,
    pages 2635-2650, method 10).

    Parameters
    ----------
    both, only_first, only_second
        Examples that both models get right, and one of them alone.
    level
        Coverage of the interval.
    """
    neither = n - both - only_first - only_second
    p = np.array([both + only_first, both + only_second]) / n
    low, high = wilson_limits(p, n, level)
    below, above = p - low, high - p
    margins = float(n) ** 4 * float(np.prod(p * (1 - p)))
    product = float(both) * neither - float(only_first) * only_second
    if product > 0:
        product = max(product - n / 2, 0.0)
    correlation = product / np.sqrt(margins) if margins > 0 else 0.0
    difference = float(p[0] - p[1])

    def reach(a: float, b: float) -> float:
        return float(np.sqrt(max(a**2 - 2 * correlation * a * b + b**2, 0.0)))

    down, up = reach(below[0], above[1]), reach(above[0], below[1])
    return max(difference - down, -1.0), min(difference + up, 1.0)


def independent_difference(
    first: tuple[float, float, float], other: tuple[float, float, float]
) -> tuple[float, float]:
    """Return the interval of the difference of two estimates that are independent.

    From the interval of each: the distances to its ends, squared and added (R. G. Newcombe,
    Statistics in Medicine 17, 1998, pages 873-890, method 10; for any two parameters G. Y. Zou and
    A. Donner, Statistics in Medicine 27, 2008). Of two results on one test set it is too wide.

    Parameters
    ----------
    first, other
        Estimate, and the low and high end of its interval; the ends are NaN where unknown.

    Examples
    --------
    >>> from headstart.stats import wilson_interval
    >>> first, other = wilson_interval(56 / 70, 70), wilson_interval(48 / 80, 80)
    >>> estimates = ((one.mean, one.low, one.high) for one in (first, other))
    >>> low, high = independent_difference(*estimates)
    >>> round(low, 4), round(high, 4)  # Newcombe's table II, (a)
    (0.0524, 0.3339)
    """
    (p, low, high), (q, other_low, other_high) = first, other
    difference = p - q
    return (
        difference - float(np.hypot(p - low, other_high - q)),
        difference + float(np.hypot(high - p, q - other_low)),
    )


def sign_flip_test(
    differences: npt.ArrayLike, permutations: int, random: np.random.Generator
) -> PairedTest:
    """Permutation test that swaps the two models on each image: the sign of its difference flips.

    The difference that is tested is the sum of `differences`, so that any mean of per-image scores
    fits: weights 1/n make it top-1 accuracy, weights 1/(K n_k) the mean per-class accuracy. Images
    of one absolute difference are exchangeable, so their flips are one binomial draw. The p-value
    is (1 + at least as extreme) / (1 + permutations), never 0 (Phipson and Smyth 2010).

    Parameters
    ----------
    differences
        (n,) first minus second, each image's contribution to the difference of the metrics.
    permutations
        Number of random permutations.
    """
    d = np.asarray(differences, dtype=np.float64)
    total, largest = float(d.sum()), float(np.abs(d).max(initial=0))
    if not largest:
        return PairedTest(0.0, 1.0, len(d))
    # In units of the largest, whatever the number of images: rounding is for telling sizes apart
    # alone, since a rounded size would set the sums drawn off from the one observed.
    sizes = np.abs(d[d != 0]) / largest
    _, first, counts = np.unique(np.round(sizes, 9), return_index=True, return_counts=True)
    plus = random.binomial(counts, 0.5, size=(permutations, len(counts)))
    drawn = np.abs((2 * plus - counts) @ sizes[first])
    # Sums in another order than the observed one are equal to it but for rounding.
    extreme = int((drawn >= abs(total) / largest - SAME).sum())
    return PairedTest(total, (1 + extreme) / (1 + permutations), len(d))


def wilcoxon(scores: npt.ArrayLike, other_scores: npt.ArrayLike) -> PairedTest:
    """Wilcoxon's signed-rank test over datasets, exact, ties included.

    Source: F. Wilcoxon, Biometrics Bulletin 1 (1945). Datasets on which both are equal are left
    out; p = 1 where all are, NaN below two datasets.

    Parameters
    ----------
    scores, other_scores
        (D,) log odds of the two models on the same datasets.
    """
    d = np.asarray(scores, dtype=np.float64) - np.asarray(other_scores, dtype=np.float64)
    if len(d) < 2:
        return PairedTest(float(d.mean()), np.nan, len(d))
    unequal = d[d != 0]
    # Twice the rank: a whole number also where ties share one.
    doubled = np.rint(2 * average_ranks(np.abs(unequal))).astype(int)
    plus = int(doubled[unequal > 0].sum())
    lower = min(plus, int(doubled.sum()) - plus)
    chance = _rank_sum_cdf(tuple(sorted(doubled.tolist())))[lower]
    return PairedTest(float(d.mean()), min(1.0, 2 * float(chance)), len(d))


@lru_cache(maxsize=1024)
def _rank_sum_cdf(ranks: tuple[int, ...]) -> Floats:
    """(sum + 1,) chance of a rank sum of at most 0, 1, ... when each sign is a fair coin."""
    chance = np.ones(1)
    for rank in ranks:
        with_rank = np.zeros(len(chance) + rank)
        with_rank[: len(chance)] = chance
        with_rank[rank:] += chance
        chance = with_rank / 2
    return np.asarray(np.cumsum(chance))


def map_swap_test(
    scores: npt.ArrayLike,
    other_scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    permutations: int,
    random: np.random.Generator,
) -> PairedTest:
    """Permutation test of 11-point mAP: on each image the two models' scores are swapped or not.

    The average precision of a model depends on the order of its scores alone, so each class's
    scores are replaced by their ranks first: two models whose scores have other scales can then be
    swapped image by image. An image is swapped for all classes at once.

    Parameters
    ----------
    scores, other_scores
        (n, K) decision values of the two models on the same images, or (S, n, K) of S seeds: the
        difference is the mean over seeds, and an image is swapped in all of them at once.
    labels
        (n, K) in {1 present, 0 difficult only, -1 absent}.
    """
    labels = np.asarray(labels)
    classes = [k for k in range(labels.shape[1]) if (labels[:, k] == 1).any()]
    first, second = (np.asarray(s).reshape(-1, *labels.shape) for s in (scores, other_scores))
    orders = [
        _merged(_ordinal_ranks(one[:, k]), _ordinal_ranks(other[:, k]), labels[:, k])
        for one, other in zip(first, second, strict=True)
        for k in classes
    ]
    n = len(labels)
    observed = float(_differences(orders, np.zeros((1, n), dtype=bool))[0])
    extreme = done = 0
    while done < permutations:
        swapped = random.integers(0, 2, size=(min(BLOCK, permutations - done), n)).astype(bool)
        drawn = np.abs(_differences(orders, swapped))
        # Sums in another order than the observed one are equal to it but for rounding.
        extreme += int((drawn >= abs(observed) - SAME_MAP).sum())
        done += len(swapped)
    return PairedTest(observed, (1 + extreme) / (1 + permutations), n)


def _ordinal_ranks(scores: Floats) -> Floats:
    """(n,) ranks from the highest, ties in the order given, as the metric has them."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(-scores, method="ordinal"), dtype=np.float64)


def _merged(rank: Floats, other_rank: Floats, label: npt.NDArray[np.int64]) -> Merged:
    """Order the entries of both models together: image, whether it is the other's, whether present.

    Sorted once; which entries belong to a model after swapping is a mask over this order.
    """
    judged = np.flatnonzero(label != 0)
    image = np.concatenate([judged, judged])
    is_other = np.repeat([False, True], len(judged))
    # Equal ranks, which swapped images can have in one model, stand in the order of the images, as
    # the metric has them: what is drawn depends on the swapped data alone.
    order = np.lexsort((image, np.concatenate([rank[judged], other_rank[judged]])))
    image = image[order]
    return image, is_other[order], label[image] == 1


def _differences(orders: list[Merged], swapped: Booleans) -> Floats:
    """(B,) difference in mAP after the swaps (B, n)."""
    total = np.zeros(len(swapped))
    for image, is_other, present in orders:
        of_other = is_other ^ swapped[:, image]
        total += _average_precision(~of_other, present) - _average_precision(of_other, present)
    return total / len(orders)


def _average_precision(member: Booleans, present: Booleans) -> Floats:
    """(B,) average precision of the entries (B, 2 n) that are a model's, in order."""
    seen = np.cumsum(member, axis=1, dtype=np.int32)[:, present]
    hit = member[:, present]
    n_present = int(present.sum()) // 2
    # Each image has one entry in each model, so every row has n_present hits.
    seen = seen[hit].reshape(len(member), n_present)
    return interpolated_precision(np.arange(1, n_present + 1) / seen)
