"""Penultimate features: computed once per network and image, cached by content."""

from headstart.features.extract import (
    FeatureRequest,
    bytes_needed,
    features_content,
    penultimate_features,
)
from headstart.features.feature_table import Features
from headstart.features.runtime import choose_runtime

__all__ = [
    "FeatureRequest",
    "Features",
    "bytes_needed",
    "choose_runtime",
    "features_content",
    "penultimate_features",
]
