"""GoogLeNet (Szegedy et al. 2015) for images of 32 pixels, of torchvision's own blocks."""

import torch
from torch import nn
from torchvision.models.googlenet import BasicConv2d, Inception

__all__ = ["SmallInception"]


class SmallInception(nn.Module):
    """A stem of stride 4, four modules of parallel branches, and an auxiliary classifier.

    `width` is the channels of the stem; the modules have four to twelve times as many.
    """

    def __init__(self, width: int, n_classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            BasicConv2d(3, width, kernel_size=3, stride=2, padding=1),
            BasicConv2d(width, 2 * width, kernel_size=3, padding=1),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.inception_a = _module(2 * width, width)
        self.inception_b = _module(4 * width, 3 * width // 2)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.inception_c = _module(6 * width, 2 * width)
        self.inception_d = _module(8 * width, 3 * width)
        self.aux: nn.Module | None = nn.Sequential(
            nn.AdaptiveAvgPool2d(2),
            BasicConv2d(6 * width, 4 * width, kernel_size=1),
            nn.Flatten(),
            nn.Linear(16 * width, n_classes),
        )
        self.dropout = nn.Dropout(0.0)
        self.fc = nn.Linear(12 * width, n_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """(n, 3, 32, 32) -> (n, classes); in training mode those of `aux` too, where it is."""
        middle = self.inception_b(self.inception_a(self.stem(images)))
        last = self.inception_d(self.inception_c(self.pool(middle)))
        logits: torch.Tensor = self.fc(self.dropout(last.mean(dim=(2, 3))))
        if self.aux is None or not self.training:
            return logits
        return logits, self.aux(middle)


def _module(inputs: int, branch: int) -> Inception:
    """Make four branches of as many channels each: 1 x 1, 3 x 3, two 3 x 3 for 5 x 5, pooled."""
    reduced = max(4, branch // 2)
    return Inception(inputs, branch, reduced, branch, reduced, branch, branch)
