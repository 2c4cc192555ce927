"""Penultimate features: computed once per network and image, cached by content."""

from headstart.features.extract import (
    FeatureRequest,
    bytes_needed,
    extract_together,
    features_content,
    penultimate_features,
    table_of,
)
from headstart.features.feature_table import Features
from headstart.features.runtime import choose_runtime

__all__ = [
    "FeatureRequest",
    "Features",
    "bytes_needed",
    "choose_runtime",
    "extract_together",
    "features_content",
    "penultimate_features",
    "table_of",
]
