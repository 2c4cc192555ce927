"""Means over datasets, from all cells of a table: the additive fit and its standard errors."""

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

__all__ = ["AdditiveFit", "ErrorBars", "WithinMeans", "additive_fit", "components", "within_means"]

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
    ValueError
        A row or column without a cell, or models and datasets that are not connected.
    """
    y = np.asarray(scores, dtype=np.float64)
    there = np.isfinite(y)
    n_models, n_datasets = y.shape
    n, of_dataset = there.sum(axis=1), there.sum(axis=0)
    if not (y.size and n.all() and of_dataset.all()):
        raise ValueError("expected a cell in every row and column")
    if components(there).max() > 0:
        raise ValueError("models and datasets are not connected: their means cannot be compared")
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
    half = stdtrit(np.maximum(fit.n - 1, 1), (1 + level) / 2) * se
    return WithinMeans(fit.mean, se, fit.mean - half, fit.mean + half)
