"""Training: a network and images in, a trained network out. Depends on tensors only."""

from headstart.training.evaluate import decision_values
from headstart.training.hyperparameters import Crop, Hyperparameters, Input
from headstart.training.loop import train
from headstart.training.outcome import Progress, Trained
from headstart.training.pixels import load_pixels
from headstart.training.ranks import Ranks
from headstart.training.schedule import cosine

__all__ = [
    "Crop",
    "Hyperparameters",
    "Input",
    "Progress",
    "Ranks",
    "Trained",
    "cosine",
    "decision_values",
    "load_pixels",
    "train",
]
