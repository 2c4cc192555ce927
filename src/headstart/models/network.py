"""What every adapter builds: a backbone that gives penultimate features, and its classifier."""

import copy
from collections.abc import Iterator
from typing import cast

import torch
from torch import nn

from headstart.models.heads import Head
from headstart.models.linear_map import Piece, take_out, tensors_as_built

__all__ = ["Network"]

# What a library's network may call its answer where it gives several: transformers, torchvision.
LOGITS = "logits"


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

    @property
    def feature_dim(self) -> int:
        """Width of the penultimate layer."""
        return self.classifier.in_features

    def penultimate(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, size, size) normalised images -> (n, feature_dim), the input of the classifier."""
        return _first(self.backbone(images))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, size, size) normalised images -> (n, classes) logits of its classifier."""
        return cast(torch.Tensor, self.classifier(self.dropout(self.penultimate(images))))

    def all_logits(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(n, 3, size, size) normalised images -> (n, classes) logits of each of its classifiers.

        Its main classifier's first; those of auxiliary ones follow in training mode alone.
        """
        answers = self.backbone(images)
        logits = cast(torch.Tensor, self.classifier(self.dropout(_first(answers))))
        if not (self.auxiliary and self.training):
            return (logits,)
        # Both libraries give a tuple with the main answer first.
        return logits, *(answer for answer in answers[1:] if answer is not None)

    def with_head(self, n_classes: int, seed: int) -> "Network":
        """Put a fresh classifier on the same backbone, whose tensors are shared.

        Auxiliary classifiers that were kept get a fresh last layer, too. Weights are drawn by
        torch's own rule for a linear layer, from `seed` alone.
        """
        network = Network.__new__(Network)
        nn.Module.__init__(network)
        backbone = self.backbone
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network.classifier = _fresh(self.classifier, n_classes)
            for path in self.auxiliary:
                last = _last_linear(backbone, path)
                layer = cast(nn.Linear, backbone.get_submodule(last))
                backbone = _with_part(backbone, last, _fresh(layer, n_classes))
        network.backbone = backbone
        network.dropout = copy.copy(self.dropout)
        network.head, network.pieces = self.head, self.pieces
        network.auxiliary = self.auxiliary
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


def _first(answers: object) -> torch.Tensor:
    """Take the main answer of a library's network: alone, first of a tuple, or named."""
    if isinstance(answers, torch.Tensor):
        return answers
    return cast(
        torch.Tensor, answers[0] if isinstance(answers, tuple) else getattr(answers, LOGITS)
    )


def _fresh(layer: nn.Linear, n_outputs: int) -> nn.Linear:
    """Draw a linear layer of as many inputs, where the other is."""
    return nn.Linear(layer.in_features, n_outputs).to(layer.weight.device, layer.weight.dtype)


def _last_linear(backbone: nn.Module, path: str) -> str:
    """Find the layer that classifies, of an auxiliary classifier."""
    parts = backbone.get_submodule(path).named_modules(prefix=path)
    return [str(name) for name, part in parts if isinstance(part, nn.Linear)][-1]


def _with_part(module: nn.Module, path: str, part: nn.Module) -> nn.Module:
    """Copy a module with another part at `path`; all other parts are shared."""
    name, _, rest = path.partition(".")
    copied = copy.copy(module)
    copied._modules = dict(module._modules)
    copied._modules[name] = _with_part(module.get_submodule(name), rest, part) if rest else part
    return copied
