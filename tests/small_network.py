"""A network of a user's own, small enough to be trained in tests: `small_network.py:build`."""

from torch import nn

# Its name as a model, of 16 pixels.
NETWORK = f"{__file__}:build?size=16&mean=0.5,0.5,0.5&std=0.25,0.25,0.25"


def build() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(16, 10),
    )
