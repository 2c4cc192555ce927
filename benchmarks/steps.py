"""What makes many small training runs faster than one after another? Ratios in one run, as JSON.

    python benchmarks/steps.py [--out FILE] [--rounds 3] [--device cpu|cuda] [--networks NAME...]

Four candidates, each with a learning rate and a decay of its own, of a network whose steps are so
small that starting operations costs as much as they do:

* one after another  `headstart.training.train`: what a grid does without workers;
* bare loop          the same steps without checkpoints, watching and checks: its limit;
* stacked            all four as one: torch.func.stack_module_state and vmap, one set of views;
* two processes      `headstart.executors.Processes`, as with --workers 2;
* compiled           torch.compile of the network in the bare loop; compile time is separate.

With --device cuda also, in the bare loop, what saves a GPU the launches. These two have never been
run: no GPU was at hand.

* reduce-overhead    torch.compile with that mode, which replays CUDA graphs of both passes;
* captured, captured stacked
                     the whole step, update included, captured as one CUDA graph and replayed.

Views are made anew at every step, as `train` makes them. Each round runs all ways one after
another, each round from another one on; ratios are taken within a round, and the reported one is
the median over rounds. The first round warms up. `last_loss` shows that all train the same.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state
from torch.nn.functional import cross_entropy

from features import machine
from headstart.devices import resolve_device
from headstart.executors import Processes, Send, visible_gpus
from headstart.spec import SGD, TrainingConfig
from headstart.training import InputSpec, cosine, train
from headstart.training.augmentation import rows_of_step, training_views
from headstart.training.forward import exact_float32
from headstart.training.loop import decaying, make_optimizer
from headstart.training.pixels import ResidentPixels
from networks import N_CLASSES, convnet, resnet8

# Learning rate, and coefficient of the decay.
CANDIDATES = ((0.01, 0.0), (0.03, 1e-4), (0.1, 1e-4), (0.1, 1e-3))
N_IMAGES = 512
WORKERS = 2
MOMENTUM = 0.9
# Steps before a CUDA graph is captured, which find algorithms and memory.
BEFORE_CAPTURE = 3

# Views, labels, and the share of the learning rate that the schedule leaves -> the loss.
Step = Callable[[Tensor, Tensor, float], Tensor]


@dataclass(frozen=True)
class Case:
    """A network, and how long it is trained on images of a few pixels more than it takes."""

    make: Callable[[], nn.Module]
    side: int
    batch_size: int
    steps: int

    @property
    def input_spec(self) -> InputSpec:
        """Input of the network."""
        return InputSpec(self.side, (0.5,) * 3, (0.25,) * 3, "bilinear")

    def config(self, candidate: tuple[float, float], steps: int = 0) -> TrainingConfig:
        """A run of a candidate."""
        rate, decay = candidate
        return TrainingConfig(
            steps=steps or self.steps,
            learning_rate=rate,
            optimizer=SGD(weight_decay=decay),
            batch_size=self.batch_size,
        )

    def network(self, device: torch.device) -> nn.Module:
        """Begin: the same weights each time."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            made = self.make()
        return made.to(device).to(memory_format=torch.channels_last).train()


CASES = {
    "convnet": Case(convnet, 8, 32, 120),
    "resnet8": Case(resnet8, 16, 32, 50),
}


class RandomImages:
    """Coloured noise, brighter for each class."""

    def __init__(self, side: int) -> None:
        random = np.random.RandomState(0)
        self.images = random.randint(0, 160, (N_IMAGES, side, side, 3)).astype(np.uint8)
        self.images += (9 * labels_of_all()).astype(np.uint8)[:, None, None, None]

    def __len__(self) -> int:
        return N_IMAGES

    def pixels(self, row: int) -> np.ndarray:
        return np.asarray(self.images[row])


def labels_of_all() -> np.ndarray:
    """(n,) int64."""
    return np.arange(N_IMAGES, dtype=np.int64) % N_CLASSES


@cache
def pixels_of(name: str, device: torch.device) -> ResidentPixels:
    """Put a case's images on the device."""
    return ResidentPixels(RandomImages(CASES[name].side + 8), device)


def trained(name: str, candidate: tuple[float, float], device: torch.device) -> float:
    """Train as a trial does; the last loss."""
    case, pixels = CASES[name], pixels_of(name, device)
    network, config = case.network(device), case.config(candidate)
    return train(network, pixels, labels_of_all(), case.input_spec, config, device=device).losses[
        -1
    ]


def in_worker(item: tuple[str, tuple[float, float], str, int], _: Send) -> float:
    """Train in a process that has its share of the threads."""
    name, candidate, device, threads = item
    # torch is imported with this script, before the worker knows its number of threads.
    torch.set_num_threads(threads)
    return trained(name, candidate, torch.device(device))


def looped(name: str, step: Step, device: torch.device, steps: int = 0) -> Tensor:
    """Make views and take a step of them, as many as the case has unless told; the last loss."""
    case, pixels = CASES[name], pixels_of(name, device)
    labels, loss = torch.from_numpy(labels_of_all()).to(device), torch.zeros(())
    config = case.config(CANDIDATES[0])
    for number in range(steps or case.steps):
        rows = rows_of_step(config.seed, number, case.batch_size, N_IMAGES)
        views = training_views(pixels.batch(rows), case.input_spec, config, number)
        of_rows = labels[torch.from_numpy(rows).to(device)]
        loss = step(views, of_rows, cosine(1.0, number, case.steps))
    return loss


def plain(
    network: nn.Module, candidate: tuple[float, float], case: Case, forward: Any = None
) -> Step:
    """Take torch's own steps; `forward` stands for the network."""
    config = case.config(candidate)
    optimizer = make_optimizer(network, config)

    def step(views: Tensor, labels: Tensor, share: float) -> Tensor:
        for group in optimizer.param_groups:
            group["lr"] = share * config.learning_rate
        optimizer.zero_grad(set_to_none=True)
        loss = cross_entropy((forward or network)(views).float(), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss.detach()

    return step


class Stacked:
    """Candidates of one network trained as one; with one candidate, that network alone."""

    def __init__(self, case: Case, device: torch.device, n: int, first: int = 0) -> None:
        networks, chosen = [case.network(device) for _ in range(n)], CANDIDATES[first : first + n]
        # Pooling of channels-last tensors falls back to one candidate after another.
        networks = [network.to(memory_format=torch.contiguous_format) for network in networks]
        self.parameters, self.buffers = stack_module_state(networks)
        self.network, self.n = deepcopy(networks[0]).to("meta"), n
        values = list(self.parameters.values())
        shrinking = decaying(dict(networks[0].named_parameters()), "weights")
        self.momenta = [torch.zeros_like(p) for p in values]
        self.peaks = torch.tensor([rate for rate, _ in chosen], device=device)
        self.rates = self.peaks.clone()
        weight_decays = torch.tensor([decay for _, decay in chosen], device=device)

        def beside(numbers: Tensor, parameter: Tensor) -> Tensor:
            return numbers.view(n, *[1] * (parameter.ndim - 1))

        self.rate_of = [beside(self.rates, p) for p in values]
        self.decay_of = [
            beside(weight_decays if name in shrinking else torch.zeros_like(weight_decays), p)
            for name, p in self.parameters.items()
        ]

    def __call__(self, views: Tensor, labels: Tensor, share: float) -> Tensor:
        """Take a step of the schedule; the mean loss of each, (n,)."""
        torch.mul(self.peaks, share, out=self.rates)
        return self.update(views, labels)

    def update(self, views: Tensor, labels: Tensor) -> Tensor:
        """Take a step at the rates as they are. Nesterov's, as torch's SGD takes it."""

        def logits(parameters: Any, buffers: Any) -> Tensor:
            found: Tensor = functional_call(self.network, (parameters, buffers), (views,))
            return found

        views = views.contiguous()
        every = torch.vmap(logits)(self.parameters, self.buffers)
        losses = cross_entropy(every.flatten(0, 1), labels.repeat(self.n), reduction="none").view(
            self.n, -1
        )
        values = list(self.parameters.values())
        # Of a sum of losses of which each knows its own candidate's parameters alone.
        gradients = torch.autograd.grad(losses.mean(dim=1).sum(), values)
        with torch.no_grad():
            decayed = torch._foreach_mul(values, self.decay_of)
            torch._foreach_add_(decayed, gradients)
            torch._foreach_mul_(self.momenta, MOMENTUM)
            torch._foreach_add_(self.momenta, decayed)
            torch._foreach_add_(decayed, self.momenta, alpha=MOMENTUM)
            torch._foreach_mul_(decayed, self.rate_of)
            torch._foreach_sub_(values, decayed)
        return losses.detach().mean(dim=1)


class Captured:
    """A step of `Stacked` as one CUDA graph."""

    def __init__(self, stacked: Stacked, case: Case, device: torch.device) -> None:
        self.stacked = stacked
        shape = (case.batch_size, 3, case.side, case.side)
        self.views = torch.zeros(shape, device=device).to(memory_format=torch.channels_last)
        self.labels = torch.zeros(case.batch_size, dtype=torch.int64, device=device)
        stacked.rates.zero_()  # so that what warms up trains nothing
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(BEFORE_CAPTURE):
                stacked.update(self.views, self.labels)
        torch.cuda.current_stream().wait_stream(aside)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.loss = stacked.update(self.views, self.labels)
        for momentum in stacked.momenta:
            momentum.zero_()

    def __call__(self, views: Tensor, labels: Tensor, share: float) -> Tensor:
        self.views.copy_(views)
        self.labels.copy_(labels)
        torch.mul(self.stacked.peaks, share, out=self.stacked.rates)
        self.graph.replay()
        return self.loss.clone()


class Compiled:
    """A compiled network, which candidates take in turn; and how long compiling took."""

    def __init__(self, name: str, device: torch.device, mode: str | None = None) -> None:
        self.name, self.device = name, device
        self.network = CASES[name].network(device)
        self.start = deepcopy(self.network.state_dict())
        self.forward = torch.compile(self.network, mode=mode)
        step = self.step_of(0)
        self.seconds = timed(lambda: [looped(name, step, device, steps=1)], device)[0]

    def step_of(self, number: int) -> Step:
        """Begin a candidate anew."""
        self.network.load_state_dict(self.start)
        return plain(self.network, CANDIDATES[number], CASES[self.name], self.forward)


def timed(
    measure: Callable[[], Sequence[float | Tensor]], device: torch.device
) -> tuple[float, list[float]]:
    """Seconds it took, and the candidates' last losses."""
    start = time.perf_counter()
    losses = measure()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - start
    return seconds, torch.cat([torch.as_tensor(x).reshape(-1).cpu() for x in losses]).tolist()


def ways_of(
    name: str, device: torch.device, processes: Processes, compiled: dict[str, Compiled]
) -> dict[str, Callable[[], Sequence[float | Tensor]]]:
    """Return the ways to train the candidates of a case."""
    case = CASES[name]

    def looping(step: Callable[[int], Step]) -> Callable[[], Sequence[Tensor]]:
        return lambda: [looped(name, step(i), device) for i in range(len(CANDIDATES))]

    def beside() -> Sequence[float]:
        threads = max(1, (os.cpu_count() or 1) // WORKERS)
        items = [(name, candidate, str(device), threads) for candidate in CANDIDATES]
        found = dict(processes.map(in_worker, items))
        return [found[item] for item in items]

    def stacked(n: int, first: int = 0) -> Stacked:
        return Stacked(case, device, n, first)

    n = len(CANDIDATES)
    ways: dict[str, Callable[[], Sequence[float | Tensor]]] = {
        "one after another": lambda: [trained(name, each, device) for each in CANDIDATES],
        "bare loop": looping(lambda i: plain(case.network(device), CANDIDATES[i], case)),
        "stacked": lambda: [looped(name, stacked(n), device)],
        "two processes": beside,
    }
    for way, network in compiled.items():
        ways[way] = looping(network.step_of)
    if device.type == "cuda":
        ways["captured"] = looping(lambda i: Captured(stacked(1, i), case, device))
        ways["captured stacked"] = lambda: [
            looped(name, Captured(stacked(n), case, device), device)
        ]
    return ways


def measured(name: str, device: torch.device, rounds: int, processes: Processes) -> dict[str, Any]:
    """Measure the ways for one network, interleaved."""
    case = CASES[name]
    modes = {"compiled": None} | (
        {"reduce-overhead": "reduce-overhead"} if device.type == "cuda" else {}
    )
    with exact_float32(device):
        compiled = {way: Compiled(name, device, mode) for way, mode in modes.items()}
        ways = ways_of(name, device, processes, compiled)
        seconds, losses = [], {}
        for number in range(rounds + 1):
            turn = number % len(ways)
            found = {}
            for way in [*ways][turn:] + [*ways][:turn]:
                found[way], losses[way] = timed(ways[way], device)
            print(name, {way: round(found[way], 2) for way in ways}, file=sys.stderr)
            seconds += [found] if number else []
    images = len(CANDIDATES) * case.steps * case.batch_size
    first = "one after another"
    return {
        "side": case.side,
        "batch_size": case.batch_size,
        "steps": case.steps,
        "images_per_second": {
            way: round(images / statistics.median(r[way] for r in seconds)) for way in ways
        },
        "over_one_after_another": {
            way: round(statistics.median(r[first] / r[way] for r in seconds), 3)
            for way in ways
            if way != first
        },
        "compile_seconds": {way: round(each.seconds, 1) for way, each in compiled.items()},
        "last_loss": {way: [round(loss, 4) for loss in losses[way]] for way in ways},
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="also write the JSON to this file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--networks", nargs="+", choices=list(CASES), default=list(CASES))
    arguments = parser.parse_args()
    device = resolve_device(arguments.device)
    gpus = visible_gpus(arguments.device)
    with tempfile.TemporaryDirectory() as folder, Processes(WORKERS, gpus) as processes:
        # What was compiled before would not be compiled again.
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        found = {
            name: measured(name, device, arguments.rounds, processes) for name in arguments.networks
        }
    report = {
        "benchmark": "steps",
        "machine": machine(device),
        "rounds": arguments.rounds,
        "candidates": CANDIDATES,
        "networks": found,
    }
    text = json.dumps(report, indent=1)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
