"""The nouns: frozen, validated when made, and free of behaviour beyond their own identity."""

from headstart.spec.candidate import Candidate, Measurement, Value
from headstart.spec.dataset import Dataset, Decoding, Metric, Sizes, plain_name
from headstart.spec.digest import digest
from headstart.spec.estimate import Estimate
from headstart.spec.model import Interpolation, Model, Pool, UpstreamAccuracy, Weights
from headstart.spec.recipe import SWITCHES, Recipe
from headstart.spec.result import Prediction, Result, Selection
from headstart.spec.setting import SearchGrid, Setting
from headstart.spec.training import SGD, Crop, TrainingConfig
from headstart.spec.trial import Trial

__all__ = [
    "SGD",
    "SWITCHES",
    "Candidate",
    "Crop",
    "Dataset",
    "Decoding",
    "Estimate",
    "Interpolation",
    "Measurement",
    "Metric",
    "Model",
    "Pool",
    "Prediction",
    "Recipe",
    "Result",
    "SearchGrid",
    "Selection",
    "Setting",
    "Sizes",
    "TrainingConfig",
    "Trial",
    "UpstreamAccuracy",
    "Value",
    "Weights",
    "digest",
    "plain_name",
]
