"""Context managers for training and evaluation; each restores the previous state."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = [
    "exact_float32",
    "in_mode",
    "multiplying",
    "own_randomness",
    "seed_torch",
    "with_batch_norm_momentum",
]


@contextmanager
def in_mode(network: nn.Module, *, training: bool) -> Iterator[None]:
    """Set all modules to training or evaluation mode; restore each module's mode afterwards."""
    before = [(module, module.training) for module in network.modules()]
    network.train(training)
    try:
        yield
    finally:
        for module, was in before:
            module.training = was


@contextmanager
def with_batch_norm_momentum(network: nn.Module, momentum: float | None) -> Iterator[None]:
    """Set the momentum of all batch norms, in torch's convention; None changes nothing."""
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [norm.momentum for norm in norms]
    try:
        if momentum is not None:
            for norm in norms:
                norm.momentum = momentum
        yield
    finally:
        for norm, was in zip(norms, before, strict=True):
            norm.momentum = was


@contextmanager
def own_randomness(device: torch.device) -> Iterator[None]:
    """Restore torch's random generators afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def seed_torch(seed: int, device: torch.device) -> None:
    """Seed the generators that `own_randomness` restores, and no other GPU's."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


@contextmanager
def exact_float32(device: torch.device) -> Iterator[None]:
    """Disable TF32 (it rounds float32 to 10 bits) and enable cuDNN's autotuner on a GPU."""
    if device.type != "cuda":
        yield
        return
    with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
        yield


def multiplying(device: torch.device, precision: str) -> torch.autocast:
    """Return autocast to bfloat16, disabled unless `precision` is ``"bf16"``.

    Enter it again after each update: autocast caches bfloat16 copies of the weights.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
