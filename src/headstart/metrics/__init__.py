"""Labels and predictions -> one number, a proportion. numpy only."""

from headstart.metrics.average_precision import voc_map_11point
from headstart.metrics.classification import SCORERS, mean_per_class, score, top1

__all__ = ["SCORERS", "mean_per_class", "score", "top1", "voc_map_11point"]
