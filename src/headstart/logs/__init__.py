"""Training curves for TensorBoard, MLflow and Weights & Biases, all written offline."""

from headstart.logs.base import About, Log, Outcome, Run
from headstart.logs.names import NAMES, open_log
from headstart.logs.watcher import LogWatcher

__all__ = ["NAMES", "About", "Log", "LogWatcher", "Outcome", "Run", "open_log"]
