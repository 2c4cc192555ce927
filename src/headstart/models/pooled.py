"""A transformers backbone as a classifier: one feature an image, and a fresh linear layer."""

from typing import Any, cast

import torch
from torch import nn

from headstart.errors import ModelError
from headstart.spec import Pool

__all__ = ["Pooled"]

# Parameters that stand before the patches: their names are the same in all of transformers.
TOKENS = ("cls_token", "class_embedding", "distillation_token")


class Pooled(nn.Module):
    """A backbone that gives tokens or maps, pooled, with a classifier that is not trained.

    Parameters
    ----------
    model
        A model of transformers whose input is ``pixel_values``. A pooler of its own with
        parameters is taken out where tokens are pooled: it is trained for another task, and often
        comes untrained.
    pool
        ``"token"``, ``"mean"``; None takes the class token where there is one, else the mean.
    n_classes
        Of the classifier.

    Raises
    ------
    ModelError
        The class token is asked for and there is none.
    """

    def __init__(self, model: Any, pool: Pool | None, n_classes: int) -> None:
        super().__init__()
        names = {name.rpartition(".")[2] for name, _ in model.named_parameters()}
        before = len(names.intersection(TOKENS))
        if pool == "token" and not before:
            raise ModelError(
                f"{type(model).__name__} has no class token: leave ?pool=token out, or say mean"
            )
        # Maps of a convolutional network are pooled by its own last layers.
        self.own = not before and pool is None
        pooler = getattr(model, "pooler", None)
        if not self.own and pooler is not None and next(pooler.parameters(), None) is not None:
            model.pooler = None
        self.mean = pool == "mean" or not before
        self.before = before + (getattr(model.config, "num_register_tokens", 0) if before else 0)
        self.model = model
        self.classifier = nn.Linear(_width(model.config), n_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, size, size) normalised images -> (n, classes)."""
        return cast(torch.Tensor, self.classifier(self.pooled(images)))

    def pooled(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, size, size) normalised images -> (n, width)."""
        answer = self.model(pixel_values=images)
        found = getattr(answer, "pooler_output", None) if self.own else None
        if found is not None:
            return cast(torch.Tensor, found.flatten(1))
        values = answer.last_hidden_state
        if values.ndim == 4:
            return cast(torch.Tensor, values.mean((2, 3)))
        return cast(torch.Tensor, values[:, self.before :].mean(1) if self.mean else values[:, 0])


def _width(config: Any) -> int:
    """Width of the last layer: hierarchical networks have one a stage."""
    if getattr(config, "hidden_sizes", None):
        return int(config.hidden_sizes[-1])
    return int(config.hidden_size)
