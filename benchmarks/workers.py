"""Four linear trials on worker processes: time of one process over that of two workers.

    python benchmarks/workers.py [--limit 1000] [--rounds 3] [--write]

Four trials of one network on four datasets of equal size, features not computed yet, in turn on:
this process with all threads, one worker with one thread, two workers with one thread each.
Starting the workers, which import torch, is left out: they run one small trial before.
"""

import argparse
import json
import os
import tempfile
import time
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
WAYS = ("this process", "1 worker of 1 thread", "2 workers of 1 thread")


def seconds(way: str, limit: int) -> float:
    """Return how long the four trials take, with a new cache."""
    study = Study(models=[NETWORK], datasets=DATASETS, limit=limit, settings=["linear"])
    first = Study(models=[NETWORK], datasets=["digits"], limit=20, seeds=[7, 8])
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HEADSTART_CACHE"] = f"{folder}/cache"
        store = ResultStore(Path(folder) / "r.db", create=True)
        context = RunContext(device="cpu", cache=Path(folder) / "cache")
        if way == WAYS[0]:
            return timed(first, study, store, context, None)
        with Processes(int(way[0]), threads=1) as executor:
            return timed(first, study, store, context, executor)


def timed(first: Study, study: Study, store: ResultStore, context: RunContext, on: Any) -> float:
    """Warm up, then run the study."""
    run_study(first.trials(), store, context, on)
    trials = study.trials()
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
    arguments = parser.parse_args()
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
        "2 workers over this process with all threads": round(two / times[WAYS[0]], 3),
    }
    print(json.dumps(found, indent=1))
    if arguments.write:
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
