"""Mean average precision of multi-label classification, as PASCAL VOC 2007 defines it."""

import numpy as np
import numpy.typing as npt

__all__ = ["interpolated_precision", "voc_map_11point"]

Floats = npt.NDArray[np.float64]
RECALLS = 11


def voc_map_11point(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Mean over classes of the 11-point interpolated average precision (VOC 2007).

    For each class the images are ordered by falling score, ties in their given order. Precision is
    interpolated as the highest at that recall or any higher, and averaged over the recalls
    0, 0.1, ..., 1. An image that has the class only as difficult is left out of that class.

    Source: Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge", IJCV 88 (2010),
    section 4.2; the formula of the development kit's ``VOCevalcls``.

    Parameters
    ----------
    scores
        (n, K) decision values.
    labels
        (n, K) in {1 present, 0 difficult only, -1 absent}.

    Returns
    -------
    float
        A proportion; classes that are present in no image are left out of the mean.

    Raises
    ------
    ValueError
        Shapes that differ, other labels, or no class that is present anywhere.

    Examples
    --------
    >>> round(voc_map_11point([[0.9], [0.8], [0.1]], [[1], [-1], [1]]), 4)
    0.8485
    """
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    if scores.ndim != 2 or scores.shape != labels.shape or not np.isin(labels, (-1, 0, 1)).all():
        raise ValueError(
            "expected scores (n, K) and labels (n, K) in {1, 0, -1}, "
            f"found shapes {scores.shape} and {labels.shape}"
        )
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
    # The first present image at which recall k / n_present reaches each of 0, 0.1, ..., 1, in whole
    # numbers: 0.3 * 10 is not 3 in floating point.
    first = [max(0, -(-step * n_present // (RECALLS - 1)) - 1) for step in range(RECALLS)]
    return np.asarray(best_from_here[:, first].mean(axis=1))
