"""One of two processes that train together: ``python ranked.py RANK FOLDER``."""

import os
import sys
from itertools import islice
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

import training_runs
from headstart.errors import TrainingError
from headstart.training import Ranks
from training_runs import CONFIG, CPU, SomePixels, configured, small_network
from watched import StopError


class Unused(nn.Module):
    """Has a parameter that no logit depends on."""

    def __init__(self) -> None:
        super().__init__()
        self.network, self.unused = small_network(0.0), nn.Parameter(torch.ones(3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(images)


class Interrupted(SomePixels):
    """Images that end after five batches."""

    def batches(self, plan):
        yield from islice(super().batches(plan), 5)
        raise StopError


def other_tensors(rank: int) -> nn.Module:
    """Give a network that is another one on the second rank."""
    network = small_network(0.0)
    if rank:
        with torch.no_grad():
            network[0].weight.zero_()
    return network


def main(rank: int, folder: Path) -> None:
    ranks, told = Ranks(rank, 2, rank, 2, f"file://{folder}/meeting"), []

    def run(name: str, network: nn.Module, pixels=None, made=CONFIG, **options) -> None:
        options |= {"ranks": ranks, "on_progress": told.append}
        trained = training_runs.run(network, made, pixels=pixels, **options)
        state = {name: t.contiguous().clone() for name, t in network.state_dict().items()}
        state["losses"] = torch.tensor(trained.losses, dtype=torch.float64)
        state["resumed_at"] = torch.tensor(trained.resumed_at or 0)
        save_file(state, folder / f"{name}.{rank}")

    with ranks.joined(CPU):
        run("norm", small_network(0.0))
        run("plain", small_network(0.0, norm=False))
        run("parts", small_network(0.0), made=configured(micro_batch=2))
        run("unused", Unused())
        run("first", other_tensors(rank))
        seen = []
        dropping = small_network(0.5)
        dropping[9].register_forward_pre_hook(lambda module, given: seen.append(given[0].detach()))
        run("dropout", dropping, made=configured(steps=1))
        save_file({"seen": seen[-1].clone()}, folder / f"seen.{rank}")
        run("at_once", small_network(0.3), checkpoint=folder / "whole", save_seconds=0)
        halves = {"checkpoint": folder / "halves", "save_seconds": 0}
        try:
            run("never", small_network(0.3), Interrupted(), **halves)
        except StopError:
            run("resumed", small_network(0.3), **halves)
        # Only rank 0 has the checkpoint that another folder would hold.
        try:
            run("apart", small_network(0.3), checkpoint=folder / ("whole" if rank else "none"))
        except TrainingError as error:
            steps = f"steps {error.values['first']} to {error.values['last']}"
            (folder / f"error.{rank}").write_text(f"{error.code}: {steps}")
    assert bool(told) == (rank == 0)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
    # A thread of gloo may still run when Python ends, which then aborts: all is written by now.
    os._exit(0)
