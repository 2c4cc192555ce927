"""Accuracy on the scale on which differences multiply the odds."""

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

__all__ = ["accuracy_of", "log_odds"]

Floats = npt.NDArray[np.float64]


def log_odds(accuracy: npt.ArrayLike, n: npt.ArrayLike = np.nan) -> Floats:
    """Natural log of the odds accuracy / (1 - accuracy).

    A difference d on this scale multiplies the odds n_correct / n_incorrect by exp(d). Where the
    accuracy is exactly 0 or 1 the logit is infinite; there, and only there, it is replaced by the
    empirical logit log((k + 1/2) / (n - k + 1/2)) of k = 0 or n right answers of n (Haldane 1956;
    Anscombe 1956). It lies beyond the logit of every other proportion of n examples. A mean over
    classes can be nearer to 1 than any proportion, and then has larger log odds than 1 itself has
    here: of K classes, one wrong answer in a class of m images leaves it at 1 - 1/(K m).

    Parameters
    ----------
    accuracy
        Proportions in [0, 1], any shape.
    n
        Numbers of test examples, broadcast with `accuracy`; NaN where unknown.

    Raises
    ------
    ValueError
        A proportion outside [0, 1], or 0 or 1 where `n` is unknown.

    Examples
    --------
    >>> float(log_odds(0.5)), round(float(log_odds(1.0, n=100)), 3)
    (0.0, 5.303)
    """
    p = np.asarray(accuracy, dtype=np.float64)
    p, n = np.broadcast_arrays(p, np.asarray(n, dtype=np.float64))
    if not np.all((p >= 0) & (p <= 1)):
        raise ValueError("expected proportions in [0, 1]")
    edge = (p == 0) | (p == 1)
    if not np.all(n[edge] > 0):
        raise ValueError("the log odds of an accuracy of exactly 0 or 1 need the test-set size")
    values = logit(np.where(edge, 0.5, p))
    right = p * n
    return np.asarray(np.where(edge, np.log((right + 0.5) / (n - right + 0.5)), values))


def accuracy_of(log_odds: npt.ArrayLike) -> Floats:
    """Invert the logit: the proportion with these log odds, any shape."""
    return np.asarray(expit(np.asarray(log_odds, dtype=np.float64)))
