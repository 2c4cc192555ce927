"""Training: a network and images in, a trained network out. Depends on tensors only."""

from headstart.training.augmentation import InputSpec
from headstart.training.checkpoint import CheckpointOptions
from headstart.training.forward import decision_values
from headstart.training.loop import Progress, Trained, cosine, train
from headstart.training.pixels import DevicePixels, load_pixels
from headstart.training.ranks import Ranks

__all__ = [
    "CheckpointOptions",
    "DevicePixels",
    "InputSpec",
    "Progress",
    "Ranks",
    "Trained",
    "cosine",
    "decision_values",
    "load_pixels",
    "train",
]
