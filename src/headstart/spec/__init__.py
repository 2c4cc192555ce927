"""The nouns: frozen, validated when made, and free of behaviour beyond their own identity."""

from headstart.spec.candidate import Candidate, Measurement, Value
from headstart.spec.dataset import Dataset, Decoding, Metric, Sizes
from headstart.spec.digest import digest
from headstart.spec.estimate import Estimate
from headstart.spec.model import Model, Pool, UpstreamAccuracy, Weights
from headstart.spec.result import Prediction, Result, Selection
from headstart.spec.setting import LinearSetting, Setting
from headstart.spec.trial import Trial

__all__ = [
    "Candidate",
    "Dataset",
    "Decoding",
    "Estimate",
    "LinearSetting",
    "Measurement",
    "Metric",
    "Model",
    "Pool",
    "Prediction",
    "Result",
    "Selection",
    "Setting",
    "Sizes",
    "Trial",
    "UpstreamAccuracy",
    "Value",
    "Weights",
    "digest",
]
