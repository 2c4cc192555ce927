"""Does training in bfloat16 reach what float32 reaches, and how fast is it? As JSON.

    python benchmarks/precision.py [--record FILE] [--seeds 5] [--minutes 30] [--rounds 5]
                                   [--parts PART...]

Accuracy. Every candidate of a problem is trained twice for each seed, once in each precision: from
the same weights, on the same images in the same order, with the same crops and flips. The
difference in test accuracy is averaged over a problem's candidates, and intervals are over seeds: a
pair is the two runs of one seed. `seeds_spread` is how far float32 runs that differ in the seed
alone are apart (standard deviation): noise that no choice of precision gets rid of.

Speed. Images a second of training steps on one batch in memory (`finetune.py`), the two precisions
in turn; the ratio is taken within a round, and the reported one is the median over rounds.

Accuracies go to the record run by run: stopped at any moment, and after `--minutes` of the
processor's time, it goes on from there. They need no quiet machine; speeds do.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from features import machine
from finetune import CPU_CASES, GPU_CASES, fixed_batch, written
from headstart import datasets, models
from headstart.context import RunContext
from headstart.devices import require_fast, resolve_device
from headstart.files import replaced
from headstart.methods.training_images import TrainingImages, input_of
from headstart.spec import SGD, Model, TrainingConfig, Weights
from headstart.spec.setting import Precision
from headstart.training import decision_values, load_pixels, train
from headstart.training.pixels import ResidentPixels
from replay import interval
from search import opened

RESULTS = Path(__file__).parent / "results"
RESNET = f"{Path(__file__).parent / 'networks.py'}:resnet8?mean=0.5,0.5,0.5&std=0.25,0.25,0.25"
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
# The shorter side that images are kept at: none of these datasets' is larger.
KEPT = 256


@dataclass(frozen=True)
class Problem:
    """A network, how it is trained, and on what: a candidate for each learning rate."""

    network: str
    dataset: str
    pretrained: bool
    learning_rates: tuple[float, ...]
    steps: int
    batch_size: int
    weight_decay: float = 1e-4

    @property
    def name(self) -> str:
        """For a person."""
        network = "efficientnet_lite0, fine-tuned" if self.pretrained else "resnet8, from scratch"
        return f"{network}, {self.dataset}"

    def model(self, seed: int) -> Model:
        """Describe the network with the weights that a seed begins with."""
        found = models.find(self.network)
        if self.pretrained:
            return found
        return found.model_copy(update={"weights": Weights(locator=f"random:{seed}")})


LITE = "efficientnet_lite0?size=64"
SCRATCH, FINETUNED = (0.03, 0.3), (0.03,)
PROBLEMS = (
    Problem(f"{RESNET}&size=16", "digits", False, SCRATCH, 200, 32),
    Problem(f"{RESNET}&size=16", "patches", False, SCRATCH, 200, 64),
    Problem(f"{RESNET}&size=16", "charts", False, SCRATCH, 200, 64),
    Problem(LITE, "digits", True, FINETUNED, 50, 32),
    Problem(LITE, "charts", True, FINETUNED, 50, 32),
)


@cache
def examples_of(dataset: str, folder: Path) -> tuple[TrainingImages, np.ndarray]:
    """Read a dataset; its examples, and (n,) int64 labels of those of test."""
    noun, context = datasets.find(dataset), RunContext(device="cpu", cache=folder)
    splits = datasets.load(noun, 0, context.cache)
    return TrainingImages.read(noun, splits, KEPT, context), opened(noun, 0, context)


def accuracies(
    problem: Problem, rate: float, seed: int, folder: Path, device: torch.device
) -> dict[str, float]:
    """Train in both precisions; test accuracies in percent."""
    examples, test_labels = examples_of(problem.dataset, folder)
    model, rows = problem.model(seed), examples.train_rows
    pixels = load_pixels(examples.prepared.take(rows), device)
    of_test = load_pixels(examples.prepared.take(examples.test_rows), device)
    found: dict[str, float] = {}
    for precision in PRECISIONS:
        network = models.load(model, folder).with_head(examples.splits.n_classes, seed)
        config = TrainingConfig(
            steps=problem.steps,
            learning_rate=rate,
            optimizer=SGD(weight_decay=problem.weight_decay),
            batch_size=problem.batch_size,
            precision=precision,
            seed=seed,
        )
        input_spec, labels = input_of(model), examples.labels[rows]
        train(network, pixels, labels, input_spec, config, device=device)
        every = np.arange(len(of_test))
        values = decision_values(
            network, of_test, every, input_spec, "full", device=device, precision=precision
        )
        found[precision] = round(100 * float((values.argmax(axis=1) == test_labels).mean()), 3)
    return found


def planned(seeds: int) -> Iterator[tuple[Problem, float, int]]:
    """Return what is to be trained: all problems for one seed, then for the next."""
    for seed in range(seeds):
        for problem in PROBLEMS:
            for rate in problem.learning_rates:
                yield problem, rate, seed


def summary(runs: dict[str, dict[str, float]], seeds: int) -> dict[str, Any]:
    """Return how far the precisions are apart, in points of test accuracy, bf16 - fp32."""
    said, every = {}, []
    for problem in PROBLEMS:
        keys = [
            [key_of(problem, rate, seed) for rate in problem.learning_rates]
            for seed in range(seeds)
        ]
        whole = [each for each in keys if all(key in runs for key in each)]
        if not whole:
            continue
        points = np.array([[[runs[key][p] for p in PRECISIONS] for key in each] for each in whole])
        differences = (points[..., 1] - points[..., 0]).mean(axis=1)
        every += differences.tolist()
        fp32 = points[..., 0]
        said[problem.name] = {
            "fp32": round(float(fp32.mean()), 2),
            "bf16": round(float(points[..., 1].mean()), 2),
            "difference": interval(differences.tolist()),
            # Of one run, as the mean over candidates of their variances.
            "seeds_spread": round(float(np.sqrt(fp32.var(axis=0, ddof=1).mean())), 2)
            if len(whole) > 1
            else None,
        }
    return {"problems": said, "difference": interval(every)} if every else {}


def key_of(problem: Problem, rate: float, seed: int) -> str:
    """Name a pair of runs."""
    return f"{problem.name}, rate {rate:g}, seed {seed}"


def speeds(device: torch.device, n_rounds: int) -> dict[str, Any]:
    """Measure the steps of `finetune.py`'s networks in both precisions, in turn.

    Each round runs both, every other one in the other order.
    """
    cases = CPU_CASES if device.type == "cpu" else GPU_CASES
    said = {}
    for name, case in cases.items():
        with tempfile.TemporaryDirectory() as folder:
            pixels = ResidentPixels(written(case, Path(folder))[1], device)
        ways = {
            p: partial(fixed_batch, replace(case, precision=p), pixels, device) for p in PRECISIONS
        }
        rounds = []
        for number in range(n_rounds):
            order = PRECISIONS if number % 2 else PRECISIONS[::-1]
            rounds.append({precision: ways[precision]() for precision in order})
            print(name, rounds[-1], file=sys.stderr)
        said[name] = {
            "side": case.side,
            "batch_size": case.batch_size,
            "images_per_second": {
                p: round(statistics.median(r[p] for r in rounds), 1) for p in PRECISIONS
            },
            "bf16_over_fp32": round(statistics.median(r["bf16"] / r["fp32"] for r in rounds), 3),
        }
    return said


def main() -> None:
    """Measure what is not recorded, and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--record", type=Path, help="goes on from this file")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5, help="of speeds")
    parser.add_argument("--minutes", type=float, default=30.0, help="of the processor's time")
    parser.add_argument(
        "--parts", nargs="+", choices=("accuracy", "speed"), default=["accuracy", "speed"]
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    arguments = parser.parse_args()
    device = resolve_device(arguments.device)
    require_fast("bf16", device)
    record: Path = arguments.record or RESULTS / f"precision-{device.type}.json"
    report = json.loads(record.read_text()) if record.exists() else {"runs": {}}
    report = {"benchmark": "precision", **report}
    runs = report.pop("runs")

    def keep() -> None:
        report.update(accuracy=summary(runs, arguments.seeds), runs=runs)
        with replaced(record) as temporary:
            temporary.write_text(json.dumps(report, indent=1) + "\n")

    if "speed" in arguments.parts:
        report.update(machine=machine(device), speed=speeds(device, arguments.rounds))
        keep()
    with tempfile.TemporaryDirectory() as folder:
        for problem, rate, seed in planned(arguments.seeds):
            key = key_of(problem, rate, seed)
            if key in runs or "accuracy" not in arguments.parts:
                continue
            if time.process_time() > 60 * arguments.minutes:
                print("out of time: run it again to go on", file=sys.stderr)
                break
            runs[key] = accuracies(problem, rate, seed, Path(folder), device)
            print(key, runs[key], round(time.process_time()), file=sys.stderr)
            keep()
    print(json.dumps({k: v for k, v in report.items() if k != "runs"}, indent=1))


if __name__ == "__main__":
    main()
