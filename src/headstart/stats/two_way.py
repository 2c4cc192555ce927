"""Models compared over datasets: adjusted means, and simultaneous intervals of their differences.

From these follow which models are not significantly different from the best, and the ranks that
the data allow.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy

from headstart.errors import StatisticsError

__all__ = [
    "FEWEST_DATASETS",
    "AdditiveFit",
    "Comparisons",
    "ErrorBars",
    "Pairs",
    "WithinMeans",
    "additive_fit",
    "all_pairs",
    "compare_models",
    "components",
    "within_means",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
ErrorBars = Literal["morey", "cousineau"]
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


class AdditiveFit(NamedTuple):
    """Least-squares fit of score ~ model + dataset over the cells that are there.

    Attributes
    ----------
    mean
        (M,) adjusted mean of each model: its fitted scores averaged over all D datasets.
    dataset
        (D,) effects of the datasets, which sum to 0.
    residual
        (M, D), NaN where a cell is missing.
    leverage
        (M, D) diagonal of the hat matrix, NaN where a cell is missing.
    n
        (M,) cells of each model.
    weight
        (D,) of the datasets, with mean 1; 1 unless given. A residual's variance is over it.
    total
        (M,) sum of the weights of each model's datasets: `n` where all weigh the same.
    contrast, gram
        (M, D) and (D, D): the covariance of two adjusted means over the residual variance is
        ``(a == b) / total[a] + contrast[a] @ gram @ contrast[b]``. `contrast` is 0 for a model
        that has every dataset.
    variance
        Mean square of the residual; NaN without degrees of freedom.
    df
        Degrees of freedom of the residual.
    """

    mean: Floats
    dataset: Floats
    residual: Floats
    leverage: Floats
    n: Integers
    weight: Floats
    total: Floats
    contrast: Floats
    gram: Floats
    variance: float
    df: int

    def unscaled_variance(self) -> Floats:
        """(M,) variance of each adjusted mean over the variance of a residual."""
        return np.asarray(
            1 / self.total + ((self.contrast @ self.gram) * self.contrast).sum(axis=1)
        )

    def unscaled_variance_of_mean(self) -> float:
        """Return the same of the mean over models of all adjusted means."""
        c = self.contrast.mean(axis=0)
        return float((1 / self.total).sum() / len(self.n) ** 2 + c @ self.gram @ c)


class WithinMeans(NamedTuple):
    """(M,) arrays: mean over datasets, its standard error, and the interval."""

    mean: Floats
    se: Floats
    low: Floats
    high: Floats


def additive_fit(scores: npt.ArrayLike, weight: npt.ArrayLike | None = None) -> AdditiveFit:
    """Fit score[m, d] = model[m] + dataset[d] + residual by least squares, over all cells.

    On a complete table the adjusted means are the plain means. On an incomplete table, a model is
    neither punished nor favoured for having been measured on hard or on easy datasets, as far as
    datasets are hard or easy for all models alike; no cell is left out. (Adjusted or least-squares
    means: S. R. Searle, F. M. Speed, G. A. Milliken, The American Statistician 34, 1980.)

    Model effects are eliminated: with N the indicator of cells and n its row sums, the datasets'
    effects b solve L b = N'(y - row means), L = diag(N'1) - N' diag(1/n) N, a graph Laplacian,
    regular up to a constant where models and datasets are connected.

    With weights, means are weighted means over the datasets, and squares are weighted likewise: the
    variance of a cell is taken as inversely proportional to its dataset's weight.

    Parameters
    ----------
    scores
        (M, D), NaN where a cell is missing; no row or column wholly so.
    weight
        (D,) > 0 of the datasets; all the same unless given.

    Raises
    ------
    StatisticsError
        A row or column without a cell, or models and datasets that are not connected.
    """
    y = np.asarray(scores, dtype=np.float64)
    there = np.isfinite(y)
    n_models, n_datasets = y.shape
    n = there.sum(axis=1)
    _check_connected(there)
    w = np.ones(n_datasets) if weight is None else np.asarray(weight, dtype=np.float64)
    w = w / w.mean()
    cells = there * w
    total = cells.sum(axis=1)
    share = cells / total[:, None]
    filled = np.where(there, y, 0.0)
    row_mean = (w * filled).sum(axis=1) / total
    ones = np.full((n_datasets, n_datasets), 1 / n_datasets)
    # L with its null space, the constant, filled up: the inverse less that is the pseudoinverse.
    gram = np.linalg.inv(np.diag(cells.sum(axis=0)) - cells.T @ share + ones) - ones
    dataset = gram @ (cells * (filled - row_mean[:, None])).sum(axis=0)
    dataset -= (w * dataset).mean()
    contrast = w / n_datasets - share
    mean = row_mean + contrast @ dataset
    residual = y - (row_mean - share @ dataset)[:, None] - dataset
    # Var(fitted[m, d]): that of the row mean, and of the dataset's effect less those in the row.
    between = np.diag(gram) - 2 * share @ gram
    leverage = 1 / total[:, None] + between + ((share @ gram) * share).sum(axis=1)[:, None]
    leverage *= w
    df = int(n.sum()) - n_models - n_datasets + 1
    squares = float(np.nansum(w * residual**2))
    return AdditiveFit(
        mean, dataset, residual, np.where(there, leverage, np.nan), n, w, total, contrast, gram,
        squares / df if df > 0 else np.nan, df,
    )  # fmt: skip


def _check_connected(there: npt.NDArray[np.bool_]) -> None:
    if not (there.size and there.any(axis=1).all() and there.any(axis=0).all()):
        raise StatisticsError(
            "expected a cell in every row and column", code="statistics.cells_none"
        )
    if components(there).max() > 0:
        raise StatisticsError(
            "models and datasets are not connected: their means cannot be compared",
            code="statistics.not_connected",
        )


def components(there: npt.ArrayLike) -> Integers:
    """(M,) which connected component each model belongs to, 0 the first.

    Two models are connected if a chain of shared datasets leads from one to the other; only then
    does a table say anything of the difference between them. A model without a cell is a component
    of its own.

    Parameters
    ----------
    there
        (M, D) booleans: the cells there are.
    """
    cells = np.asarray(there, dtype=bool)
    component = np.full(len(cells), -1, dtype=np.int64)
    for start in range(len(cells)):
        if component[start] >= 0:
            continue
        members = np.zeros(len(cells), dtype=bool)
        members[start] = True
        while True:
            grown = members | cells[:, cells[members].any(axis=0)].any(axis=1)
            if grown.sum() == members.sum():
                break
            members = grown
        component[members] = component.max() + 1
    return component


def within_means(
    scores: npt.ArrayLike,
    error_bars: ErrorBars = "morey",
    level: float = 0.95,
    weight: npt.ArrayLike | None = None,
) -> WithinMeans:
    """Return each model's adjusted mean with a within-dataset standard error and interval.

    What is due to the dataset alone is removed first (Cousineau 2005). On a complete table the
    variance of what is left is too small by (M - 1) / M; ``"morey"`` corrects it, multiplying the
    standard error by sqrt(M / (M - 1)) (Morey 2008). ``"cousineau"`` leaves it out, as the bars
    drawn in Kornblith et al. (2019) do. On an incomplete table the variance of a model's residuals
    is their sum of squares over the sum of 1 - leverage, which is Morey's form where no cell is
    missing, and the standard error is that of its adjusted mean (`additive_fit`). The interval is
    Student's, with one degree of freedom less than the model has cells.

    Parameters
    ----------
    scores
        (M, D) log odds (or any score), a row per model, a column per dataset, NaN where missing.
    error_bars
        The form of the standard error.
    level
        Coverage of the interval.
    weight
        (D,) of the datasets; all the same unless given.

    Returns
    -------
    WithinMeans
        Standard error and interval are NaN for one dataset, one model, or a model with one cell.
    """
    fit = additive_fit(scores, weight)
    n_models = len(fit.mean)
    room = np.nansum(1 - fit.leverage, axis=1)
    if n_models < 2:
        room[:] = 0
    known = (fit.n > 1) & (room > 1e-9)
    spread = np.nansum(fit.weight * fit.residual**2, axis=1) / np.where(known, room, np.nan)
    se = np.sqrt(spread * fit.unscaled_variance())
    if error_bars == "cousineau" and n_models > 1:
        se = se * np.sqrt((n_models - 1) / n_models)
    half = scipy.special.stdtrit(np.maximum(fit.n - 1, 1), (1 + level) / 2) * se
    return WithinMeans(fit.mean, se, fit.mean - half, fit.mean + half)


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
