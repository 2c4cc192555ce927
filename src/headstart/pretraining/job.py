"""What is asked for: a network to pretrain; and what came of it."""

import re
from dataclasses import dataclass
from typing import Any

from headstart.models import pretrained
from headstart.spec import Model, Recipe

__all__ = ["KEY_DIGITS", "PretrainJob", "Pretrained", "default_name"]

KEY_DIGITS = 8


@dataclass(frozen=True)
class PretrainJob:
    """One network to pretrain: how, and what it is called.

    Parameters
    ----------
    recipe
        How.
    name
        What it can be found by, as ``pretrained:NAME``.
    title
        Its model's name in results, in place of ``pretrained:NAME``: configurations of one
        architecture have the same.
    configuration
        How it is trained, in words: a factor of its own in analyses.

    Raises
    ------
    StudyError
        `name` cannot be a folder's.
    """

    recipe: Recipe
    name: str
    title: str | None = None
    configuration: str | None = None

    def __post_init__(self) -> None:
        pretrained.check_name(self.name)

    @property
    def found_by(self) -> str:
        """``pretrained:NAME``, which `headstart.models` finds."""
        return f"{pretrained.SCHEME}:{self.name}"

    @property
    def said(self) -> str:
        """Say for a person which network this is."""
        architecture = self.recipe.model.name
        return f"{architecture} ({self.configuration})" if self.configuration else architecture

    def renaming(self, model: Model) -> dict[str, Any]:
        """Give the fields of a model that title and configuration change; None changes nothing."""
        changes: dict[str, Any] = {}
        if self.title:
            changes["name"] = self.title
        if self.configuration:
            changes["tags"] = {**model.tags, "configuration": self.configuration}
        return changes


@dataclass(frozen=True)
class Pretrained:
    """A network that was pretrained.

    Parameters
    ----------
    name
        ``pretrained:NAME``, which `models.find` finds.
    model
        What it is.
    accuracy, n_test
        Top-1 accuracy on the upstream dataset's test images, a proportion, and how many they are.
    facts
        What is kept of how it was made.
    fresh
        Whether it was trained now; otherwise it was there.
    """

    name: str
    model: Model
    accuracy: float
    n_test: int
    facts: dict[str, Any]
    fresh: bool


def default_name(recipe: Recipe) -> str:
    """Name a network by architecture, dataset and the start of its recipe's key."""
    words = (recipe.model.name, recipe.dataset.name, recipe.key[:KEY_DIGITS])
    return "-".join(re.sub(r"[^A-Za-z0-9]+", "-", word).strip("-") for word in words)
