"""Data-parallel training: several processes train one network, started by torchrun."""

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from headstart.errors import DeviceError, TrainingError
from headstart.training.forward import MultiHeadLogits, in_mode

__all__ = ["Ranks", "no_sync", "on_ranks", "running_statistics"]

# Environment variables that torchrun and other launchers set.
LAUNCHER_VARIABLES = (
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
)
BACKENDS = {"cpu": "gloo", "cuda": "nccl"}
# Torch's switch to broadcast the first rank's buffers: its name from 2.14, and before.
SYNCED = ("forward_sync_buffers", "broadcast_buffers")


@dataclass(frozen=True)
class Ranks:
    """One of several processes that train together.

    Each takes its share of every batch. Gradients are averaged, so an update is that of the whole
    batch.

    Parameters
    ----------
    rank, size
        Rank of this process, from 0, and number of processes.
    local_rank, local_size
        The same on this machine, with one GPU per process.
    meeting
        Rendezvous address, the `init_method` of ``torch.distributed.init_process_group``.
    """

    rank: int
    size: int
    local_rank: int = 0
    local_size: int = 1
    meeting: str = "env://"

    @classmethod
    def from_environment(cls) -> "Ranks | None":
        """Read torchrun's environment variables; return None if they are not set."""
        if any(name not in os.environ for name in LAUNCHER_VARIABLES):
            return None
        rank, size, local_rank, local_size = (
            int(os.environ[name]) for name in LAUNCHER_VARIABLES[:4]
        )
        return cls(rank, size, local_rank, local_size)

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes and reports."""
        return self.rank == 0

    def place(self, device: torch.device) -> torch.device:
        """Return the device of this rank: its GPU for ``cuda``, else `device`.

        Raises
        ------
        DeviceError
            This machine has fewer GPUs than ranks.
        """
        if device.type != "cuda":
            return device
        n_gpus = torch.cuda.device_count()
        if self.local_size > n_gpus:
            raise DeviceError(
                f"expected a GPU for each of the {self.local_size} ranks of this machine, found "
                f"{n_gpus}: start torchrun with --nproc-per-node {n_gpus}, or take --device cpu",
                code="device.too_few_gpus",
                expected=self.local_size,
                found=n_gpus,
            )
        return torch.device("cuda", self.local_rank)

    def share(self, batch_size: int) -> slice:
        """Return this rank's slice of a batch.

        Raises
        ------
        TrainingError
            The batch size is not a multiple of the number of ranks.
        """
        if batch_size % self.size:
            raise TrainingError(
                f"batch_size: expected a multiple of the {self.size} ranks, found {batch_size}",
                code="training.batch_indivisible",
                batch_size=batch_size,
                ranks=self.size,
            )
        n = batch_size // self.size
        return slice(self.rank * n, (self.rank + 1) * n)

    @contextmanager
    def joined(self, device: torch.device) -> Iterator[None]:
        """Join the process group and wait for all ranks; if it exists already, only wait."""
        if distributed.is_initialized():
            distributed.barrier()
            yield
            return
        distributed.init_process_group(
            BACKENDS[device.type],
            init_method=self.meeting,
            rank=self.rank,
            world_size=self.size,
            device_id=device if device.type == "cuda" else None,
        )
        try:
            distributed.barrier()
            yield
        finally:
            distributed.destroy_process_group()

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Average float32 tensors on one device over ranks, in place."""
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        distributed.all_reduce(flat)
        parts = torch.split(flat.div_(self.size), [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def check_same(self, step: int, device: torch.device) -> None:
        """Raise TrainingError unless all ranks resume at the same step."""
        found = torch.tensor([step, -step], device=device)
        distributed.all_reduce(found, distributed.ReduceOp.MAX)
        last, first = int(found[0]), -int(found[1])
        if first != last:
            raise TrainingError(
                f"expected ranks that go on from one checkpoint, found steps {first} to {last}: "
                "give all machines the same folder, or remove the checkpoints",
                code="training.checkpoints_differ",
                first=first,
                last=last,
            )


def on_ranks(
    multi_head: MultiHeadLogits, blank: Tensor, device: torch.device
) -> DistributedDataParallel:
    """Wrap in DistributedDataParallel; all ranks start from the first rank's parameters.

    The network is on `device`; `blank` are (2, 3, side, side) images of any content.
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
