"""Curves through points: polynomial fits with prediction intervals, and steps to a share."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy

__all__ = [
    "PolynomialFit",
    "lack_of_fit",
    "leave_one_out_ratio",
    "polynomial_fit",
    "steps_to_share",
]

Floats = npt.NDArray[np.float64]
# Of the spread of y: a residual below it is rounding.
ROUNDING = 1e-9
# A point of leverage 1 alone determines a coefficient: there is no fit without it.
NO_FIT = 1e-9


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
