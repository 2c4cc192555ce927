"""Overhead of a run: trials whose work is nothing, in this process, on processes, on Ray.

    python benchmarks/scheduler.py [--trials 100000] [--workers 2] [--executor processes] [--write]

Trials are of a fifth as many models, with five seeds. Each is claimed, opened, measured (one
candidate), selected, tested, scored and stored, with predictions of 20 test images; the method does
nothing. The executor `none` is this process.
Reported: milliseconds of the coordinating process per trial, wall and CPU; its CPU time and memory
along the way; its CPU time per item of the engine alone, of a function that does nothing (with Ray,
that is Ray's own client); and how many other programs wanted a CPU. Two versions are compared by
the same file: `--note before` with the older one's `src` in PYTHONPATH, then the newer, in turn.
"""

import argparse
import json
import os
import tempfile
import time
from collections import deque
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from features import machine
from headstart import datasets, models
from headstart.context import ProgressReporter, RunContext
from headstart.executors import executor_of
from headstart.methods import ResourceEstimate, TestScores
from headstart.registry import METHODS
from headstart.spec import Candidate, Measurement, Model, Selection, Setting, Trial
from headstart.store import ResultStore
from headstart.study import run_study

# Items by which an engine alone is measured.
ALONE = 1000
SEEDS = 5
# When CPU time and memory are looked at, beside the end.
LOOKS = 500, 1000, 2000, 5000, 10_000, 20_000, 50_000
RESULTS = Path(__file__).parent / "results" / "scheduler-cpu.json"


def named(model: Model, number: int) -> Model:
    """Return a model as another one, with weights of its own."""
    name = f"model-{number:05}"
    weights = model.weights.model_copy(update={"sha256": sha256(name.encode()).hexdigest()})
    return model.model_copy(update={"name": name, "weights": weights})


class NothingSetting(Setting):
    """No option."""

    pretrained: ClassVar[bool] = True
    chosen: ClassVar[tuple[str, ...]] = ("value",)

    name: Literal["nothing"] = "nothing"
    protocol: str = "none"


class Nothing:
    """A method whose work is nothing."""

    name, setting, on_features = "nothing", NothingSetting, False
    protocols: ClassVar[dict[str, Any]] = {"none": {}}

    def needs(self, _: Trial, __: Any = ()) -> ResourceEstimate:
        """Return no needs."""
        return ResourceEstimate(False, False, "", "", 0, 0)

    def open(self, _: Trial, __: RunContext, splits: Any) -> "OpenNothing":
        """Open a trial."""
        return OpenNothing(splits)


class OpenNothing:
    """An open trial whose work is nothing."""

    def __init__(self, splits: Any) -> None:
        self.splits = splits

    def candidates(self, measured: Any) -> tuple[Candidate, ...]:
        """Return one candidate."""
        return () if measured else (Candidate(),)

    def measure(self, candidate: Candidate) -> Measurement:
        """Return a measurement that nothing was measured for."""
        curve = ({"value": 1.0, "accuracy": 0.5},)
        return Measurement(candidate=candidate, examples=self.splits.revision, curve=curve)

    def select(self, measured: Any) -> Selection:
        """Return the only value."""
        (found,) = measured
        return Selection(
            examples=found.examples, chosen={"value": 1.0}, validation_curve=found.curve
        )

    def test(self, _: Selection) -> TestScores:
        """Return the same scores for all images."""
        n = len(self.splits.test)
        scores = np.zeros((n, self.splits.n_classes), dtype=np.float32)
        scores[:, 0] = 1
        return TestScores(np.arange(n), scores, {})


NOTHING = Nothing()
# Workers import this file, too.
METHODS.plugins["nothing"] = METHODS.plugins["linear"]
METHODS._loaded["nothing"] = NOTHING


class Along(ProgressReporter):
    """Looks at CPU time and memory of this process as trials finish."""

    def __init__(self, n: int) -> None:
        self.n, self.done, self.began = n, 0, time.process_time()
        self.seen: dict[int, tuple[float, float]] = {}

    def trial_finished(self) -> None:
        """Count a trial."""
        self.done += 1
        if self.done == self.n or self.done in LOOKS:
            self.seen[self.done] = time.process_time() - self.began, resident()
            print(self.done, list(self.report().values())[-1], flush=True)

    def report(self) -> dict[str, dict[str, float]]:
        """Return milliseconds of CPU per trial since the look before, and megabytes, per look."""
        found, before, spent = {}, 0, 0.0
        for done, (used, memory) in self.seen.items():
            each = 1000 * (used - spent) / (done - before)
            found[f"{done}"] = {"CPU ms per trial": round(each, 3), "MB": round(memory / 1e6, 1)}
            before, spent = done, used
        return found


def resident() -> float:
    """Return the bytes of memory of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def nothing(item: int, _: Any) -> int:
    """Return an item as it is."""
    return item


def engine_alone(executor: Any) -> float:
    """Return the CPU milliseconds of this process per item of a function that does nothing."""
    # The first ones start the workers.
    deque(executor.map(nothing, range(10 * executor.workers)), maxlen=0)
    began = time.process_time()
    for item in range(ALONE):
        deque(executor.map(nothing, [item]), maxlen=0)
    return round(1000 * (time.process_time() - began) / ALONE, 3)


def main() -> None:
    """Run the trials; add the figures to the file of results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--executor", default="processes", help="none, processes, ray, slurm")
    parser.add_argument("--folder", type=Path, help="where the store lies meanwhile")
    parser.add_argument("--note", help="of what is measured: a version, other programs that run")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    arguments = parser.parse_args()
    model = models.find("efficientnet_lite0")
    dataset = datasets.find("digits", limit=20)
    trials = [
        Trial(model=named(model, n), dataset=dataset, setting=NothingSetting(), seed=seed)
        for n in range(arguments.trials // SEEDS)
        for seed in range(SEEDS)
    ]
    along, alone, load = Along(len(trials)), 0.0, [round(os.getloadavg()[0], 1)]
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        store = ResultStore(Path(folder) / "headstart.db", create=True)
        context = RunContext(device="cpu", reporter=along)
        here = arguments.executor == "none"
        workers, name = (0, None) if here else (arguments.workers, arguments.executor)
        with executor_of(workers, "cpu", name) as executor:
            if executor is not None:
                alone = engine_alone(executor)
            began, along.began = time.perf_counter(), time.process_time()
            outcome = run_study(trials, store, context, executor)
            wall, used = time.perf_counter() - began, time.process_time() - along.began
    found = {
        "trials": len(outcome.results),
        "failures": len(outcome.failures),
        "workers": workers,
        "executor": arguments.executor,
        "wall ms per trial": round(1000 * wall / len(trials), 3),
        "coordinator CPU ms per trial": round(1000 * used / len(trials), 3),
        "engine alone, CPU ms per item": alone,
        "along the way": along.report(),
        "MB in the end": round(resident() / 1e6, 1),
        "load average, before and after": [*load, round(os.getloadavg()[0], 1)],
    }
    print(json.dumps(found, indent=1))
    for failure in outcome.failures[:3]:
        print(failure.error)
    if arguments.write and not outcome.failures:
        known = (
            json.loads(RESULTS.read_text())
            if RESULTS.exists()
            else {"machine": machine(torch.device("cpu"))}
        )
        note = f", {arguments.note}" if arguments.note else ""
        known[f"{arguments.executor}, {len(trials)} trials{note}"] = found
        RESULTS.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    # Workers on Ray find the method by the name of this module.
    here = str(Path(__file__).parent)
    os.environ["PYTHONPATH"] = os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])
    from scheduler import main as run

    run()
