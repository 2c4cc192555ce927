"""Pretraining: from a recipe to a registered network, with its upstream accuracy."""

from headstart.pretraining.jobs import (
    Pretrained,
    PretrainJob,
    begin,
    check,
    default_name,
    pretrain,
    pretrain_all,
)
from headstart.pretraining.recipes import make_recipe

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
