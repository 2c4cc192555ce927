"""Four linear trials on worker processes: time of one process over that of two workers.

    python benchmarks/workers.py [--limit 1000] [--rounds 3] [--write]

Four trials of one network on four datasets of equal size, features not computed yet, in turn on:
this process with all threads, one worker with one thread, two workers with one thread each, and two
processes of one thread that know nothing of each other and have two of the trials each: what the
machine gives to two that compute at the same time, which no scheduling of workers can better.
Starting the workers, which import torch, is left out: they run one small trial before.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

from features import machine
from headstart.context import RunContext
from headstart.executors import Processes
from headstart.store import ResultStore
from headstart.study import Study, run_study

RESULTS = Path(__file__).parent / "results" / "workers-cpu.json"
DATASETS = ("digits", "glyphs", "patches", "charts")
NETWORK = "efficientnet_lite0"
APART = "2 processes apart"
WAYS = ("this process", "1 worker of 1 thread", "2 workers of 1 thread", APART)


def seconds(way: str, limit: int) -> float:
    """Return how long the four trials take, with a new cache."""
    if way == APART:
        return apart(limit)
    with prepared(DATASETS, limit) as run:
        if way == WAYS[0]:
            return run(None)
        with Processes(int(way[0]), threads=1) as executor:
            return run(executor)


def apart(limit: int) -> float:
    """Return how long the slower of two processes takes, which have half of the datasets each."""
    halves = DATASETS[: len(DATASETS) // 2], DATASETS[len(DATASETS) // 2 :]
    command = [sys.executable, __file__, "--limit", str(limit), "--half"]
    processes = [
        subprocess.Popen(
            [*command, *half], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        for half in halves
    ]  # fmt: skip
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return max(float(process.communicate()[0]) for process in processes)


def half(datasets: Sequence[str], limit: int) -> None:
    """Run trials of some datasets here when a line arrives, and print how long it took."""
    with prepared(datasets, limit) as run:
        print(run(None, lambda: print("ready", flush=True) or input()), flush=True)


@contextmanager
def prepared(datasets: Sequence[str], limit: int) -> Iterator[Callable[..., float]]:
    """Yield what times the trials on an executor, with a store and a cache of their own."""
    study = Study(models=[NETWORK], datasets=list(datasets), limit=limit, settings=["linear"])
    first = Study(models=[NETWORK], datasets=["digits"], limit=20, seeds=[7, 8])
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HEADSTART_CACHE"] = f"{folder}/cache"
        store = ResultStore(Path(folder) / "r.db", create=True)
        context = RunContext(device="cpu", cache=Path(folder) / "cache")
        yield partial(timed, first, study, store, context)


def timed(
    first: Study,
    study: Study,
    store: ResultStore,
    context: RunContext,
    on: Any,
    wait: Callable[[], object] = lambda: None,
) -> float:
    """Warm up, wait, then run the study."""
    run_study(first.trials(), store, context, on)
    trials = study.trials()
    wait()
    began = time.perf_counter()
    outcome = run_study(trials, store, context, on)
    assert outcome.measured == len(trials), outcome.failures
    return time.perf_counter() - began


def main() -> None:
    """Run each way in turn, some rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    parser.add_argument("--half", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.half:
        half(arguments.half, arguments.limit)
        return
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(arguments.rounds):
        for way in WAYS:
            taken[way].append(seconds(way, arguments.limit))
    times = {way: round(median(some), 2) for way, some in taken.items()}
    two = times[WAYS[2]]
    found = {
        "machine": machine(torch.device("cpu")),
        "network": NETWORK,
        "datasets": DATASETS,
        "images of each split": arguments.limit,
        "seconds": times,
        "2 workers over 1 worker": round(two / times[WAYS[1]], 3),
        "2 processes apart over 1 worker": round(times[APART] / times[WAYS[1]], 3),
        "2 workers over this process with all threads": round(two / times[WAYS[0]], 3),
    }
    print(json.dumps(found, indent=1))
    if arguments.write:
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
