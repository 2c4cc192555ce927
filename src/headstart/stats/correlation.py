"""Correlations and least-squares lines of weighted data, many resamples and columns at once.

Everywhere `weights` is (B, n) counts, `x` is (n,), and `Y` is (n, S): S variables correlated with
the same x. What comes back is (B, S), NaN where a resample leaves x or y without variation.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

__all__ = ["CORRELATIONS", "kendall", "least_squares", "pearson", "spearman"]

Floats = npt.NDArray[np.float64]
# Of data scaled to unit variance: what is smaller is rounding.
NO_VARIANCE = 1e-12


def pearson(weights: Floats, x: Floats, Y: Floats) -> Floats:
    """Pearson's product-moment correlation."""
    covariance, variance_x, variance_y = _moments(weights, _scaled(x), _scaled(Y))
    return _ratio(covariance, variance_x, variance_y)


def spearman(weights: Floats, x: Floats, Y: Floats) -> Floats:
    """Spearman's rank correlation: Pearson's of the ranks within each resample, ties averaged."""
    rank_x = _ranks(weights, x)
    columns = [_of_rows(weights, rank_x, _ranks(weights, y)) for y in Y.T]
    return np.stack(columns, axis=1)


def kendall(weights: Floats, x: Floats, Y: Floats) -> Floats:
    """Kendall's tau-b.

    With K_ij = sign(x_i - x_j) sign(y_i - y_j), the pairs of a resample with counts c sum to
    c'Kc / 2; those that are not tied in x (or in y) to the same with |sign| in place of it.
    """
    sign_x = np.sign(x[:, None] - x[None, :])
    untied_x = _quadratic(weights, np.abs(sign_x))
    columns = []
    for y in Y.T:
        sign_y = np.sign(y[:, None] - y[None, :])
        untied_y = _quadratic(weights, np.abs(sign_y))
        columns.append(_ratio(_quadratic(weights, sign_x * sign_y), untied_x, untied_y))
    return np.stack(columns, axis=1)


CORRELATIONS: Mapping[str, Callable[[Floats, Floats, Floats], Floats]] = MappingProxyType(
    {"pearson": pearson, "spearman": spearman, "kendall": kendall}
)


def least_squares(weights: Floats, x: Floats, Y: Floats) -> tuple[Floats, Floats]:
    """Slope and intercept of the least-squares line of each column of Y on x, (B, S) each."""
    centre, spread = x.mean(), x.std() or 1.0
    z = (x - centre) / spread
    covariance, variance, _ = _moments(weights, z, Y - Y.mean(axis=0))
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where(variance > NO_VARIANCE, covariance / variance, np.nan)
    total = weights.sum(axis=1, keepdims=True)
    mean_z, mean_y = (weights @ z)[:, None] / total, weights @ Y / total
    intercept = mean_y - slope * mean_z
    return slope / spread, intercept - slope * centre / spread


def _scaled(values: Floats) -> Floats:
    """Centre and scale each column; exact for the correlation, and safe against cancellation."""
    spread = values.std(axis=0)
    return np.asarray((values - values.mean(axis=0)) / np.where(spread > 0, spread, 1.0))


def _moments(weights: Floats, x: Floats, Y: Floats) -> tuple[Floats, Floats, Floats]:
    """Weighted covariance (B, S), variance of x (B, 1) and of Y (B, S)."""
    total = weights.sum(axis=1, keepdims=True)
    mean_x, mean_y = (weights @ x)[:, None] / total, weights @ Y / total
    covariance = weights @ (x[:, None] * Y) / total - mean_x * mean_y
    variance_x = (weights @ x**2)[:, None] / total - mean_x**2
    return covariance, variance_x, weights @ Y**2 / total - mean_y**2


def _ratio(covariance: Floats, variance_x: Floats, variance_y: Floats) -> Floats:
    both = np.where((variance_x > NO_VARIANCE) & (variance_y > NO_VARIANCE), 1.0, np.nan)
    with np.errstate(invalid="ignore"):
        ratio = covariance / np.sqrt(np.abs(variance_x * variance_y) / both)
    # Rounding must not take a perfect correlation over 1.
    return np.asarray(np.clip(ratio, -1, 1))


def _ranks(weights: Floats, values: Floats) -> Floats:
    """(B, n) rank of each unit within each resample: all below it, and half of its equals."""
    below = (values[None, :] < values[:, None]).astype(np.float64)
    equal = (values[None, :] == values[:, None]).astype(np.float64)
    return np.asarray(weights @ below.T + (weights @ equal.T + 1) / 2)


def _of_rows(weights: Floats, A: Floats, B: Floats) -> Floats:
    """Pearson's correlation of each row of A with that row of B, weighted."""
    total = weights.sum(axis=1, keepdims=True)
    A = A - (weights * A).sum(axis=1, keepdims=True) / total
    B = B - (weights * B).sum(axis=1, keepdims=True) / total
    weighted = weights * A
    return _ratio(
        (weighted * B).sum(axis=1), (weighted * A).sum(axis=1), (weights * B * B).sum(axis=1)
    )


def _quadratic(weights: Floats, pairs: Floats) -> Floats:
    return np.asarray(((weights @ pairs) * weights).sum(axis=1) / 2)
