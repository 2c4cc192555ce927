"""Quality of predicted probabilities: log loss and expected calibration error."""

import numpy as np
import numpy.typing as npt
from scipy.special import expit, log_softmax

__all__ = ["expected_calibration_error", "log_loss"]

Labels = npt.NDArray[np.int64]
Scores = npt.NDArray[np.floating]
Floats = npt.NDArray[np.float64]

BINS = 15


def log_loss(labels: Labels, scores: Scores) -> float:
    """Return the mean negative log probability of the true labels, in nats.

    Parameters
    ----------
    labels
        (n,) classes from 0: probabilities are the softmax of scores. Or (n, K) in {1 present,
        0 difficult only, -1 absent}: the probability of a label is ``sigmoid(score)``, and the
        mean is over all labels that are not difficult.
    scores
        (n, K) logits.

    Examples
    --------
    >>> round(log_loss(np.array([0]), np.log([[0.8, 0.2]])), 4)
    0.2231
    """
    scores = np.asarray(scores, dtype=np.float64)
    if labels.ndim == 2:
        judged = labels != 0
        return float(np.mean(np.logaddexp(0, -labels[judged] * scores[judged])))
    return float(-log_softmax(scores, axis=1)[np.arange(len(labels)), labels].mean())


def expected_calibration_error(labels: Labels, scores: Scores) -> float:
    """Return the mean absolute difference of confidence and accuracy, over 15 bins of confidence.

    Bins have equal width and are weighted by their number of predictions. With one label per image,
    the prediction is the class with the highest probability. With several, each label that is not
    difficult is a separate prediction, present or absent.

    Source: Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML 2017,
    equation 3.

    Parameters
    ----------
    labels, scores
        As in `log_loss`.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if labels.ndim == 2:
        judged = labels != 0
        probability = expit(scores[judged])
        confidence = np.maximum(probability, 1 - probability)
        right = (scores[judged] > 0) == (labels[judged] > 0)
    else:
        confidence = np.exp(log_softmax(scores, axis=1)).max(axis=1)
        right = scores.argmax(axis=1) == labels
    return _binned(confidence, right)


def _binned(confidence: Floats, right: npt.NDArray[np.bool_]) -> float:
    # Bins are open below and closed above; confidence is above 0.
    place = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    difference = np.bincount(place, weights=right - confidence, minlength=BINS)
    return float(np.abs(difference).sum() / len(confidence))
