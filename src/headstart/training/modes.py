"""What a network is while it is trained or evaluated, given back as it was."""

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
    """Put all modules in training or evaluation mode; afterwards each is in its own again."""
    before = [(module, module.training) for module in network.modules()]
    network.train(training)
    try:
        yield
    finally:
        for module, was in before:
            module.training = was


@contextmanager
def with_batch_norm_momentum(network: nn.Module, momentum: float | None) -> Iterator[None]:
    """Give all batch norms this momentum, as torch counts it; None leaves them their own."""
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
    """Whatever is drawn or seeded inside leaves the caller's generators as they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def seed_torch(seed: int, device: torch.device) -> None:
    """Seed the generators that `own_randomness` gives back, and no other GPU's."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


@contextmanager
def exact_float32(device: torch.device) -> Iterator[None]:
    """On a GPU, float32 is not TF32, which rounds to 10 bits; convolutions are chosen by trial."""
    if device.type != "cuda":
        yield
        return
    with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
        yield


def multiplying(device: torch.device, precision: str) -> torch.autocast:
    """Forward passes inside multiply in bfloat16 where that is safe, if `precision` is ``"bf16"``.

    To be entered anew after each update: bfloat16 copies of the weights are kept inside.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
