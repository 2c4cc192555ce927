"""Pretraining: a recipe -> a registered network, with its accuracy on the upstream task."""

from headstart.pretraining.asked import Asked, Pretrained, default_name
from headstart.pretraining.recipes import make_recipe
from headstart.pretraining.run import begin, check, pretrain
from headstart.pretraining.several import pretrain_all

__all__ = [
    "Asked",
    "Pretrained",
    "begin",
    "check",
    "default_name",
    "make_recipe",
    "pretrain",
    "pretrain_all",
]
