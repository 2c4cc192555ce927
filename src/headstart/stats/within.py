"""Means over datasets, with the error that is left when datasets may be easy or hard."""

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

__all__ = ["ErrorBars", "WithinMeans", "within_means"]

Floats = npt.NDArray[np.float64]
ErrorBars = Literal["morey", "cousineau"]


class WithinMeans(NamedTuple):
    """(M,) arrays: mean over datasets, its standard error, and the interval."""

    mean: Floats
    se: Floats
    low: Floats
    high: Floats


def within_means(
    scores: npt.ArrayLike, error_bars: ErrorBars = "morey", level: float = 0.95
) -> WithinMeans:
    """Give each model's mean over datasets with a within-dataset standard error and interval.

    What is due to the dataset alone is removed first: each dataset's mean over models is
    subtracted and the grand mean added (Cousineau 2005). That makes the variances too small by
    (M - 1) / M; ``"morey"`` corrects it, multiplying the standard error by sqrt(M / (M - 1))
    (Morey 2008). ``"cousineau"`` leaves it out, as the bars drawn in Kornblith et al. (2019) do.
    The interval is Student's with D - 1 degrees of freedom.

    Parameters
    ----------
    scores
        (M, D) log odds (or any score), a row a model, a column a dataset, none missing.
    error_bars
        The form of the standard error.
    level
        Coverage of the interval.

    Returns
    -------
    WithinMeans
        Standard error and interval are NaN for one dataset or one model.
    """
    y = np.asarray(scores, dtype=np.float64)
    n_models, n_datasets = y.shape
    mean = y.mean(axis=1)
    if n_models < 2 or n_datasets < 2:
        unknown = np.full(n_models, np.nan)
        return WithinMeans(mean, unknown, unknown, unknown)
    centred = y - y.mean(axis=0) + y.mean()
    se = centred.std(axis=1, ddof=1) / np.sqrt(n_datasets)
    if error_bars == "morey":
        se = se * np.sqrt(n_models / (n_models - 1))
    half = stdtrit(n_datasets - 1, (1 + level) / 2) * se
    return WithinMeans(mean, se, mean - half, mean + half)
