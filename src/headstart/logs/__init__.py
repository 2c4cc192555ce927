"""Training curves for TensorBoard, MLflow and Weights & Biases, all written offline."""

from headstart.logs.base import NAMES, About, Log, Outcome, Run, open_log
from headstart.logs.curve_reporter import CurveReporter

__all__ = ["NAMES", "About", "CurveReporter", "Log", "Outcome", "Run", "open_log"]
