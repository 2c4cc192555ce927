"""LogME: the evidence of a Bayesian linear model of the labels, given the features."""

import numpy as np
import numpy.typing as npt

from headstart.predictors.base import ScaleName
from headstart.predictors.class_statistics import decompose

__all__ = ["LogME", "log_evidence"]

Floats = npt.NDArray[np.float64]
# The ratio of the two precisions is found to this relative accuracy.
TOLERANCE = 1e-10
MOST_STEPS = 10_000
# Of |y|^2: a smaller residual is rounding.
ROUNDING = 1e-12


class LogME:
    """Logarithm of maximum evidence, per example, averaged over classes.

    Each class is a target y, 1 for its examples and 0 for others, of the model y = F w + e with
    w ~ N(0, I / alpha) and e ~ N(0, I / beta); its evidence p(y | F, alpha, beta) is maximised over
    alpha and beta. It needs no training, and other than the fit of the best w it does not rise
    with the number of features alone.

    Source: K. You, Y. Liu, J. Wang, M. Long, "LogME: Practical assessment of pre-trained models for
    transfer learning", ICML 2021, equations 2 and 3 and algorithm 1; by the singular values of F
    as in K. You et al., "Ranking and tuning pre-trained models", JMLR 23, 2022, section 4.3.
    """

    label = "LogME"
    scale: ScaleName = "number"

    def score(
        self,
        features: Floats,
        labels: npt.NDArray[np.int64],
        source_predictions: Floats | None,  # noqa: ARG002
    ) -> float:
        """Return the mean over classes of the log evidence per example; any real number."""
        targets = (
            (labels == 1).astype(np.float64)
            if labels.ndim == 2
            else (labels[:, None] == np.unique(labels)).astype(np.float64)
        )
        # A class that no image has says nothing.
        targets = targets[:, targets.any(axis=0)]
        U, squared = decompose(features)
        Z = U.T @ targets
        found = [
            log_evidence(y, z, squared, features.shape[1])[0]
            for y, z in zip(targets.T, Z.T, strict=True)
        ]
        return float(np.mean(found)) / len(features)


def log_evidence(y: Floats, z: Floats, squared: Floats, d: int) -> tuple[float, float, float]:
    """Maximise log p(y | F, alpha, beta) by fixed-point iteration.

    Parameters
    ----------
    y
        (n,) target.
    z
        (k,) U'y, with F = U S V' and k = min(n, d).
    squared
        (k,) squared singular values of F.
    d
        Number of features.

    Returns
    -------
    tuple
        The log evidence, alpha and beta.
    """
    n = len(y)
    # |m|^2 is of the order of |y|^2 / s^2; features that are all zero have none.
    least = ROUNDING * float(y @ y) / float(squared.max(initial=0.0) or 1.0)
    outside = max(float(y @ y - z @ z), 0.0)
    ratio = 1.0
    for _ in range(MOST_STEPS):
        # alpha / beta = ratio: the effective number of parameters, |m|^2 and |F m - y|^2.
        gamma = float((squared / (squared + ratio)).sum())
        weights = float((squared * z**2 / (squared + ratio) ** 2).sum())
        residual = float((z**2 * ratio**2 / (squared + ratio) ** 2).sum()) + outside
        residual = max(residual, ROUNDING * float(y @ y))
        alpha = max(gamma, ROUNDING) / max(weights, least)
        beta = (n - gamma) / residual
        if beta <= 0 or abs(alpha / beta - ratio) <= TOLERANCE * ratio:
            break
        ratio = alpha / beta
    beta = max(beta, ROUNDING)
    alpha = ratio * beta
    weights = float((squared * z**2 / (squared + ratio) ** 2).sum())
    residual = float((z**2 * ratio**2 / (squared + ratio) ** 2).sum()) + outside
    logs = float(np.log(alpha + beta * squared).sum()) + (d - len(squared)) * np.log(alpha)
    value = n * np.log(beta) + d * np.log(alpha) - n * np.log(2 * np.pi)
    value -= beta * residual + alpha * weights + logs
    return float(value) / 2, alpha, beta
