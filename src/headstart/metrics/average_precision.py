"""Mean average precision of multi-label classification, as PASCAL VOC 2007 defines it."""

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["interpolated_precision", "voc_map_11point"]

Floats = npt.NDArray[np.float64]

# The recalls of the development kit's ``for t=0:0.1:1``. A loop of MATLAB's computes start +
# k * step (a vector is built from both ends instead), so three lie just above 0.3, 0.6 and 0.7:
# of ten present images the third does not reach a recall of 0.3. The reports of loops that this
# rests on are in tests/metrics/test_average_precision.py.
RECALLS = np.arange(11) * 0.1


def voc_map_11point(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Mean over classes of the 11-point interpolated average precision (VOC 2007).

    For each class the images are ordered by falling score, ties in their given order. Precision is
    interpolated as the highest at that recall or any higher, and averaged over the recalls
    0, 0.1, ..., 1. An image that has the class only as difficult is left out of that class.

    For each class that is present anywhere this is what ``VOCevalcls`` of the development kit
    gives, but for rounding in the last digit of the sum. Recall is compared in floating point as
    there, where 0.3, 0.6 and 0.7 are the next number above: where 3/10, 3/5 or 7/10 of the present
    images are a whole number, one more has to be found. The kit does not average over classes.

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
        A proportion; classes that are present in no image are left out of the mean.

    Raises
    ------
    ValueError
        Shapes that differ, NaN, other labels, or no class that is present anywhere.

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
        raise ValueError("expected a class that is present in at least one image, found none")
    return float(np.mean(precisions))


def interpolated_precision(precision: Floats) -> Floats:
    """Average the interpolated precision over the 11 recalls.

    Parameters
    ----------
    precision
        (B, P) precision at each of the P present images, in the order in which they are found.

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
        raise ValueError(
            "expected scores (n, K) and labels (n, K), "
            f"found shapes {scores.shape} and {labels.shape}"
        )
    if (strange := ~np.isin(labels, (-1, 0, 1))).any():
        row, column = np.argwhere(strange)[0]
        raise ValueError(
            "expected labels (n, K) in {1, 0, -1}, "
            f"found {labels[row, column]} in row {row}, column {column}"
        )
    if (labels == 0).any() and not (labels == -1).any():
        raise ValueError(
            "expected labels of 1 present, 0 difficult and -1 absent, found 0 but no -1: "
            "of zeros and ones give 2 * labels - 1"
        )
    if (unknown := np.isnan(scores)).any():
        row, column = np.argwhere(unknown)[0]
        raise ValueError(f"expected scores, found NaN in row {row}, column {column}")
