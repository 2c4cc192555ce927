"""Compare all models with each other and with the best: simultaneous intervals.

From it follow which models are not significantly different from the best, and the ranks that the
data allow.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy

from headstart.stats.two_way import AdditiveFit

__all__ = ["FEWEST_DATASETS", "Comparisons", "Pairs", "all_pairs", "compare_models"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
# Two models are compared over no fewer shared datasets: a variance of three differences or fewer
# says too little, and near-equal differences on two datasets would make any of them significant.
FEWEST_DATASETS = 5
# From so many models on, the variances of their pairs say how far variances differ.
FEWEST_MODELS_FOR_PRIOR = 5
# Means, log odds, that are nearer than this are equal.
SAME = 1e-9
# Of the residual variance: what rounding leaves of none.
NO_VARIANCE = 1e-14
BLOCK = 2_000_000


class Comparisons(NamedTuple):
    """Every model against the best mean, and its rank; arrays (M,).

    `best` marks the highest mean, several where they are equal. `difference` is the model's mean
    less the best's, with its simultaneous interval `low` to `high` and adjusted `p_value`; NaN for
    the best, and where the two share too few datasets. `rank` is that of the mean, 1 the best,
    equals sharing the lowest; `rank_low` to `rank_high` its simultaneous interval.
    """

    best: npt.NDArray[np.bool_]
    difference: Floats
    low: Floats
    high: Floats
    p_value: Floats
    rank: Integers
    rank_low: Integers
    rank_high: Integers

    def not_different(self) -> list[bool | None]:
        """Return for each model whether its interval holds 0; None where it was not compared."""
        return [
            True if best else None if np.isnan(low) else bool(low <= 0 <= high)
            for best, low, high in zip(self.best, self.low, self.high, strict=True)
        ]


class Pairs(NamedTuple):
    """Every pair of models (first < other); arrays of M (M - 1) / 2, NaN where not compared."""

    first: Integers
    other: Integers
    difference: Floats
    low: Floats
    high: Floats
    p_value: Floats
    p_adjusted: Floats
    n: Integers


def compare_models(fit: AdditiveFit, level: float = 0.95, corrected: bool = True) -> Comparisons:
    """Compare all models' adjusted means, each pair by a moderated paired t statistic.

    The variance of a pair's difference over datasets is its own, since relatives among networks
    differ less than strangers, and some vary more than others; as a few datasets say little of a
    variance, it is moderated towards what the variances of all pairs have in common, as far as
    they are alike (`_prior`; G. K. Smyth, Statistical Applications in Genetics and Molecular
    Biology 3, 2004). All intervals of differences hold together with probability `level`, by
    Bonferroni's inequality over the M (M - 1) / 2 pairs: the studentized range (Tukey) would need
    one variance for all pairs. With one pair it is the paired t-test.

    A model ranks below all that are better and above all that are worse, each at the simultaneous
    level (D. Mohamad, E. W. van Zwet, A. Solari, J. J. Goeman, "Simultaneous confidence intervals
    for ranks", 2021), and a model that is not different from the best may be the best: its
    interval of ranks begins at 1.

    Parameters
    ----------
    fit
        The additive fit of M models and D datasets.
    level
        Coverage of all intervals together.
    corrected
        False: each pair by itself, at `level`.
    """
    n_models = len(fit.mean)
    top = fit.mean.max()
    best = fit.mean >= top - SAME
    errors = _Errors(fit, level, corrected)
    above, below = np.zeros(n_models, dtype=np.int64), np.zeros(n_models, dtype=np.int64)
    rank = np.empty(n_models, dtype=np.int64)
    for rows, se, critical, _, _ in errors.blocks():
        apart = fit.mean[rows, None] - fit.mean
        rank[rows] = 1 + (apart < -SAME).sum(axis=1)
        # NaN, a pair that is not compared, is neither.
        above[rows] = (apart < -np.maximum(critical * se, SAME)).sum(axis=1)
        below[rows] = (apart > np.maximum(critical * se, SAME)).sum(axis=1)
    difference, half, p = errors.against(np.flatnonzero(best))
    half[best], p[best] = np.nan, np.nan
    low, high = difference - half, difference + half
    rank_low = np.where(best | (high >= 0), 1, 1 + above)
    return Comparisons(best, difference, low, high, p, rank, rank_low, n_models - below)


def all_pairs(fit: AdditiveFit, level: float = 0.95, corrected: bool = True) -> Pairs:
    """Return every pair's difference (first less other), interval and p-values.

    As `compare_models` has them; the adjusted p-value is under 1 - `level` where the interval does
    not hold 0.
    """
    errors = _Errors(fit, level, corrected)
    parts = []
    for rows, se, critical, df, n in errors.blocks():
        first, other = np.nonzero(np.arange(len(fit.mean)) > rows[:, None])
        at = first, other
        difference = fit.mean[rows[first]] - fit.mean[other]
        half = critical[at] * se[at]
        p = _p_value(difference, se[at], df[at])
        adjusted = np.minimum(1, errors.n_tests * p)
        parts.append((rows[first], other, difference, difference - half, difference + half, p,
                      adjusted, n[at]))  # fmt: skip
    return Pairs(*(np.concatenate(column) for column in zip(*parts, strict=True)))


class _Errors:
    """Standard errors of the pairs' differences, in blocks of rows: nothing of M x M is kept."""

    def __init__(self, fit: AdditiveFit, level: float, corrected: bool) -> None:
        self.fit = fit
        n_models, n_datasets = fit.residual.shape
        there = np.isfinite(fit.residual)
        self.there = there.astype(np.float64)
        self.weighted = self.there * fit.weight
        self.residual = np.where(there, fit.residual, 0.0)
        self.projected = fit.contrast @ fit.gram
        self.own = np.einsum("md,md->m", self.projected, fit.contrast)
        self.n_tests = n_models * (n_models - 1) // 2 if corrected else 1
        self.size = max(1, BLOCK // max(n_models, 1))
        self.prior_df, self.prior = self._prior()
        shared = np.arange(n_datasets + 1)
        total = np.minimum(self.prior_df + shared - 1.0, max(fit.df, 1))
        self.df = np.where(shared >= FEWEST_DATASETS, total, np.nan)
        self.critical = -scipy.special.stdtrit(self.df, (1 - level) / (2 * max(self.n_tests, 1)))

    def blocks(self) -> Iterator[tuple[Integers, Floats, Floats, Floats, Integers]]:
        """Yield rows, and (rows, M) standard errors, critical values, df and shared datasets."""
        n_models = len(self.fit.mean)
        for start in range(0, n_models, self.size):
            rows = np.arange(start, min(start + self.size, n_models))
            se, n = self.of_rows(rows)
            yield rows, se, self.critical[n], self.df[n], n

    def of_rows(self, rows: Integers) -> tuple[Floats, Integers]:
        """(rows, M) moderated standard errors of the differences, and the datasets shared."""
        variance, n = self._variances(rows)
        own_df = np.maximum(n - 1.0, 0.0)
        if np.isinf(self.prior_df):
            variance = np.full_like(variance, self.prior)
        else:
            with np.errstate(invalid="ignore", divide="ignore"):
                variance = (self.prior_df * self.prior + own_df * variance) / (
                    self.prior_df + own_df
                )
        unscaled = (
            1 / self.fit.total[rows, None] + 1 / self.fit.total + self.own[rows, None] + self.own
        )
        unscaled = unscaled - 2 * self.projected[rows] @ self.fit.contrast.T
        return np.sqrt(variance * unscaled), n

    def against(self, best: Integers) -> tuple[Floats, Floats, Floats]:
        """(M,) difference from the best, half the interval, and the p-value; of several the widest.

        Which of several equal ones is meant must not depend on their order.
        """
        se, n = self.of_rows(best)
        difference = self.fit.mean - self.fit.mean[best].max()
        half = self.critical[n] * se
        p = np.minimum(1, self.n_tests * _p_value(difference, se, self.df[n]))
        return difference, half.max(axis=0), p.max(axis=0)

    def _variances(self, rows: Integers) -> tuple[Floats, Integers]:
        """(rows, M) half the (weighted) variance of the difference over the datasets of both.

        Half: the variance of one residual, where all have the same and are independent.
        """
        r, cells, weighted = self.residual, self.there, self.weighted
        n, sum_of_weights = cells[rows] @ cells.T, cells[rows] @ weighted.T
        total = r[rows] @ weighted.T - weighted[rows] @ r.T
        squares = (r[rows] ** 2) @ weighted.T + weighted[rows] @ (r**2).T
        squares -= 2 * r[rows] @ (r * self.fit.weight).T
        with np.errstate(invalid="ignore", divide="ignore"):
            variance = (squares - total**2 / sum_of_weights) / (2 * (n - 1))
        floor = NO_VARIANCE * max(1.0, float((self.fit.mean**2).max()))
        variance = np.where(variance > floor, variance, 0.0)
        return variance, np.rint(n).astype(np.int64)

    def _prior(self) -> tuple[float, float]:
        """Estimate what the pairs' variances have in common: degrees of freedom, and the variance.

        Smyth's moments: with s2 = s0 F(d, d0), the variance of log s2 beyond trigamma(d / 2) is
        trigamma(d0 / 2). Without such an excess all variances are one, the residual's of the fit
        (which then is the two-way analysis of variance); with few models there is none to see.
        """
        if len(self.fit.mean) < FEWEST_MODELS_FOR_PRIOR:
            return 0.0, 0.0
        count = total = squares = within = 0.0
        for start in range(0, len(self.fit.mean), self.size):
            rows = np.arange(start, min(start + self.size, len(self.fit.mean)))
            variance, n = self._variances(rows)
            use = (np.arange(len(self.fit.mean)) > rows[:, None]) & (n >= FEWEST_DATASETS)
            use &= variance > 0
            half = (n[use] - 1) / 2
            e = np.log(variance[use]) - scipy.special.digamma(half) + np.log(half)
            count, total, squares = count + len(e), total + e.sum(), squares + (e**2).sum()
            within += scipy.special.polygamma(1, half).sum()
        if count < 2:
            return 0.0, 0.0
        centre = total / count
        excess = (squares - count * centre**2) / (count - 1) - within / count
        if excess <= 0:
            return np.inf, self.fit.variance
        d0 = 2 * _inverse_trigamma(excess)
        return d0, float(np.exp(centre + scipy.special.digamma(d0 / 2) - np.log(d0 / 2)))


def _p_value(difference: Floats, se: Floats, df: Floats) -> Floats:
    """Two-sided p-value of a t statistic; a difference without any variance is certain."""
    with np.errstate(invalid="ignore", divide="ignore"):
        t = np.where(np.abs(difference) < SAME, 0.0, np.abs(difference) / se)
    return np.where(np.isfinite(df), 2 * scipy.special.stdtr(df, -t), np.nan)


def _inverse_trigamma(value: float) -> float:
    """Solve trigamma(x) = value by Newton's method (Smyth 2004, appendix)."""
    x = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(scipy.special.polygamma(1, x))
        step = trigamma * (1 - trigamma / value) / float(scipy.special.polygamma(2, x))
        x += step
        if -step / x < 1e-8:
            break
    return x
