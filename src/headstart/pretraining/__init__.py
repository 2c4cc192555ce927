"""Pretraining: from a recipe to a registered network, with its upstream accuracy."""

from headstart.pretraining.job import Pretrained, PretrainJob, default_name
from headstart.pretraining.recipes import make_recipe
from headstart.pretraining.run import begin, check, pretrain
from headstart.pretraining.several import pretrain_all

__all__ = [
    "PretrainJob",
    "Pretrained",
    "begin",
    "check",
    "default_name",
    "make_recipe",
    "pretrain",
    "pretrain_all",
]
