"""Accuracy of single-label classification."""

import numpy as np
import numpy.typing as npt

__all__ = ["mean_per_class", "top1"]

Labels = npt.NDArray[np.int64]


def top1(label: Labels, predicted: Labels) -> float:
    """Return the proportion of correct predictions.

    Parameters
    ----------
    label, predicted
        (n,) integers, n >= 1.

    Examples
    --------
    >>> top1(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]))
    0.75
    """
    _check(label, predicted)
    return float(np.mean(label == predicted))


def mean_per_class(label: Labels, predicted: Labels) -> float:
    """Return the mean over classes of per-class accuracy (recall).

    Classes without examples are not part of the mean, as in scikit-learn's
    ``balanced_accuracy_score``.

    Parameters
    ----------
    label, predicted
        (n,) integers >= 0, n >= 1.

    Examples
    --------
    >>> round(mean_per_class(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])), 4)
    0.8333
    """
    _check(label, predicted)
    count = np.bincount(label)
    right = np.bincount(label[label == predicted], minlength=len(count))
    return float(np.mean(right[count > 0] / count[count > 0]))


def _check(label: Labels, predicted: Labels) -> None:
    if label.shape != predicted.shape or label.ndim != 1 or not len(label):
        raise ValueError(
            "expected two vectors of one length >= 1, "
            f"found shapes {label.shape} and {predicted.shape}"
        )
