"""What every adapter builds: a backbone that gives penultimate features, and its classifier."""

from collections.abc import Iterator
from typing import cast

import torch
from torch import nn

from headstart.errors import ModelError

__all__ = ["Network"]

# What a library's network may call its answer where it gives several: transformers, torchvision.
LOGITS = "logits"


class Network(nn.Module):
    """A backbone and the linear layer that classifies what it gives.

    The backbone ends where its classifier was: an identity stands in that place, so that whatever
    comes before it (pooling, a last norm, dropout) belongs to the features.

    Parameters
    ----------
    backbone
        An image classifier of any library: (n, 3, height, width) -> (n, classes) logits, or an
        object that holds them as `logits`. It is changed: its classifier is taken out.
    head
        Path of the classifier among its submodules, ``"fc"``, ``"head.fc"``.
    auxiliary
        Paths of auxiliary classifiers that stay for training.

    Raises
    ------
    ModelError
        There is no linear layer at `head`; the message says how to name it.
    """

    def __init__(self, backbone: nn.Module, head: str, auxiliary: tuple[str, ...] = ()) -> None:
        super().__init__()
        classifier = dict(backbone.named_modules()).get(head)
        if not isinstance(classifier, nn.Linear):
            raise ModelError(
                f"expected a linear classifier at '{head}' of {type(backbone).__name__}, found "
                f"{type(classifier).__name__}: name it with ?head=..., {_linear_layers(backbone)}"
            )
        parent, _, name = head.rpartition(".")
        setattr(backbone.get_submodule(parent), name, nn.Identity())
        self.backbone = backbone
        self.classifier = classifier
        self.head = head
        self.auxiliary = auxiliary
        # Whether the classifier came with the weights; a fresh one knows nothing.
        self.trained_classifier = True

    @property
    def feature_dim(self) -> int:
        """Width of the penultimate layer."""
        return self.classifier.in_features

    def penultimate(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, size, size) normalised images -> (n, feature_dim), the input of the classifier."""
        features = self.backbone(images)
        if not isinstance(features, torch.Tensor):
            features = getattr(features, LOGITS)
        return cast(torch.Tensor, features)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, size, size) normalised images -> (n, classes) logits of its classifier."""
        return cast(torch.Tensor, self.classifier(self.penultimate(images)))

    def with_head(self, n_classes: int, seed: int) -> "Network":
        """Put a fresh classifier on the same backbone, whose tensors are shared.

        Weights are drawn by torch's own rule for a linear layer, from `seed` alone.
        """
        network = Network.__new__(Network)
        nn.Module.__init__(network)
        old = self.classifier.weight
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            fresh = nn.Linear(self.feature_dim, n_classes)
        network.backbone = self.backbone
        network.classifier = fresh.to(old.device, old.dtype)
        network.head = self.head
        network.auxiliary = self.auxiliary
        network.trained_classifier = False
        return network.train(self.training)

    def state_as_built(self) -> dict[str, torch.Tensor]:
        """All tensors under the names that they have in the library, the classifier's too."""
        classifier = self.classifier.state_dict(prefix=f"{self.head}.")
        return {**self.backbone.state_dict(), **classifier}

    def batch_norms(self) -> Iterator[nn.modules.batchnorm._BatchNorm]:
        """All batch norms, in the order of submodules."""
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                yield module


def _linear_layers(backbone: nn.Module) -> str:
    names = [name for name, part in backbone.named_modules() if isinstance(part, nn.Linear)]
    if not names:
        return "and it has no linear layer at all"
    return f"its last linear layers are {', '.join(names[-3:])}"
