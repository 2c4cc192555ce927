"""What tests of networks share: images, and modules of random weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Draw from this seed, and leave the generator of the test as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def images(size: int, n: int = 2, seed: int = 0) -> torch.Tensor:
    """Return (n, 3, size, size) float32 standard normal images."""
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(seed))
