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

# Torch's switch to broadcast the first rank's buffers: its name from 2.14, and before.
SYNCED = ("forward_sync_buffers", "broadcast_buffers")


class MultiHeadLogits(nn.Module):
    """Logits of a network's classifier, followed by those of its auxiliary classifiers.

    Parameters
    ----------
    network
        Images -> logits. Its method `all_logits` returns these and the auxiliary ones.
    auxiliary
        Whether auxiliary classifiers have a loss.

    Raises
    ------
    TrainingError
        `auxiliary` is set, but the network has no `all_logits` (raised at once) or no auxiliary
        classifier (raised by the first forward pass).
    """

    def __init__(self, network: nn.Module, *, auxiliary: bool) -> None:
        super().__init__()
        self.network, self.auxiliary = network, auxiliary
        if auxiliary and not callable(getattr(network, "all_logits", None)):
            raise TrainingError(
                "auxiliary_weight: expected a network that gives logits of auxiliary classifiers "
                f"(all_logits), found {type(network).__name__}: set it to 0",
                code="training.no_auxiliary",
                network=type(network).__name__,
            )

    def forward(self, views: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, side, side) float32 -> (B, K) logits of the classifier, then of auxiliary ones."""
        if self.auxiliary:
            every: tuple[Tensor, ...] = self.network.all_logits(views)  # type: ignore[operator]
            if len(every) < 2:
                raise TrainingError(
                    "auxiliary_weight: expected auxiliary classifiers, found none in "
                    f"{type(self.network).__name__}: set it to 0",
                    code="training.no_auxiliary",
                    network=type(self.network).__name__,
                )
            return every
        return (self.network(views),)


def on_ranks(
    multi_head: MultiHeadLogits, blank: Tensor, device: torch.device
) -> DistributedDataParallel:
    """Wrap in DistributedDataParallel; all ranks start from the first rank's parameters.

    Parameters
    ----------
    multi_head
        Logits of a network that is on `device`.
    blank
        (2, 3, side, side) images of any content.
    """
    named = signature(DistributedDataParallel).parameters
    # No broadcast: the training loop averages running statistics over ranks.
    own_buffers: dict[str, Any] = {next(name for name in SYNCED if name in named): False}
    return DistributedDataParallel(
        multi_head,
        device_ids=[device] if device.type == "cuda" else None,
        find_unused_parameters=_some_are_unused(multi_head, blank),
        **own_buffers,
    )


def no_sync(multi_head: nn.Module, *, until_last: bool) -> AbstractContextManager[None]:
    """Return a context without gradient all-reduce if `until_last`, for accumulation."""
    if isinstance(multi_head, DistributedDataParallel) and until_last:
        return multi_head.no_sync()
    return nullcontext()


def running_statistics(network: nn.Module) -> list[Tensor]:
    """Return the running means and variances of all batch norms."""
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    both = [kept for norm in norms for kept in (norm.running_mean, norm.running_var)]
    return [kept for kept in both if kept is not None]


def _some_are_unused(multi_head: MultiHeadLogits, blank: Tensor) -> bool:
    """Return whether no logit depends on some trainable parameter in training mode."""
    trained = [p for p in multi_head.parameters() if p.requires_grad]
    before = [(buffer, buffer.clone()) for buffer in multi_head.buffers()]
    with in_mode(multi_head, training=True):
        total = torch.stack([logits.sum() for logits in multi_head(blank)]).sum()
        gradients = torch.autograd.grad(total, trained, allow_unused=True)
    for buffer, was in before:
        buffer.copy_(was)
    return any(gradient is None for gradient in gradients)
