"""The mean of a table whose rows and columns are both samples."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from headstart.stats.within import additive_fit

__all__ = ["CrossedMean", "crossed_mean", "sum_of_squares_interval"]

Floats = npt.NDArray[np.float64]


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
    half = float(stdtrit(total, (1 + level) / 2)) * se
    return CrossedMean(estimate, se, total, estimate - half, estimate + half)
