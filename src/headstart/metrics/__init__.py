"""Metrics of classification, from labels and decision values. numpy and scipy.special only."""

from headstart.metrics.average_precision import voc_map_11point
from headstart.metrics.classification import (
    CALIBRATION,
    SCORERS,
    AtChance,
    CalibrationBin,
    at_chance,
    beats_chance,
    calibration_bins,
    confusion_matrix,
    expected_calibration_error,
    log_loss,
    mean_per_class,
    score,
    top1,
)

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
