"""Several processes that train one network together, as torchrun starts them."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed

from headstart.errors import DeviceError, TrainingError

__all__ = ["Ranks"]

# What torchrun tells each process, and other launchers too.
TOLD = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
BACKENDS = {"cpu": "gloo", "cuda": "nccl"}


@dataclass(frozen=True)
class Ranks:
    """One process of those that train together, and which it is.

    Each takes its share of every batch; gradients are averaged, so that an update is that of the
    whole batch.

    Parameters
    ----------
    rank, size
        Which this is, from 0, and how many there are.
    local_rank, local_size
        The same among those of this machine: each has a GPU of its own.
    meeting
        Where they meet: an address as ``torch.distributed.init_process_group`` takes it.
    """

    rank: int
    size: int
    local_rank: int = 0
    local_size: int = 1
    meeting: str = "env://"

    @classmethod
    def from_environment(cls) -> "Ranks | None":
        """Read what torchrun tells this process; None if it was not started by torchrun."""
        if any(name not in os.environ for name in TOLD):
            return None
        rank, size, local_rank, local_size = (int(os.environ[name]) for name in TOLD[:4])
        return cls(rank, size, local_rank, local_size)

    @property
    def first(self) -> bool:
        """Whether this one writes and reports for all."""
        return self.rank == 0

    def place(self, device: torch.device) -> torch.device:
        """Give this rank's own device: its GPU, where the device is one.

        Raises
        ------
        DeviceError
            There are fewer GPUs than ranks on this machine.
        """
        if device.type != "cuda":
            return device
        n_gpus = torch.cuda.device_count()
        if self.local_size > n_gpus:
            raise DeviceError(
                f"expected a GPU for each of the {self.local_size} ranks of this machine, found "
                f"{n_gpus}: start torchrun with --nproc-per-node {n_gpus}, or take --device cpu"
            )
        return torch.device("cuda", self.local_rank)

    def share(self, batch_size: int) -> slice:
        """Give the places in a batch that are this rank's.

        Raises
        ------
        TrainingError
            Shares would not be of one size.
        """
        if batch_size % self.size:
            raise TrainingError(
                f"batch_size: expected a multiple of the {self.size} ranks, found {batch_size}"
            )
        n = batch_size // self.size
        return slice(self.rank * n, (self.rank + 1) * n)

    @contextmanager
    def joined(self, device: torch.device) -> Iterator[None]:
        """Be one of the ranks inside; all wait for each other first. Inside another, only wait.

        Parameters
        ----------
        device
            Of this rank: processors talk by gloo, GPUs by NCCL.
        """
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
        """Put the mean over ranks into these float32 tensors of one device, in place."""
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        distributed.all_reduce(flat)
        parts = torch.split(flat.div_(self.size), [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def check_same(self, step: int, device: torch.device) -> None:
        """Raise TrainingError unless all ranks go on from the same step."""
        found = torch.tensor([step, -step], device=device)
        distributed.all_reduce(found, distributed.ReduceOp.MAX)
        last, first = int(found[0]), -int(found[1])
        if first != last:
            raise TrainingError(
                f"expected ranks that go on from one checkpoint, found steps {first} to {last}: "
                "give all machines the same folder, or remove the checkpoints"
            )
