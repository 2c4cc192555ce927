"""How a network is trained otherwise than its library has it: batch norms' scales, dropout."""

from typing import TYPE_CHECKING

import torch
from torch import nn

from headstart.errors import ModelError, WeightsError
from headstart.spec import Model

if TYPE_CHECKING:
    from headstart.models.network import Network

__all__ = ["check_switches", "own_dropouts", "set_dropout", "switch", "without_scales"]

# What timm's networks call the rate of a dropout that is a function and no module.
RATE = "drop_rate"


def switch(network: "Network", model: Model) -> None:
    """Train a network as its model says.

    Raises
    ------
    ModelError
        It has no place for a switch.
    WeightsError
        Scales of batch norms are to be 1, and trained weights have others.
    """
    check_switches(
        network, bn_scale=model.bn_scale, dropout=model.dropout, aux_head=model.keeps_auxiliary
    )
    if not model.bn_scale:
        if model.weights.random_seed is None and not _scales_are_one(network):
            raise WeightsError(
                f"'{model.name}' is to have batch norms whose scales are 1, and its weights have "
                "others: they were trained with scales (bn_scale = true)"
            )
        without_scales(network)
    if model.dropout is not None:
        set_dropout(network, model.dropout)


def check_switches(
    network: "Network",
    *,
    bn_scale: bool = True,
    dropout: float | None = None,
    aux_head: bool = False,
) -> None:
    """Raise ModelError where a network has no place for a switch.

    Parameters
    ----------
    network
        As `models.load` built it.
    bn_scale
        False needs a batch norm.
    dropout
        A rate in [0, 1); its place, the classifier's input, is there in every network.
    aux_head
        True needs an auxiliary classifier that was kept.
    """
    name = type(network.backbone).__name__
    if not bn_scale and not any(network.batch_norms()):
        raise ModelError(
            "expected a network with batch norms, whose scales are to stay 1, found none in "
            f"{name}: leave their scales as they are"
        )
    if dropout is not None and not 0 <= dropout < 1:
        raise ModelError(f"dropout: expected a rate from 0 to less than 1, found {dropout:g}")
    if aux_head and not network.auxiliary:
        raise ModelError(
            f"expected a network with an auxiliary classifier, found none in {name}: take one that "
            "has some (torchvision:googlenet, timm:inception_v3), or train without"
        )


def without_scales(network: "Network") -> None:
    """Set the scales of all batch norms to 1, for good: they are not trained."""
    with torch.no_grad():
        for norm in network.batch_norms():
            if norm.affine:
                norm.weight.fill_(1)
                norm.weight.requires_grad_(False)


def set_dropout(network: "Network", rate: float) -> None:
    """Drop this share of what the classifier is given, in training.

    At the architecture's own places; where it has none, right before the classifier.
    """
    modules = own_dropouts(network)
    for module in modules:
        module.p = rate
    if not modules and _calls_dropout(network.backbone):
        setattr(network.backbone, RATE, rate)
    elif not modules:
        network.dropout = nn.Dropout(rate).train(network.training)


def own_dropouts(network: "Network") -> list[nn.Dropout]:
    """Find an architecture's own dropouts of its classifier.

    Those beside the classifier in the part that both belong to: all, where this part has no more
    than the classifier and what leads to it (``head.drop``, torchvision's ``classifier.0``); in the
    whole network those that come after its last layer (not ``pos_drop`` of a transformer).
    """
    every = [found for path in network.head.paths for found in _before(network.backbone, path)]
    return list(dict.fromkeys(every))


def _before(backbone: nn.Module, classifier: str) -> list[nn.Dropout]:
    """Find the dropouts beside a layer that come before it."""
    path, _, last = classifier.rpartition(".")
    found: list[nn.Dropout] = []
    for name, module in backbone.get_submodule(path).named_children():
        if name == last:
            break
        if isinstance(module, nn.Dropout):
            found.append(module)
        elif not path and any(True for _ in module.parameters()):
            found.clear()
    return found


def _scales_are_one(network: "Network") -> bool:
    return all(bool((norm.weight == 1).all()) for norm in network.batch_norms() if norm.affine)


def _calls_dropout(backbone: nn.Module) -> bool:
    """Whether a network's head calls dropout as a function, as many of timm's do."""
    code = getattr(getattr(type(backbone), "forward_head", None), "__code__", None)
    return hasattr(backbone, RATE) and code is not None and RATE in code.co_names
