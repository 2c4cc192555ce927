"""Metrics of classification, from labels and decision values. numpy and scipy.special only."""

from headstart.metrics.average_precision import voc_map_11point
from headstart.metrics.calibration import expected_calibration_error, log_loss
from headstart.metrics.chance import AtChance, at_chance, beats_chance
from headstart.metrics.classification import mean_per_class, top1
from headstart.metrics.scorers import CALIBRATION, SCORERS, score

__all__ = [
    "CALIBRATION",
    "SCORERS",
    "AtChance",
    "at_chance",
    "beats_chance",
    "expected_calibration_error",
    "log_loss",
    "mean_per_class",
    "score",
    "top1",
    "voc_map_11point",
]
