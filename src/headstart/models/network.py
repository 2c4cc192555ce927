"""What every adapter builds: a network that gives penultimate features."""

from typing import Protocol, cast

import torch
from torch import nn

__all__ = ["Backbone", "Network"]


class Backbone(Protocol):
    """The part of timm's interface that is used."""

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Images to the last feature map."""
        ...

    def forward_head(self, x: torch.Tensor, pre_logits: bool) -> torch.Tensor:
        """Pool, and classify unless `pre_logits`."""
        ...


class Network(nn.Module):
    """A classifier that can be asked for the input of its last layer.

    Parameters
    ----------
    backbone
        A timm network.
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def penultimate(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, size, size) normalised images -> (n, feature_dim), the input of the classifier."""
        backbone = cast(Backbone, self.backbone)
        return backbone.forward_head(backbone.forward_features(images), pre_logits=True)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, size, size) normalised images -> (n, classes) logits of the upstream task."""
        return cast(torch.Tensor, self.backbone(images))
