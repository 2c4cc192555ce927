"""Correlations, least-squares lines and curves, with their intervals.

Of correlations and lines `x` is (n,) and `Y` is (n, S): S variables with the same x. `weights` is
(B, n) counts: a resample of the bootstrap, or a set of units left out.
"""

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy

__all__ = [
    "CORRELATIONS",
    "FEWEST_UNITS",
    "CorrelationInterval",
    "CorrelationName",
    "PolynomialFit",
    "correlation_difference",
    "correlation_interval",
    "lack_of_fit",
    "least_squares",
    "leave_one_out_ratio",
    "leave_out_correlations",
    "pearson",
    "polynomial_fit",
    "resample_weights",
    "steps_to_share",
]

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]
CorrelationName = Literal["pearson", "spearman", "kendall"]
CORRELATIONS: tuple[CorrelationName, ...] = ("pearson", "spearman", "kendall")
# With fewer units an interval says little more than that there are few.
FEWEST_UNITS = 5
# Of data scaled to unit variance: what is smaller is rounding.
NO_VARIANCE = 1e-12
# Of the largest value: a spread below this is rounding of equal values, such as means of them.
CONSTANT = 1e-12
# A correlation that differs from 1 by less than this is exact.
EXACT = 1e-12
# Rows of the matrix of pairs that Kendall's tau has in memory at once.
BLOCK = 256
# Of the spread of y: a residual below it is rounding.
ROUNDING = 1e-9
# A point of leverage 1 alone determines a coefficient: there is no fit without it.
NO_FIT = 1e-9


class CorrelationInterval(NamedTuple):
    """(S,) each: estimate, low and high; NaN where there is none."""

    estimate: Floats
    low: Floats
    high: Floats


def correlation_interval(
    name: CorrelationName, x: Floats, Y: Floats, cluster: npt.ArrayLike, level: float = 0.95
) -> CorrelationInterval:
    """Compute a correlation and its interval: Fisher's z, jackknifed, by Student's t.

    With z = arctanh(r), r_(-u) the correlation without unit u of U (a model, or a whole family) and
    z_(-u) its transform, the standard error is sqrt((U - 1)/U sum (z_(-u) - mean)^2) and the
    interval tanh(z +- t_(U-1) se). It assumes no distribution of the models and, unlike a
    percentile of a bootstrap, reaches 1 only where the estimate does. Of ranks, it is at least as
    wide as that of n models under bivariate normality, with standard errors sqrt(0.437 / (n - 4))
    for Kendall's tau and sqrt((1 + r^2 / 2) / (n - 3)) for Spearman's rho; of U units where leaving
    one out changes nothing. A rank correlation of exactly 1 (no discordant pair) has the lower end
    of one with half a discordant pair, and the upper end 1; an exact Pearson correlation has no
    interval.

    Sources: R. A. Fisher, Metron 1 (1921); J. N. Arvesen, "Jackknifing U-statistics", Annals of
    Mathematical Statistics 40 (1969); Fieller, Hartley and Pearson, "Tests for rank correlation
    coefficients I", Biometrika 44 (1957); Bonett and Wright, "Sample size requirements for
    estimating Pearson, Kendall and Spearman correlations", Psychometrika 65 (2000).

    Parameters
    ----------
    cluster
        (n,) integers 0..U-1: the unit of each model; ``arange(n)`` where each is its own.

    Returns
    -------
    CorrelationInterval
        NaN ends under five units, or where leaving one out leaves no variation.
    """
    codes = np.asarray(cluster, dtype=np.intp)
    units = int(codes.max()) + 1
    estimate, left_out = leave_out_correlations(name, x, Y, codes)
    limit = 1 - _half_step(name, len(x))
    exact = np.abs(estimate) >= 1 - EXACT
    z = np.arctanh(np.clip(estimate, -limit, limit))
    without = np.arctanh(np.clip(left_out, -limit, limit))
    se = np.sqrt((units - 1) / units * ((without - without.mean(axis=0)) ** 2).sum(axis=0))
    half = scipy.special.stdtrit(units - 1, (1 + level) / 2) * se
    if units < FEWEST_UNITS:
        half = np.full_like(half, np.nan)
    elif name == "pearson":
        half = np.where(exact, np.nan, half)
    else:
        normal = _normal_rank_se(name, z, np.where(se > 0, len(x), units))
        half = np.maximum(half, scipy.special.ndtri((1 + level) / 2) * normal)
    low, high = np.tanh(z - half), np.tanh(z + half)
    known = np.isfinite(half)
    high = np.where(known & exact & (estimate > 0), 1.0, high)
    low = np.where(known & exact & (estimate < 0), -1.0, low)
    return CorrelationInterval(estimate, low, high)


def _normal_rank_se(name: CorrelationName, z: Floats, n: Floats) -> Floats:
    """Return the standard error of z of a rank correlation of n under bivariate normality."""
    if name == "kendall":
        return np.asarray(np.sqrt(0.437 / (n - 4)))
    return np.asarray(np.sqrt((1 + np.tanh(z) ** 2 / 2) / (n - 3)))


def leave_out_correlations(
    name: CorrelationName, x: Floats, Y: Floats, cluster: Codes
) -> tuple[Floats, Floats]:
    """Compute a correlation of all, (S,), and without each cluster, (U, S).

    NaN where x or a column of Y does not vary. Memory is O(n U) at most.
    """
    # A column whose spread is rounding is constant.
    constant = np.ptp(Y, axis=0) <= CONSTANT * np.abs(Y).max(axis=0, initial=0)
    Y = np.where(constant, Y.mean(axis=0), Y)
    units = int(cluster.max()) + 1
    if name == "pearson":
        weights = (np.arange(units)[:, None] != cluster[None, :]).astype(np.float64)
        return pearson(np.ones((1, len(x))), x, Y)[0], pearson(weights, x, Y)
    if name == "spearman":
        return _leave_out_spearman(x, Y, cluster)
    return _leave_out_kendall(x, Y, cluster)


def correlation_difference(
    first: tuple[Floats, Floats], second: tuple[Floats, Floats], level: float = 0.95
) -> tuple[float, float, float]:
    """Compute the difference of two Pearson correlations of the same models, and its interval.

    From the intervals l to u of both (`correlation_interval`) and the correlation c of their
    estimates, by the jackknife on the z scale: the lower end is d - sqrt((r1 - l1)^2 + (u2 - r2)^2
    - 2 c (r1 - l1)(u2 - r2)), the upper end likewise. What makes a network easy to transfer is in
    both, and leaves the difference. Source: G. Y. Zou, "Toward using confidence intervals to
    compare correlations", Psychological Methods 12 (2007).

    Parameters
    ----------
    first, second
        x and y, (n,) each, of the same n models.

    Returns
    -------
    tuple
        First less second, low, high; NaN ends where one has no interval, or both are the same.
    """
    units = np.arange(len(first[0]))
    found, moved = [], []
    for x, y in (first, second):
        interval = correlation_interval("pearson", x, y[:, None], units, level)
        found.append([float(value[0]) for value in interval])
        left_out = leave_out_correlations("pearson", x, y[:, None], units)[1][:, 0]
        moved.append(np.arctanh(np.clip(left_out, EXACT - 1, 1 - EXACT)))
    (r1, l1, u1), (r2, l2, u2) = found
    spread = [z.std() for z in moved]
    if (
        not np.isfinite([l1, l2]).all()
        or min(spread) == 0
        or np.allclose(moved[0], moved[1], atol=EXACT)
    ):
        return r1 - r2, np.nan, np.nan
    c = float(np.corrcoef(moved[0], moved[1])[0, 1])
    below, above = (
        np.sqrt(max(a**2 + b**2 - 2 * c * a * b, 0.0))
        for a, b in ((r1 - l1, u2 - r2), (u1 - r1, r2 - l2))
    )
    return r1 - r2, float(r1 - r2 - below), float(r1 - r2 + above)


def _half_step(name: CorrelationName, n: int) -> float:
    """Return the change of a perfect rank correlation by half a discordant pair."""
    # A single unit makes no pair.
    if n < 2:
        return EXACT
    if name == "kendall":
        return 2 / (n * (n - 1))
    return 6 / (n * (n * n - 1)) if name == "spearman" else EXACT


def pearson(weights: Floats, x: Floats, Y: Floats) -> Floats:
    """Compute Pearson's product-moment correlation, (B, S), NaN without variation."""
    covariance, variance_x, variance_y = _moments(weights, _scaled(x), _scaled(Y))
    both = np.where((variance_x > NO_VARIANCE) & (variance_y > NO_VARIANCE), 1.0, np.nan)
    with np.errstate(invalid="ignore"):
        ratio = covariance / np.sqrt(np.abs(variance_x * variance_y) / both)
    # Rounding must not take a perfect correlation over 1.
    return np.asarray(np.clip(ratio, -1, 1))


def _leave_out_spearman(x: Floats, Y: Floats, cluster: Codes) -> tuple[Floats, Floats]:
    """Pearson's correlation of the ranks within what is left, ties averaged."""
    values = np.column_stack([x, Y])
    ranks = np.column_stack([average_ranks(column) for column in values.T])
    one = np.ones((1, len(x)))
    left_out = np.full((int(cluster.max()) + 1, Y.shape[1]), np.nan)
    for unit, out in enumerate(_members(cluster)):
        kept = np.ones(len(x), dtype=bool)
        kept[out] = False
        rest = values[kept]
        # Without the only family nothing is left.
        if not len(rest):
            continue
        # Each value that goes lowers the rank of those above it by 1, of its equals by 1/2.
        lower = np.column_stack([
            np.searchsorted(gone, column, "left") + np.searchsorted(gone, column, "right")
            for gone, column in zip(np.sort(values[out], axis=0).T, rest.T, strict=True)
        ])  # fmt: skip
        own = ranks[kept] - lower / 2
        left_out[unit] = pearson(one[:, : len(own)], own[:, 0], own[:, 1:])[0]
    return pearson(one, ranks[:, 0], ranks[:, 1:])[0], left_out


def _leave_out_kendall(x: Floats, Y: Floats, cluster: Codes) -> tuple[Floats, Floats]:
    """Kendall's tau-b: concordant less discordant pairs, over pairs untied in x and in y.

    Without a cluster, the sums over ordered pairs lose each of its members' pairs twice and get
    back the pairs within it.
    """
    sums = _pair_sums(x, Y)
    total = sums.sum(axis=0)
    members = _members(cluster)
    lost = np.stack([2 * sums[out].sum(axis=0) for out in members])
    within = np.stack([
        _pair_sums(x[out], Y[out]).sum(axis=0) if len(out) > 1 else np.zeros_like(total)
        for out in members
    ])  # fmt: skip
    return _tau(total[None])[0], _tau(total - lost + within)


def _pair_sums(x: Floats, Y: Floats) -> Floats:
    """(n, 1 + 2 S) sums over the other units: untied in x; then per y, concordance and untied."""
    n, S = Y.shape
    found = np.empty((n, 1 + 2 * S))
    for start in range(0, n, BLOCK):
        rows = slice(start, start + BLOCK)
        of_x = (x[rows, None] > x).astype(np.int8) - (x[rows, None] < x).astype(np.int8)
        found[rows, 0] = np.count_nonzero(of_x, axis=1)
        for s, y in enumerate(Y.T):
            of_y = (y[rows, None] > y).astype(np.int8) - (y[rows, None] < y).astype(np.int8)
            found[rows, 1 + 2 * s] = (of_x * of_y).sum(axis=1, dtype=np.int64)
            found[rows, 2 + 2 * s] = np.count_nonzero(of_y, axis=1)
    return found


def _tau(sums: Floats) -> Floats:
    untied = sums[:, :1] * sums[:, 2::2]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(untied > 0, sums[:, 1::2] / np.sqrt(untied), np.nan)


def _members(cluster: Codes) -> list[Codes]:
    order = np.argsort(cluster, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(cluster[order])) + 1)


def average_ranks(values: Floats) -> Floats:
    """(n,) ranks from 1, ties averaged."""
    ordered = np.sort(values)
    below, to = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    return np.asarray((below + to + 1) / 2)


def resample_weights(n: int, resamples: int, random: np.random.Generator) -> Floats:
    """(resamples, n) counts: how often each of `n` units is drawn when n are, with replacement.

    A statistic that takes weights is computed for all resamples and all its columns at once, by
    products of matrices.
    """
    # Counted rather than drawn as a multinomial, which takes ten times as long for 1,500 units.
    drawn = random.integers(0, n, size=(resamples, n)) + n * np.arange(resamples)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=resamples * n)
    return counts.reshape(resamples, n).astype(np.float64)


def least_squares(weights: Floats, x: Floats, Y: Floats) -> tuple[Floats, Floats]:
    """Slope and intercept of the least-squares line of each column of Y on x, (B, S) each."""
    x, exponent = _unit_scale(x)
    centre, spread = x.mean(), x.std() or 1.0
    z = (x - centre) / spread
    covariance, variance, _ = _moments(weights, z, Y - Y.mean(axis=0))
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where(variance > NO_VARIANCE, covariance / variance, np.nan)
    total = weights.sum(axis=1, keepdims=True)
    mean_z, mean_y = (weights @ z)[:, None] / total, weights @ Y / total
    intercept = mean_y - slope * mean_z
    return np.ldexp(slope / spread, -exponent), intercept - slope * centre / spread


def _scaled(values: Floats) -> Floats:
    """Centre and scale each column; exact for the correlation, and safe against cancellation."""
    values, _ = _unit_scale(values)
    spread = values.std(axis=0)
    return np.asarray((values - values.mean(axis=0)) / np.where(spread > 0, spread, 1.0))


def _unit_scale(values: Floats) -> tuple[Floats, npt.NDArray[np.intc]]:
    """Divide each column by the power of two above its largest value; return that exponent, too.

    Exact, and no square of a large value overflows or of a small one vanishes.
    """
    exponent = np.frexp(np.abs(values).max(axis=0, initial=0))[1]
    return np.ldexp(values, -exponent), exponent


def _moments(weights: Floats, x: Floats, Y: Floats) -> tuple[Floats, Floats, Floats]:
    """Weighted covariance (B, S), variance of x (B, 1) and of Y (B, S); NaN of weights 0."""
    total = weights.sum(axis=1, keepdims=True)
    # Without the only family nothing is left.
    total = np.where(total > 0, total, np.nan)
    mean_x, mean_y = (weights @ x)[:, None] / total, weights @ Y / total
    covariance = weights @ (x[:, None] * Y) / total - mean_x * mean_y
    variance_x = (weights @ x**2)[:, None] / total - mean_x**2
    return covariance, variance_x, weights @ Y**2 / total - mean_y**2


class PolynomialFit(NamedTuple):
    """Least squares in powers of (x - centre) / spread.

    `coefficients` (degree + 1,), lowest power first; `inverse_r` the inverse of R in A = QR, so
    that a new row a has leverage |a inverse_r|^2; `residual_sd` on `df` degrees of freedom;
    `rounding` is the size of what is only rounding.
    """

    centre: float
    spread: float
    coefficients: Floats
    inverse_r: Floats
    residual_sd: float
    df: int
    rounding: float

    def mean(self, x: npt.ArrayLike) -> Floats:
        """Predict y at x, any shape (k,)."""
        return np.asarray(self._powers(x) @ self.coefficients)

    def half_width(self, x: npt.ArrayLike, level: float) -> Floats:
        """(k,) half the width of the prediction interval of one new y at x, by Student's t."""
        leverage = ((self._powers(x) @ self.inverse_r) ** 2).sum(axis=1)
        t = scipy.special.stdtrit(self.df, (1 + level) / 2)
        return np.asarray(t * self.residual_sd * np.sqrt(1 + leverage) + self.rounding)

    def _powers(self, x: npt.ArrayLike) -> Floats:
        z = (np.atleast_1d(np.asarray(x, dtype=np.float64)) - self.centre) / self.spread
        return np.vander(z, len(self.coefficients), increasing=True)


def polynomial_fit(x: Floats, y: Floats, degree: int) -> PolynomialFit | None:
    """Fit a polynomial by least squares; None where x does not determine it with a residual.

    Parameters
    ----------
    x, y
        (n,) float64.
    """
    df = len(x) - degree - 1
    if df < 1 or len(np.unique(x)) <= degree:
        return None
    centre, spread = float(x.mean()), float(x.std())
    Q, triangle = np.linalg.qr(np.vander((x - centre) / spread, degree + 1, increasing=True))
    if np.abs(np.diag(triangle)).min() <= NO_FIT * np.abs(np.diag(triangle)).max():
        return None
    residual = y - Q @ (Q.T @ y)
    inverse = np.linalg.inv(triangle)
    return PolynomialFit(
        centre,
        spread,
        inverse @ (Q.T @ y),
        inverse,
        float(np.sqrt((residual**2).sum() / df)),
        df,
        ROUNDING * float(np.ptp(y)),
    )


def lack_of_fit(x: Floats, y: Floats) -> tuple[float, float]:
    """Test a line against a quadratic: F of the quadratic term on 1 and n - 3 degrees, and its p.

    NaN where there is no quadratic. Source: Draper and Smith, "Applied Regression Analysis", 3rd
    ed. (1998), section 6.1 (the extra sum of squares).
    """
    line, curve = polynomial_fit(x, y, 1), polynomial_fit(x, y, 2)
    if line is None or curve is None:
        return np.nan, np.nan
    sse = curve.residual_sd**2 * curve.df
    if np.sqrt(line.residual_sd**2 * line.df) <= line.rounding:
        return 0.0, 1.0
    with np.errstate(divide="ignore"):
        f = max(line.residual_sd**2 * line.df - sse, 0.0) / np.float64(sse / curve.df)
    return float(f), float(scipy.special.fdtrc(1, curve.df, f))


def leave_one_out_ratio(x: Floats, y: Floats, degree: int, level: float) -> Floats:
    """(n,) distance of each y from its prediction by the others, in half widths of the interval.

    By the externally studentised residual, without a refit: at most 1 where the interval holds y;
    NaN for a point without which there is no fit. Source: Cook and Weisberg, "Residuals and
    Influence in Regression" (1982), section 2.2.
    """
    fit = polynomial_fit(x, y, degree)
    if fit is None or fit.df < 2:
        return np.full(len(x), np.nan)
    Q, _ = np.linalg.qr(np.vander((x - fit.centre) / fit.spread, degree + 1, increasing=True))
    left = 1 - (Q**2).sum(axis=1)
    left = np.where(left > NO_FIT, left, np.nan)
    residual = y - fit.mean(x)
    sse = np.maximum(fit.residual_sd**2 * fit.df - residual**2 / left, 0)
    half = scipy.special.stdtrit(fit.df - 1, (1 + level) / 2) * np.sqrt(sse / (fit.df - 1) / left)
    return np.asarray(np.abs(residual / left) / (half + fit.rounding))


def steps_to_share(steps: npt.ArrayLike, mean: npt.ArrayLike, share: float = 0.9) -> Floats:
    """Steps after which the odds first are `share` of the largest odds.

    Between two numbers of steps the log odds are taken as linear in the logarithm of the steps.

    Parameters
    ----------
    steps
        (n,), ascending, > 0.
    mean
        (..., n), log odds; the odds are their exponential.
    share
        In (0, 1].

    Returns
    -------
    numpy.ndarray
        (...) float64; the first of `steps` where its odds are large enough already.

    Examples
    --------
    >>> round(float(steps_to_share([100, 10_000], [0.0, -2 * np.log(0.9)], share=0.9)))
    1000
    """
    log_steps, odds = np.log(np.asarray(steps, dtype=float)), np.asarray(mean, dtype=float)
    target = odds.max(axis=-1, keepdims=True) + np.log(share)
    after = np.argmax(odds >= target, axis=-1, keepdims=True)
    before = np.maximum(after - 1, 0)
    low, high = (np.take_along_axis(odds, place, axis=-1) for place in (before, after))
    # Where the first is large enough both are the same, and so is what lies between.
    rise = np.where(after == before, 1.0, high - low)
    part = np.where(after == before, 0.0, (target - low) / rise)
    between = log_steps[before] + part * (log_steps[after] - log_steps[before])
    # Exactly the first number, not its logarithm and back.
    first = np.asarray(steps, dtype=float)[0]
    return np.asarray(np.where(after == 0, first, np.exp(between))[..., 0])
