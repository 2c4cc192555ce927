"""Which ranks of each model the data allow, all at once."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Ranks", "critical_t", "rank_intervals"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
# Simulated data sets for the critical value: as many as the size of the table leaves time for.
FEWEST_DRAWS, MOST_DRAWS = 1_000, 20_000
NUMBERS = 10_000_000
BLOCK_NUMBERS = 1_000_000


class Ranks(NamedTuple):
    """(M,) integers, 1 the best: the rank of the mean, and the ranks that the data allow."""

    rank: Integers
    low: Integers
    high: Integers


def rank_intervals(scores: npt.ArrayLike, level: float = 0.95) -> Ranks:
    """Simultaneous confidence intervals for the ranks of the models' means over datasets.

    Two models are told apart when their paired t statistic over datasets passes a critical value
    that none of the M (M - 1) / 2 pairs passes by chance, with probability `level`. A model ranks
    below all that are told to be better and above all that are told to be worse; the true ranks
    of all models lie in these intervals together with at least that probability (Mogstad, Romano,
    Shaikh, Wilhelm, "Inference for ranks", Review of Economic Studies 91, 2024).

    Parameters
    ----------
    scores
        (M, D) log odds, a row a model, a column a dataset, none missing. With one dataset nothing
        is told apart.
    """
    from scipy.stats import rankdata

    y = np.asarray(scores, dtype=np.float64)
    n_models, n_datasets = y.shape
    mean = y.mean(axis=1)
    rank = rankdata(-mean, method="min").astype(np.int64)
    if n_models < 2 or n_datasets < 2:
        return Ranks(rank, np.ones_like(rank), np.full_like(rank, n_models))
    t = _pairwise_t(y.T[None])[0]
    better = t > critical_t(n_models, n_datasets, level)
    low = 1 + better.sum(axis=0)
    return Ranks(rank, low, n_models - better.sum(axis=1))


@lru_cache(maxsize=64)
def critical_t(n_models: int, n_datasets: int, level: float = 0.95) -> float:
    """Give the `level` quantile of the largest |t| of all pairs when no model differs.

    Simulated (seeded) for models whose scores vary independently and equally over datasets. That
    this is the worst case, as it is for Tukey's test with a pooled variance, is not proven for
    variances of the pair's own; by simulation, scores that are correlated or vary unequally pass
    it no more often (``tests/stats/test_ranks.py``). The simulation's own error is about 1 % of
    the value at 12 datasets, more at two or three.
    """
    random = np.random.default_rng(20_190_616)
    draws = int(np.clip(NUMBERS // n_models**2, FEWEST_DRAWS, MOST_DRAWS))
    block = int(np.clip(BLOCK_NUMBERS // n_models**2, 1, draws))
    largest = [
        np.abs(_pairwise_t(random.standard_normal((block, n_datasets, n_models)))).max(axis=(1, 2))
        for _ in range(-(-draws // block))
    ]
    return float(np.quantile(np.concatenate(largest), level))


def _pairwise_t(X: Floats) -> Floats:
    """(B, M, M) paired t statistics, row minus column, of (B, D, M) scores; 0 on the diagonal."""
    n = X.shape[1]
    mean = X.mean(axis=1)
    centred = X - mean[:, None]
    covariance = centred.transpose(0, 2, 1) @ centred / (n - 1)
    variance = np.einsum("bii->bi", covariance)
    of_difference = variance[:, :, None] + variance[:, None, :] - 2 * covariance
    difference = mean[:, :, None] - mean[:, None, :]
    # What rounding leaves of the variance of two equal models is not one.
    floor = 1e-14 * (variance[:, :, None] + variance[:, None, :])
    error = np.sqrt(np.maximum(of_difference, 0) / n)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(of_difference > floor, difference / error, np.sign(difference) * np.inf)
    return np.asarray(np.where(np.abs(difference) > 1e-12, t, 0.0))
