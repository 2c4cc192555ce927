"""Pretraining jobs and their outcomes."""

import re
from dataclasses import dataclass
from typing import Any

from headstart.models import pretrained
from headstart.spec import Model, Recipe

__all__ = ["KEY_DIGITS", "PretrainJob", "Pretrained", "default_name"]

KEY_DIGITS = 8


@dataclass(frozen=True)
class PretrainJob:
    """One network to pretrain: its recipe and its name.

    Parameters
    ----------
    recipe
        Recipe of the training.
    name
        Name to find it by, as ``pretrained:NAME``.
    title
        Name of the model in results, instead of ``pretrained:NAME``. Configurations of one
        architecture share it.
    configuration
        Label of the training configuration, a factor in analyses.

    Raises
    ------
    StudyError
        `name` is not a valid folder name.
    """

    recipe: Recipe
    name: str
    title: str | None = None
    configuration: str | None = None

    def __post_init__(self) -> None:
        pretrained.check_name(self.name)

    @property
    def found_by(self) -> str:
        """``pretrained:NAME``, the name for `headstart.models.find`."""
        return f"{pretrained.SCHEME}:{self.name}"

    @property
    def said(self) -> str:
        """Label of the network for messages."""
        architecture = self.recipe.model.name
        return f"{architecture} ({self.configuration})" if self.configuration else architecture

    def renaming(self, model: Model) -> dict[str, Any]:
        """Return the model fields that title and configuration change."""
        changes: dict[str, Any] = {}
        if self.title:
            changes["name"] = self.title
        if self.configuration:
            changes["tags"] = {**model.tags, "configuration": self.configuration}
        return changes


@dataclass(frozen=True)
class Pretrained:
    """A pretrained network.

    Parameters
    ----------
    name
        ``pretrained:NAME``, the name for `models.find`.
    model
        Its description.
    accuracy, n_test
        Top-1 accuracy on the upstream test images, a proportion, and their number.
    facts
        Stored record of the training.
    fresh
        Whether it was trained now, rather than found.
    """

    name: str
    model: Model
    accuracy: float
    n_test: int
    facts: dict[str, Any]
    fresh: bool


def default_name(recipe: Recipe) -> str:
    """Return a name from architecture, dataset and the first digits of the recipe's key."""
    words = (recipe.model.name, recipe.dataset.name, recipe.key[:KEY_DIGITS])
    return "-".join(re.sub(r"[^A-Za-z0-9]+", "-", word).strip("-") for word in words)
