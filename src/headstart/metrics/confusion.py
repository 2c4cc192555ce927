"""Which classes are taken for which, and how far confidence is from accuracy: numpy alone."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from headstart.metrics.classification import BINS, bin_of, confidence_of

__all__ = ["CalibrationBin", "calibration_bins", "confusion_matrix"]

Counts = npt.NDArray[np.int64]


class CalibrationBin(NamedTuple):
    """Predictions whose confidence lies in (low, high].

    `confidence` and `accuracy` are their means, proportions; `n` is their number.
    """

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


def confusion_matrix(label: Counts, predicted: Counts, n_classes: int) -> Counts:
    """Return (K, K) int64: how many images of each class (row) were taken for each (column).

    Parameters
    ----------
    label, predicted
        (n,) classes from 0.
    n_classes
        K.

    Examples
    --------
    >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    places = np.asarray(label) * n_classes + np.asarray(predicted)
    return (
        np.bincount(places, minlength=n_classes**2).reshape(n_classes, n_classes).astype(np.int64)
    )


def calibration_bins(labels: Counts, scores: npt.NDArray[np.floating]) -> list[CalibrationBin]:
    """Return confidence and accuracy in bins of equal width, those with predictions alone.

    The bins are those of `expected_calibration_error`, which is the mean of the absolute
    differences of confidence and accuracy over them, weighted by `n`.

    Parameters
    ----------
    labels, scores
        As in `log_loss`.
    """
    confidence, right = confidence_of(labels, scores)
    place = bin_of(confidence)
    n = np.bincount(place, minlength=BINS)
    sums = [np.bincount(place, weights=values, minlength=BINS) for values in (confidence, right)]
    return [
        CalibrationBin(
            i / BINS, (i + 1) / BINS, int(n[i]), *(float(each[i] / n[i]) for each in sums)
        )
        for i in np.flatnonzero(n).tolist()
    ]
