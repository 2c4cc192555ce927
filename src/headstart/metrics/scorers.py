"""The metrics by name: each scores decision values, not predictions."""

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

# What is told beside them, of the same scores; lower is better, and log loss has no upper bound.
CALIBRATION: Mapping[str, Callable[[Labels, Scores], float]] = MappingProxyType(
    {"log-loss": log_loss, "calibration-error": expected_calibration_error}
)


def score(metric: str, labels: Labels, scores: Scores) -> float:
    """Compute the metric of this name (a key of `SCORERS`).

    Parameters
    ----------
    labels
        (n,) classes from 0; or (n, K) in {1, 0, -1} where images show several.
    scores
        (n, K) decision values; of one label the highest is the prediction.

    Returns
    -------
    float
        A proportion.
    """
    return SCORERS[metric](labels, scores)
