"""Penultimate features: computed once for each network and image, kept by content."""

from headstart.features.cache import Features
from headstart.features.extract import bytes_needed, penultimate_features
from headstart.features.runtime import choose_runtime

__all__ = ["Features", "bytes_needed", "choose_runtime", "penultimate_features"]
