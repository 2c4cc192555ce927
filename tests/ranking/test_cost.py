"""What a network costs: memory against sums by hand, latency on a simulated clock."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import small_network
from headstart import models
from headstart.context import RunContext
from headstart.ranking import cost
from headstart.ranking.cost import measure_cost, peak_memory, timed_again

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


class Busy:
    """A runtime on a clock of its own: each pass takes its number of seconds, then all the last."""

    name, version, batch_size = "torch", "0", 4

    def __init__(self, monkeypatch, *seconds: float) -> None:
        self.now, self.seconds, self.n_passes = 0.0, seconds, 0
        monkeypatch.setattr(cost, "time", SimpleNamespace(perf_counter=lambda: self.now))
        monkeypatch.setattr(cost, "make_runtime", lambda *_: self)

    def __call__(self, pixels):
        self.now += self.seconds[min(self.n_passes, len(self.seconds) - 1)]
        self.n_passes += 1
        return np.zeros((len(pixels), 1), np.float32)


def measured(cache) -> cost.Cost:
    network = models.find(f"{small_network.__file__}:build?mean=0.5,0.5,0.5&std=0.3,0.3,0.3&size=8")
    return measure_cost(network, "fp32", RunContext(device="cpu", cache=cache))


@pytest.mark.parametrize("quiet", [0, 1, 2])
def test_the_fastest_block_is_the_latency(monkeypatch, tmp_path, quiet):
    """Timed thrice for 0.4 s; a neighbour that slows all but one block changes nothing."""
    passes = [0.01] * cost.WARM_UP
    for time in range(cost.TIMES):
        # Behind the second one, two batches for the throughput.
        passes += [0.04] * 2 * (time == 2)
        # Behind the quick block there is time for another one.
        passes += [*[0.001] * 49, 0.02, *[0.06] * 7] if time == quiet else [0.06] * 7
    Busy(monkeypatch, *passes)
    found = measured(tmp_path)
    assert found.latency == pytest.approx(0.001)
    assert 0.001 <= found.latency_95 < 0.02
    assert found.throughput == pytest.approx(4 / 0.04)


def test_a_slow_network_is_timed_by_few_passes(monkeypatch, tmp_path):
    runtime = Busy(monkeypatch, 2.0)
    found = measured(tmp_path)
    assert (found.latency, found.throughput) == (2.0, 0.5)
    assert runtime.n_passes == cost.WARM_UP + cost.TIMES * cost.FEWEST


def test_timing_again_makes_latency_no_higher(monkeypatch):
    known = cost.Cost(0.02, 0.03, 50.0, 1, "torch")
    slower, faster = (timed_again(known, Busy(monkeypatch, one), 8) for one in (0.04, 0.01))
    assert slower == known
    assert (faster.latency, faster.latency_95) == pytest.approx((0.01, 0.01))
    assert (faster.throughput, faster.memory) == (50.0, 1)
