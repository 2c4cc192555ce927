"""Metrics by name, as functions of labels and decision values."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from headstart.metrics.average_precision import voc_map_11point
from headstart.metrics.calibration import expected_calibration_error, log_loss
from headstart.metrics.classification import mean_per_class, top1

__all__ = ["CALIBRATION", "SCORERS", "score"]

Labels = npt.NDArray[np.int64]
Scores = npt.NDArray[np.floating]

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
