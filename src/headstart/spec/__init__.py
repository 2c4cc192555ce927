"""The nouns: frozen, validated when made, and free of behaviour beyond their own identity."""

from headstart.spec.dataset import Dataset, Decoding, Metric, Sizes, plain_name
from headstart.spec.model import Interpolation, Model, Pool, UpstreamAccuracy, Weights
from headstart.spec.noun import digest
from headstart.spec.result import (
    Candidate,
    Estimate,
    Failure,
    Measurement,
    Prediction,
    Result,
    Selection,
    Trial,
    Value,
)
from headstart.spec.setting import SGD, SWITCHES, Crop, Recipe, SearchGrid, Setting, TrainingConfig

__all__ = [
    "SGD",
    "SWITCHES",
    "Candidate",
    "Crop",
    "Dataset",
    "Decoding",
    "Estimate",
    "Failure",
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
