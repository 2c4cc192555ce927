"""Stochastic gradient descent over a network's parameters, and which of them decay."""

from collections.abc import Iterable

import torch
from torch import nn

from headstart.errors import TrainingError
from headstart.training.hyperparameters import Decayed, Hyperparameters

__all__ = ["decaying", "make_optimizer", "trainable"]


def trainable(network: nn.Module) -> dict[str, nn.Parameter]:
    """All parameters that are not frozen, each once, by name.

    Raises
    ------
    TrainingError
        There are none.
    """
    found = {name: p for name, p in network.named_parameters() if p.requires_grad}
    if not found:
        raise TrainingError(
            f"{type(network).__name__} has no trainable parameters: expected a network with some "
            "that are not frozen (requires_grad)"
        )
    return found


def decaying(parameters: dict[str, nn.Parameter], decayed: Decayed) -> set[str]:
    """Names of the parameters that weight decay shrinks.

    ``"weights"`` are those of convolutions and linear layers: what is called a weight and has two
    dimensions or more. Biases, batch norms' scales and offsets, layer scales, position embeddings
    and tokens are none.
    """
    if decayed == "all":
        return set(parameters)
    return {name for name, p in parameters.items() if name.endswith("weight") and p.ndim > 1}


def make_optimizer(network: nn.Module, hyperparameters: Hyperparameters) -> torch.optim.SGD:
    """Make SGD as the hyperparameters says; the learning rate is set anew at each step.

    torch's fused form, which on a processor gives the same bits as the plain one in less than
    half the time.
    """
    parameters = trainable(network)
    shrinking = decaying(parameters, hyperparameters.decayed)

    def group(names: Iterable[str], weight_decay: float) -> dict[str, object]:
        return {"params": [parameters[name] for name in names], "weight_decay": weight_decay}

    groups = [
        group((name for name in parameters if name in shrinking), hyperparameters.weight_decay),
        group((name for name in parameters if name not in shrinking), 0.0),
    ]
    return torch.optim.SGD(
        [each for each in groups if each["params"]],
        lr=hyperparameters.learning_rate,
        momentum=hyperparameters.momentum,
        # Without momentum there is nothing to look ahead along, which torch refuses to hear.
        nesterov=hyperparameters.nesterov and hyperparameters.momentum > 0,
        fused=True,
    )
