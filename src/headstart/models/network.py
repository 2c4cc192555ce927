"""A network as every adapter builds it: a backbone with penultimate features, and a classifier."""

import copy
from collections.abc import Iterator
from typing import cast

import torch
from torch import nn

from headstart.errors import ModelError, WeightsError
from headstart.models.linear_map import Piece, Tap, main_answer, take_out, tensors_as_built
from headstart.models.model_source import Head
from headstart.spec import Model

__all__ = ["Network", "check_switches", "set_dropout", "switch"]


class Network(nn.Module):
    """A backbone and the linear layer that classifies what it gives.

    The backbone ends where its classifier was: an identity stands in that place, so that whatever
    comes before it (pooling, a last norm, dropout) belongs to the features. A classifier of another
    form, or of several parts, becomes one linear layer (`headstart.models.linear_map`).

    Parameters
    ----------
    backbone
        An image classifier of any library: (n, 3, height, width) -> (n, classes) logits, or an
        object that holds them as `logits`. It is changed: its classifier is taken out.
    head
        Where its classifier is, among its submodules.
    auxiliary
        Paths of auxiliary classifiers that stay for training.

    Raises
    ------
    ModelError
        There is no linear layer at `head`; the message says how to name it.
    """

    head: Head
    pieces: tuple[Piece, ...]

    def __init__(self, backbone: nn.Module, head: Head, auxiliary: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.classifier, self.pieces = take_out(backbone, head)
        self.backbone = backbone
        self.head = head
        self.auxiliary = auxiliary
        # Where the architecture has no dropout of its own before the classifier.
        self.dropout: nn.Module = nn.Identity()
        # Whether the classifier came with the weights; a fresh one knows nothing.
        self.trained_classifier = True
        # Whether its own classifier gave the library's logits.
        self.exact = head.exact
        # Path of the layer whose input is the feature, where the network does more behind it.
        self.tapped: str | None = None

    @property
    def feature_dim(self) -> int:
        """Width of the penultimate layer."""
        return self.classifier.in_features

    def penultimate(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, size, size) normalised images -> (n, feature_dim), the input of the classifier."""
        return self._features(self.backbone(images))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, size, size) normalised images -> (n, classes) logits of its classifier."""
        return cast(torch.Tensor, self.classifier(self.dropout(self.penultimate(images))))

    def all_logits(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(n, 3, size, size) normalised images -> (n, classes) logits of each of its classifiers.

        Its main classifier's first; those of auxiliary ones follow in training mode alone.
        """
        answers = self.backbone(images)
        logits = cast(torch.Tensor, self.classifier(self.dropout(self._features(answers))))
        if not (self.auxiliary and self.training):
            return (logits,)
        # Both libraries give a tuple with the main answer first.
        return logits, *(answer for answer in answers[1:] if answer is not None)

    def tap(self) -> None:
        """Take the input of the classifier's layer for the feature, whatever comes behind it."""
        self.tapped = self.head.name
        parent, _, name = self.tapped.rpartition(".")
        setattr(self.backbone.get_submodule(parent), name, Tap(self.classifier.out_features))

    def _features(self, answers: object) -> torch.Tensor:
        if self.tapped is not None:
            return cast(Tap, self.backbone.get_submodule(self.tapped)).give()
        return main_answer(answers)

    def with_head(self, n_classes: int, seed: int) -> "Network":
        """Put a fresh classifier on the same backbone, whose tensors are shared.

        Auxiliary classifiers that were kept get a fresh last layer, too. Weights are drawn by
        torch's own rule for a linear layer, from `seed` alone.
        """
        backbone = self.backbone
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = cast(
                Network, _with_part(self, "classifier", _fresh(self.classifier, n_classes))
            )
            for path in self.auxiliary:
                parts = backbone.get_submodule(path).named_modules(prefix=path)
                last, layer = [(n, p) for n, p in parts if isinstance(p, nn.Linear)][-1]
                backbone = _with_part(backbone, last, _fresh(layer, n_classes))
        network.backbone = backbone
        network.dropout = copy.copy(self.dropout)
        network.trained_classifier = False
        return network.train(self.training)

    def state_as_built(self, *, auxiliary: bool = True) -> dict[str, torch.Tensor]:
        """All tensors under the names that they have in the library, the classifier's too.

        Without `auxiliary` those of auxiliary classifiers are left out.
        """
        left_out = () if auxiliary else tuple(f"{path}." for path in self.auxiliary)
        backbone = {
            name: tensor
            for name, tensor in self.backbone.state_dict().items()
            if not name.startswith(left_out)
        }
        return {**backbone, **tensors_as_built(self.classifier, self.pieces)}

    def batch_norms(self) -> Iterator[nn.modules.batchnorm._BatchNorm]:
        """All batch norms, in the order of submodules."""
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                yield module


def _fresh(layer: nn.Linear, n_outputs: int) -> nn.Linear:
    """Draw a linear layer of as many inputs, where the other is."""
    return nn.Linear(layer.in_features, n_outputs).to(layer.weight.device, layer.weight.dtype)


def _with_part(module: nn.Module, path: str, part: nn.Module) -> nn.Module:
    """Copy a module with another part at `path`; all other parts are shared."""
    name, _, rest = path.partition(".")
    copied = copy.copy(module)
    copied._modules = dict(module._modules)
    copied._modules[name] = _with_part(module.get_submodule(name), rest, part) if rest else part
    return copied


# What timm's networks call the rate of a dropout that is a function and no module.
RATE = "drop_rate"


def switch(network: Network, model: Model) -> None:
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
        affine = [norm for norm in network.batch_norms() if norm.affine]
        ones = all(bool((norm.weight == 1).all()) for norm in affine)
        if model.weights.random_seed is None and not ones:
            raise WeightsError(
                f"'{model.name}' is to have batch norms whose scales are 1, and its weights have "
                "others: they were trained with scales (bn_scale = true)",
                code="weights.scales",
                model=model.name,
            )
        # For good: they are not trained.
        with torch.no_grad():
            for norm in affine:
                norm.weight.fill_(1)
                norm.weight.requires_grad_(False)
    if model.dropout is not None:
        set_dropout(network, model.dropout)


def check_switches(
    network: Network, *, bn_scale: bool = True, dropout: float | None = None, aux_head: bool = False
) -> None:
    """Raise ModelError where a network has no place for a switch.

    Without `bn_scale` it needs a batch norm, with `aux_head` an auxiliary classifier that was kept.
    A rate of `dropout` in [0, 1) has its place, the classifier's input, in every network.
    """
    name = type(network.backbone).__name__
    if not bn_scale and not any(network.batch_norms()):
        raise ModelError(
            "expected a network with batch norms, whose scales are to stay 1, found none in "
            f"{name}: leave their scales as they are",
            code="model.no_batch_norm",
        )
    if dropout is not None and not 0 <= dropout < 1:
        raise ModelError(
            f"dropout: expected a rate from 0 to less than 1, found {dropout:g}",
            code="model.dropout_invalid",
            found=dropout,
        )
    if aux_head and not network.auxiliary:
        raise ModelError(
            f"expected a network with an auxiliary classifier, found none in {name}: take one that "
            "has some (torchvision:googlenet, timm:inception_v3), or train without",
            code="model.no_auxiliary",
        )


def set_dropout(network: Network, rate: float) -> None:
    """Drop this share of what the classifier is given, in training.

    At the architecture's own places; where it has none, right before the classifier.
    """
    modules = own_dropouts(network)
    for module in modules:
        module.p = rate
    # Many heads of timm's call dropout as a function.
    head = getattr(getattr(type(network.backbone), "forward_head", None), "__code__", None)
    if not modules and hasattr(network.backbone, RATE) and head and RATE in head.co_names:
        setattr(network.backbone, RATE, rate)
    elif not modules:
        network.dropout = nn.Dropout(rate).train(network.training)


def own_dropouts(network: Network) -> list[nn.Dropout]:
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
