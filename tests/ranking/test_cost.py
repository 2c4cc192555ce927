"""What a network costs: its memory against sums by hand."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from headstart.ranking.cost import peak_memory

PIXELS = 4 * 32 * 32
CONVOLUTIONS = nn.Sequential(
    nn.Conv2d(3, 8, 3, padding=1),
    nn.ReLU(),
    nn.Conv2d(8, 16, 3, padding=1),
    nn.AdaptiveAvgPool2d(1),
)


def memory_of(module: nn.Module) -> tuple[int, int]:
    """Return the peak, and the bytes of the weights."""
    network = SimpleNamespace(penultimate=module, state_dict=module.state_dict)
    return peak_memory(network, 32), sum(one.nbytes for one in module.state_dict().values())


class Kept(nn.Module):
    """Adds what it was given to what it makes of it: a residual connection."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(3, 3, 1, bias=False)

    def forward(self, x):
        return x + self.inner(x)


class Views(nn.Module):
    """Views, of images and of weights, take no memory."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(5, 3 * 32 * 32))

    def forward(self, x):
        return x.flatten(1) @ self.weight.T


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        # The images are in the hands of the caller to the end; a result goes when the next is made.
        (CONVOLUTIONS, (3 + 8 + 16) * PIXELS),
        (Kept(), 3 * 3 * PIXELS),
    ],
    ids=["chain", "residual"],
)
def test_memory_is_that_of_weights_and_of_all_tensors_that_are_needed_at_a_time(module, expected):
    peak, weights = memory_of(module.eval())
    assert peak == weights + expected
    assert memory_of(module)[0] == peak


def test_views_take_no_memory():
    peak, weights = memory_of(Views().eval())
    # The images, and once more in the order of rows.
    assert weights + 2 * 3 * PIXELS <= peak <= weights + 2 * 3 * PIXELS + 100
