"""Logits of a network and its auxiliary classifiers in training, on one rank or several."""

from contextlib import AbstractContextManager, nullcontext
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from headstart.errors import TrainingError
from headstart.training.modes import in_mode

__all__ = ["MultiHeadLogits", "no_sync", "on_ranks", "running_statistics"]

# What torch calls the switch that gives all ranks the first one's buffers: 2.14, before.
SYNCED = ("forward_sync_buffers", "broadcast_buffers")


class MultiHeadLogits(nn.Module):
    """A network's logits for a loss each.

    Parameters
    ----------
    network
        Images -> logits. Its method `all_logits` gives those of auxiliary classifiers after its
        own.
    auxiliary
        Whether these have a loss.

    Raises
    ------
    TrainingError
        They are to have one, and the network does not give them; in the first pass, has none.
    """

    def __init__(self, network: nn.Module, *, auxiliary: bool) -> None:
        super().__init__()
        self.network, self.auxiliary = network, auxiliary
        if auxiliary and not callable(getattr(network, "all_logits", None)):
            raise TrainingError(
                "auxiliary_weight: expected a network that gives logits of auxiliary classifiers "
                f"(all_logits), found {type(network).__name__}: set it to 0"
            )

    def forward(self, views: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, side, side) float32 -> (B, K) logits of the classifier, then of auxiliary ones."""
        if self.auxiliary:
            every: tuple[Tensor, ...] = self.network.all_logits(views)  # type: ignore[operator]
            if len(every) < 2:
                raise TrainingError(
                    "auxiliary_weight: expected auxiliary classifiers, found none in "
                    f"{type(self.network).__name__}: set it to 0"
                )
            return every
        return (self.network(views),)


def on_ranks(
    multi_head: MultiHeadLogits, blank: Tensor, device: torch.device
) -> DistributedDataParallel:
    """Have a backward pass average gradients over ranks; all begin with the first one's tensors.

    Parameters
    ----------
    multi_head
        Of a network on the device.
    blank
        (2, 3, side, side) any images.
    """
    named = signature(DistributedDataParallel).parameters
    # Running statistics are averaged: those of the first rank would be of its images alone.
    own_buffers: dict[str, Any] = {next(name for name in SYNCED if name in named): False}
    return DistributedDataParallel(
        multi_head,
        device_ids=[device] if device.type == "cuda" else None,
        find_unused_parameters=_some_are_unused(multi_head, blank),
        **own_buffers,
    )


def no_sync(multi_head: nn.Module, *, until_last: bool) -> AbstractContextManager[None]:
    """Inside, backward passes add up on this rank, unless it is the last one of a step."""
    if isinstance(multi_head, DistributedDataParallel) and until_last:
        return multi_head.no_sync()
    return nullcontext()


def running_statistics(network: nn.Module) -> list[Tensor]:
    """Give batch norms' running means and variances."""
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    both = [kept for norm in norms for kept in (norm.running_mean, norm.running_var)]
    return [kept for kept in both if kept is not None]


def _some_are_unused(multi_head: MultiHeadLogits, blank: Tensor) -> bool:
    """Whether there are trainable parameters that no logit depends on in training."""
    trained = [p for p in multi_head.parameters() if p.requires_grad]
    before = [(buffer, buffer.clone()) for buffer in multi_head.buffers()]
    with in_mode(multi_head, training=True):
        total = torch.stack([logits.sum() for logits in multi_head(blank)]).sum()
        gradients = torch.autograd.grad(total, trained, allow_unused=True)
    for buffer, was in before:
        buffer.copy_(was)
    return any(gradient is None for gradient in gradients)
