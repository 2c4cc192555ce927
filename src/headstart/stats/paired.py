"""Whether two models differ on the same test images, or over the same datasets."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr

__all__ = ["PairedTest", "holm", "mcnemar", "paired_t", "sign_flip_test", "wilcoxon"]

Floats = npt.NDArray[np.float64]
# Sums of differences, the largest of which is 1, that are nearer than this are equal.
SAME = 1e-7


class PairedTest(NamedTuple):
    """The difference (first minus second), its two-sided p-value, and how many pairs made it."""

    difference: float
    p_value: float
    n: int


def mcnemar(right: npt.ArrayLike, other_right: npt.ArrayLike) -> PairedTest:
    """Exact McNemar test: of the images that one model alone gets right, is it half each?

    Source: Q. McNemar, Psychometrika 12 (1947), with the binomial distribution in place of the
    chi-squared approximation. It equals the permutation test on top-1 accuracy, computed exactly.

    Parameters
    ----------
    right, other_right
        (n,) booleans: whether each model predicts each image right.
    """
    # Takes most of a second to import, which a table of results need not wait for.
    from scipy.stats import binomtest

    first, second = np.asarray(right, dtype=bool), np.asarray(other_right, dtype=bool)
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    discordant = only_first + only_second
    p = binomtest(only_first, discordant).pvalue if discordant else 1.0
    return PairedTest((only_first - only_second) / len(first), float(p), len(first))


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


def paired_t(scores: npt.ArrayLike, other_scores: npt.ArrayLike) -> PairedTest:
    """Student's paired t-test over datasets; p = 1 where all differences are 0, NaN below two.

    Parameters
    ----------
    scores, other_scores
        (D,) log odds of the two models on the same datasets.
    """
    d = np.asarray(scores, dtype=np.float64) - np.asarray(other_scores, dtype=np.float64)
    if len(d) < 2:
        return PairedTest(float(d.mean()), np.nan, len(d))
    error = d.std(ddof=1) / np.sqrt(len(d))
    if error == 0:
        return PairedTest(float(d.mean()), 1.0 if d.mean() == 0 else 0.0, len(d))
    p = 2 * stdtr(len(d) - 1, -abs(d.mean()) / error)
    return PairedTest(float(d.mean()), float(p), len(d))


def wilcoxon(scores: npt.ArrayLike, other_scores: npt.ArrayLike) -> PairedTest:
    """Wilcoxon's signed-rank test over datasets, exact, ties included.

    Source: F. Wilcoxon, Biometrics Bulletin 1 (1945). Datasets on which both are equal are left
    out; p = 1 where all are, NaN below two datasets.

    Parameters
    ----------
    scores, other_scores
        (D,) log odds of the two models on the same datasets.
    """
    from scipy.stats import rankdata

    d = np.asarray(scores, dtype=np.float64) - np.asarray(other_scores, dtype=np.float64)
    if len(d) < 2:
        return PairedTest(float(d.mean()), np.nan, len(d))
    unequal = d[d != 0]
    # Twice the rank: a whole number also where ties share one.
    doubled = np.rint(2 * rankdata(np.abs(unequal))).astype(int)
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


def holm(p_values: npt.ArrayLike) -> Floats:
    """Adjust p-values so that the chance of any false alarm stays at the level (Holm 1979).

    Parameters
    ----------
    p_values
        (m,); NaN stays NaN and is not counted.
    """
    p = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(p.shape, np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(factors * p[order]))
    return adjusted
