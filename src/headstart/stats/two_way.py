"""Two-way tables of models and datasets: additive fit, adjusted means, their intervals."""

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy

from headstart.errors import StatisticsError

__all__ = [
    "AdditiveFit",
    "CrossedMean",
    "ErrorBars",
    "WithinMeans",
    "additive_fit",
    "components",
    "crossed_mean",
    "sum_of_squares_interval",
    "within_means",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
ErrorBars = Literal["morey", "cousineau"]


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


class CrossedMean(NamedTuple):
    """The mean, its standard error, degrees of freedom, and the interval."""

    mean: float
    se: float
    df: float
    low: float
    high: float


def crossed_mean(values: npt.ArrayLike, level: float = 0.95) -> CrossedMean:
    """Return the mean of a two-way table with an interval for other rows and other columns.

    ``values[m, d] = mean + row[m] + column[d] + residual[m, d]``, all three random. With the mean
    squares A of rows, B of columns and E of the residual, the variance of the mean is
    (A + B - E) / (M D), and its degrees of freedom are Satterthwaite's (Biometrics Bulletin 2,
    1946). A component that would be negative is 0. Without one of rows, or with a single row, the
    variance is B / (M D) and the interval is Student's over the means of columns; without both it
    is E / (M D).

    Where cells are missing, the mean is that of the additive fit, in which every row and every
    column weighs the same; the variances of its adjusted means of rows and columns, less what the
    residual adds to them, stand for A and B.

    On a complete table the mean is that of restricted maximum likelihood, and where no component is
    0 so is the standard error. Simulated intervals of 95 % hold the mean in 93 to 99 % of tables of
    three rows or more, in 89 % at worst with two that differ much.

    Parameters
    ----------
    values
        (M, D), NaN where missing; connected (`headstart.stats.components`).
    level
        Coverage of the interval.

    Returns
    -------
    CrossedMean
        All but the mean NaN for a single number, all for none.
    """
    y = np.asarray(values, dtype=np.float64)
    if not y.size:
        return CrossedMean(*[np.nan] * 5)
    fit, across = additive_fit(y), additive_fit(y.T)
    mean = float(fit.mean.mean())
    if np.isfinite(y).sum() == 1:
        return CrossedMean(mean, *[np.nan] * 4)
    # Of each factor: the variance of its adjusted means, and how much of the residual's is in it.
    squares, shares, counts, free = [], [], [], []
    for one in (fit, across):
        k = len(one.mean)
        free.append(k - 1)
        counts.append(k)
        squares.append(float(one.mean.var(ddof=1)) if k > 1 else 0.0)
        trace = float(one.unscaled_variance().sum())
        shares.append((trace - k * one.unscaled_variance_of_mean()) / (k - 1) if k > 1 else 0.0)
    left = fit.variance if fit.df > 0 else 0.0
    counted = [float(free[i] > 0 and squares[i] > shares[i] * left) for i in range(2)]
    of_error = fit.unscaled_variance_of_mean() - sum(
        counted[i] * shares[i] / counts[i] for i in range(2)
    )
    parts = np.array([*(counted[i] * squares[i] / counts[i] for i in range(2)), of_error * left])
    return sum_of_squares_interval(mean, parts, np.array([*free, fit.df]), level)


def sum_of_squares_interval(
    estimate: float, parts: Floats, free: npt.ArrayLike, level: float
) -> CrossedMean:
    """Return the interval of an estimate whose variance is a sum of scaled mean squares.

    Parameters
    ----------
    parts
        (k,) the terms of the variance, some possibly negative.
    free
        (k,) the degrees of freedom of each; the sum's are Satterthwaite's.
    level
        Coverage of the interval.
    """
    df = np.maximum(np.asarray(free, dtype=np.float64), 1)
    se = float(np.sqrt(max(parts.sum(), 0.0)))
    if se == 0:
        return CrossedMean(estimate, 0.0, float(df.max()), estimate, estimate)
    total = float(parts.sum() ** 2 / (parts**2 / df).sum())
    half = float(scipy.special.stdtrit(total, (1 + level) / 2)) * se
    return CrossedMean(estimate, se, total, estimate - half, estimate + half)
