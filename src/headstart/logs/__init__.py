"""Training curves for TensorBoard, MLflow and Weights & Biases, all written offline."""

from headstart.logs.curve_reporter import CurveReporter
from headstart.logs.trackers import NAMES, About, Log, Outcome, Run, open_log

__all__ = ["NAMES", "About", "CurveReporter", "Log", "Outcome", "Run", "open_log"]
