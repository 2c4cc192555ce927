"""Metrics of classification, from labels and decision values: numpy and scipy.special only.

Metrics by name, mean average precision as PASCAL VOC 2007 defines it, calibration, and whether a
result is above chance.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy

from headstart.errors import StatisticsError

__all__ = [
    "CALIBRATION",
    "SCORERS",
    "AtChance",
    "CalibrationBin",
    "at_chance",
    "beats_chance",
    "calibration_bins",
    "confusion_matrix",
    "expected_calibration_error",
    "log_loss",
    "mean_per_class",
    "score",
    "top1",
    "voc_map_11point",
]

# The recalls of the development kit's ``for t=0:0.1:1``. A MATLAB loop computes start + k * step
# (unlike a MATLAB vector, which is built from both ends). So three values are slightly above 0.3,
# 0.6 and 0.7: the third of ten present images does not reach a recall of 0.3.
# tests/test_metrics.py has the evidence.
RECALLS = np.arange(11) * 0.1

Labels = npt.NDArray[np.int64]
Scores = npt.NDArray[np.floating]
Floats = npt.NDArray[np.float64]
# Bins of confidence of the calibration error.
BINS = 15
# 199 permutations give p-values down to 0.005: enough for the level of 0.01.
PERMUTATIONS = 199
LEVEL = 0.01


def voc_map_11point(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Return the mean over classes of the 11-point interpolated average precision (VOC 2007).

    For each class, images are sorted by decreasing score; ties keep their order. Interpolated
    precision is the highest at that recall or any higher one. It is averaged over the recalls
    0, 0.1, ..., 1. Images that show the class only as difficult are ignored for it.

    For each class with a present image, the value is that of ``VOCevalcls`` of the development kit,
    up to rounding in the last digit. Recall is compared in floating point as in the kit, where 0.3,
    0.6 and 0.7 are the next larger number: if 3/10, 3/5 or 7/10 of the present images is a whole
    number, one more image must be found. The kit does not average over classes.

    Source: Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge", IJCV 88 (2010),
    section 4.2; ``VOCevalcls.m`` of the development kit of 2007.

    Parameters
    ----------
    scores
        (n, K) decision values, any scale.
    labels
        (n, K) in {1 present, 0 difficult only, -1 absent}.

    Returns
    -------
    float
        A proportion in [0, 1]; classes without a present image are not part of the mean.

    Raises
    ------
    StatisticsError
        Shapes differ, scores hold NaN, labels have other values, or no class is present.

    Examples
    --------
    >>> round(voc_map_11point([[0.9], [0.8], [0.1]], [[1], [-1], [1]]), 4)
    0.8485
    """
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    _check_average_precision(scores, labels)
    precisions = []
    for score, label in zip(scores.T, labels.T, strict=True):
        judged = label != 0
        order = np.argsort(-score[judged], kind="stable")
        present = label[judged][order] == 1
        if present.any():
            seen = 1 + np.flatnonzero(present)
            right = np.arange(1, len(seen) + 1)
            precisions.append(interpolated_precision((right / seen)[None])[0])
    if not precisions:
        raise StatisticsError(
            "expected a class that is present in at least one image, found none",
            code="metric.none_present",
        )
    return float(np.mean(precisions))


def interpolated_precision(precision: Floats) -> Floats:
    """Return the interpolated precision, averaged over the 11 recalls.

    Parameters
    ----------
    precision
        (B, P) precision at each of the P present images, by decreasing score.

    Returns
    -------
    numpy.ndarray
        (B,).
    """
    n_present = precision.shape[1]
    best_from_here = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    # The first present image at which each recall is reached.
    first = np.searchsorted(np.arange(1, n_present + 1) / n_present, RECALLS)
    return np.asarray(best_from_here[:, first].mean(axis=1))


def _check_average_precision(scores: Floats, labels: npt.NDArray[Any]) -> None:
    if scores.ndim != 2 or scores.shape != labels.shape:
        raise StatisticsError(
            "expected scores (n, K) and labels (n, K), "
            f"found shapes {scores.shape} and {labels.shape}",
            code="metric.shapes_differ",
            found=(scores.shape, labels.shape),
        )
    if (invalid := ~np.isin(labels, (-1, 0, 1))).any():
        row, column = np.argwhere(invalid)[0]
        raise StatisticsError(
            "expected labels (n, K) in {1, 0, -1}, "
            f"found {labels[row, column]} in row {row}, column {column}",
            code="metric.label_invalid",
            found=labels[row, column],
            place=(row, column),
        )
    if (labels == 0).any() and not (labels == -1).any():
        raise StatisticsError(
            "expected labels of 1 present, 0 difficult and -1 absent, found 0 but no -1: "
            "convert zeros and ones by 2 * labels - 1",
            code="metric.none_absent",
        )
    if (unknown := np.isnan(scores)).any():
        row, column = np.argwhere(unknown)[0]
        raise StatisticsError(
            f"expected scores, found NaN in row {row}, column {column}",
            code="metric.score_missing",
            place=(row, column),
        )


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
        raise StatisticsError(
            "expected two vectors of one length >= 1, "
            f"found shapes {label.shape} and {predicted.shape}",
            code="metric.shapes_differ",
            found=(label.shape, predicted.shape),
        )


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
    return float(-scipy.special.log_softmax(scores, axis=1)[np.arange(len(labels)), labels].mean())


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
    confidence, right = _confidence_of(labels, scores)
    difference = np.bincount(_bin_of(confidence), weights=right - confidence, minlength=BINS)
    return float(np.abs(difference).sum() / len(confidence))


def _confidence_of(labels: Labels, scores: Scores) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return the confidence of each prediction, and whether it is right.

    Parameters
    ----------
    labels, scores
        As in `log_loss`; predictions are those of `expected_calibration_error`.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if labels.ndim == 2:
        judged = labels != 0
        probability = scipy.special.expit(scores[judged])
        confidence = np.maximum(probability, 1 - probability)
        return confidence, (scores[judged] > 0) == (labels[judged] > 0)
    confidence = np.exp(scipy.special.log_softmax(scores, axis=1)).max(axis=1)
    return confidence, scores.argmax(axis=1) == labels


def _bin_of(confidence: Floats) -> npt.NDArray[np.int64]:
    """Return the bin of each confidence. Bins are open below and closed above."""
    return np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)


SCORERS: Mapping[str, Callable[[Labels, Scores], float]] = MappingProxyType(
    {
        "top-1": lambda labels, scores: top1(labels, scores.argmax(axis=1)),
        "mean-per-class": lambda labels, scores: mean_per_class(labels, scores.argmax(axis=1)),
        "voc-map-11point": lambda labels, scores: voc_map_11point(scores, labels),
    }
)

# Calibration measures of the same scores. Lower is better; log loss has no upper bound.
CALIBRATION: Mapping[str, Callable[[Labels, Scores], float]] = MappingProxyType(
    {"log-loss": log_loss, "calibration-error": expected_calibration_error}
)


def score(metric: str, labels: Labels, scores: Scores) -> float:
    """Return the metric of this name (a key of `SCORERS`).

    Parameters
    ----------
    labels
        (n,) classes from 0; or (n, K) in {1, 0, -1} with several labels per image.
    scores
        (n, K) decision values.

    Returns
    -------
    float
        A proportion in [0, 1].
    """
    return SCORERS[metric](labels, scores)


class AtChance(NamedTuple):
    """A test result that is not significantly above chance.

    `accuracy` and `chance` are proportions, `n` is the number of test images, `metric` the name of
    the metric.
    """

    metric: str
    accuracy: float
    chance: float
    n: int

    @property
    def text(self) -> str:
        """One line for a person."""
        return (
            f"{self.metric} {100 * self.accuracy:.2f} % is not significantly above chance "
            f"({100 * self.chance:.2f} %, n = {self.n:,}, one-sided test at {LEVEL:g})"
        )


def at_chance(metric: str, labels: Labels, scores: Scores) -> AtChance | None:
    """Return the result and chance if it is not significantly above chance, else None.

    With one label per image, the number of correct predictions is tested against always predicting
    the most frequent test class (exact binomial, one-sided, level 0.01). This holds for any metric,
    since mean per-class accuracy is not a mean over independent images. With several labels per
    image, mAP is tested against the mAP of permuted scores (199 permutations, seeded).

    Parameters
    ----------
    metric
        Metric of the dataset.
    labels
        (n,) classes from 0, or (n, K) in {1, 0, -1}.
    scores
        (n, K) decision values.
    """
    n = len(labels)
    if labels.ndim == 1:
        accuracy = score("top-1", labels, scores)
        chance = float(np.bincount(labels).max() / n)
        above = beats_chance(accuracy, n, chance)
        return None if above else AtChance("top-1", accuracy, chance, n)
    random, accuracy = np.random.RandomState(0), score(metric, labels, scores)
    dealt = [score(metric, labels, scores[random.permutation(n)]) for _ in range(PERMUTATIONS)]
    p_value = (1 + sum(one >= accuracy for one in dealt)) / (1 + PERMUTATIONS)
    return None if p_value < LEVEL else AtChance("mAP", accuracy, float(np.mean(dealt)), n)


def beats_chance(accuracy: float, n: int, chance: float, level: float = LEVEL) -> bool:
    """Return whether a top-1 accuracy is significantly above chance: exact binomial, one-sided.

    Parameters
    ----------
    accuracy
        Proportion in [0, 1].
    n
        Number of independent test examples, >= 1.
    chance
        The proportion to beat, in [0, 1].
    level
        Largest p-value that counts as significant.
    """
    right = round(accuracy * n)
    # P(X >= right) for X ~ binomial(n, chance); bdtrc(k, n, p) is P(X > k).
    return right > 0 and float(scipy.special.bdtrc(right - 1, n, chance)) <= level


class CalibrationBin(NamedTuple):
    """Predictions whose confidence lies in (low, high].

    `confidence` and `accuracy` are their means, proportions; `n` is their number.
    """

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


def confusion_matrix(label: Labels, predicted: Labels, n_classes: int) -> Labels:
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


def calibration_bins(labels: Labels, scores: Scores) -> list[CalibrationBin]:
    """Return confidence and accuracy in bins of equal width, those with predictions alone.

    The bins are those of `expected_calibration_error`, which is the mean of the absolute
    differences of confidence and accuracy over them, weighted by `n`.

    Parameters
    ----------
    labels, scores
        As in `log_loss`.
    """
    confidence, right = _confidence_of(labels, scores)
    place = _bin_of(confidence)
    n = np.bincount(place, minlength=BINS)
    sums = [np.bincount(place, weights=values, minlength=BINS) for values in (confidence, right)]
    return [
        CalibrationBin(
            i / BINS, (i + 1) / BINS, int(n[i]), *(float(each[i] / n[i]) for each in sums)
        )
        for i in np.flatnonzero(n).tolist()
    ]
