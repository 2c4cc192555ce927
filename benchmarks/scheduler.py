"""Overhead of a run: trials whose work is nothing, in this process, on processes, on Ray.

    python benchmarks/scheduler.py [--trials 100000] [--workers 2] [--executor processes]

Each trial is claimed, opened, measured (one candidate), selected, tested, scored and stored, with
predictions of 20 test images; the method does nothing. The executor `none` is this process.
Reported: milliseconds of the coordinating process per trial, wall and CPU, and its memory after a
quarter of the trials, half of them, all of them, and when all results were read back. CPU time is
that of a machine on which other programs ran, where the file of results says so.
"""

import argparse
import json
import os
import resource
import tempfile
import time
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
from headstart.spec import Candidate, Measurement, Selection, Setting, Trial
from headstart.store import ResultStore
from headstart.study import run_study

RESULTS = Path(__file__).parent / "results" / "scheduler-cpu.json"


class NothingSetting(Setting):
    """No option."""

    pretrained: ClassVar[bool] = False
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


class Memory(ProgressReporter):
    """Looks at the memory of this process as trials finish."""

    def __init__(self, n: int) -> None:
        self.n, self.done, self.seen = n, 0, dict[str, float]()

    def trial_finished(self) -> None:
        """Count a trial."""
        self.done += 1
        if self.done in (self.n // 4, self.n // 2, self.n):
            self.seen[f"MB after {self.done}"] = round(resident() / 1e6, 1)


def resident() -> float:
    """Return the bytes of memory of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def seconds_of(process: int) -> float:
    """Return the CPU seconds of this process, without its children."""
    used = resource.getrusage(process)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Run the trials; add the figures to the file of results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--executor", default="processes", help="none, processes, ray, slurm")
    parser.add_argument("--busy", action="store_true", help="note that other programs run")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    arguments = parser.parse_args()
    model = models.find("efficientnet_lite0")
    dataset = datasets.find("digits", limit=20)
    trials = [
        Trial(model=model, dataset=dataset, setting=NothingSetting(), seed=seed)
        for seed in range(arguments.trials)
    ]
    memory = Memory(len(trials))
    with tempfile.TemporaryDirectory() as folder:
        store = ResultStore(Path(folder) / "headstart.db", create=True)
        context = RunContext(device="cpu", reporter=memory)
        here = arguments.executor == "none"
        workers, name = (0, None) if here else (arguments.workers, arguments.executor)
        with executor_of(workers, "cpu", name) as executor:
            began, used = time.perf_counter(), seconds_of(resource.RUSAGE_SELF)
            outcome = run_study(trials, store, context, executor)
            wall = time.perf_counter() - began
            used = seconds_of(resource.RUSAGE_SELF) - used
    found = {
        "trials": len(outcome.results),
        "failures": len(outcome.failures),
        "workers": workers,
        "executor": arguments.executor,
        "wall ms per trial": round(1000 * wall / len(trials), 3),
        "coordinator CPU ms per trial": round(1000 * used / len(trials), 3),
        **memory.seen,
        "MB in the end": round(resident() / 1e6, 1),
        "machine was": "busy" if arguments.busy else "quiet",
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
        known[f"{arguments.executor}, {len(trials)} trials"] = found
        RESULTS.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    # Workers on Ray find the method by the name of this module.
    here = str(Path(__file__).parent)
    os.environ["PYTHONPATH"] = os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])
    from scheduler import main as run

    run()
