"""Mean average precision of multi-label classification, as defined by PASCAL VOC 2007."""

from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.errors import StatisticsError

__all__ = ["interpolated_precision", "voc_map_11point"]

Floats = npt.NDArray[np.float64]

# The recalls of the development kit's ``for t=0:0.1:1``. A MATLAB loop computes start + k * step
# (unlike a MATLAB vector, which is built from both ends). So three values are slightly above 0.3,
# 0.6 and 0.7: the third of ten present images does not reach a recall of 0.3.
# tests/metrics/test_average_precision.py has the evidence.
RECALLS = np.arange(11) * 0.1


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
    _check(scores, labels)
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


def _check(scores: Floats, labels: npt.NDArray[Any]) -> None:
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
