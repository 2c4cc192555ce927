"""Small networks that the benchmarks train."""

from itertools import pairwise

import torch
from torch import Tensor, nn

__all__ = ["N_CLASSES", "convnet", "resnet8", "resnet20"]

N_CLASSES = 10


def convnet() -> nn.Module:
    """Three convolutions, 16 to 64 channels: 0.02 million parameters, for images of 8 pixels."""
    return nn.Sequential(
        *_layer(3, 16, 1),
        *_layer(16, 32, 2),
        *_layer(32, 64, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, N_CLASSES),
    )


def resnet8() -> nn.Module:
    """Three stages of one block, 16 to 64 channels: 0.08 million parameters."""
    return _resnet(1)


def resnet20() -> nn.Module:
    """Three stages of three blocks, 16 to 64 channels: 0.27 million parameters."""
    return _resnet(3)


class Block(nn.Module):
    """Two convolutions and what goes around them (He et al. 2016, for CIFAR)."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(inplace=True),
            nn.Conv2d(n_out, n_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
        )
        self.around = (
            nn.Identity()
            if n_in == n_out
            else nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))
        )

    def forward(self, values: Tensor) -> Tensor:
        return torch.relu(self.convolutions(values) + self.around(values))


def _layer(n_in: int, n_out: int, stride: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)


def _resnet(blocks: int) -> nn.Module:
    """Return the residual network of 6 * `blocks` + 2 layers."""
    widths = [16, *(width for width in (16, 32, 64) for _ in range(blocks))]
    return nn.Sequential(
        *_layer(3, 16, 1),
        *(Block(before, after, 1 if before == after else 2) for before, after in pairwise(widths)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, N_CLASSES),
    )
