"""How long the whole analysis of a full table takes, and how it grows, printed as JSON.

    python benchmarks/analysis.py [--out FILE] [--rounds 3] [--quick]

* `analyze`: seconds of `hs.analyze("kornblith2019")`: 16 models x 12 datasets x 3 settings, all
  tables, 10,000 bootstrap resamples; the median of rounds in one process, the first (which imports)
  apart, and its peak memory. The limit is 5 seconds.
* `intervals`: one setting's Pearson intervals (all, two groups, each dataset), all at once as the
  analysis has them (Fisher's z with a jackknife), and the rival, one BCa bootstrap at a time by
  `scipy.stats.bootstrap`: seconds, ratio, and the largest difference between the ends.
* `growth`: seconds (and those of the processor, which other processes do not lengthen) and peak
  memory of `hs.analyze` of tables of other sizes, each in a process of its own, imports included,
  and megabytes of JSON. Limits: 400 models x 5 datasets in 5 seconds, 1,556 x 5 in 30 seconds and
  1 GB, on two cores.
* `command`: seconds of the process `headstart analyze kornblith2019`.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import expit, logit

import headstart as hs
from headstart.stats import correlation_interval

RESAMPLES = 10_000
LIMIT_SECONDS = 5.0
SETTING = "random_init"
# Models and datasets; the limits are seconds.
SIZES = ((50, 5), (100, 5), (200, 5), (400, 5), (800, 5), (1556, 5), (48, 21), (48, 84), (200, 40))
SIZE_LIMITS = {(400, 5): 5.0, (1556, 5): 30.0}
LIMIT_MB = 1024


def timed(function: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def scopes(analysis: hs.Analysis) -> tuple[np.ndarray, np.ndarray]:
    """(16,) upstream logit and (16, 15) log odds of one setting: all, groups, each dataset."""
    cells = analysis.cells[analysis.cells.setting == SETTING]
    wide = cells.pivot(index="model", columns="dataset", values="log_odds")
    upstream = cells.groupby("model").upstream_accuracy.first()[wide.index]
    groups = analysis.options["groups"]
    columns = [wide.mean(axis=1)]
    columns += [
        wide[[d for d in wide if groups[d] == g]].mean(axis=1) for g in set(groups.values())
    ]
    columns += [wide[d] for d in wide]
    return logit(upstream.to_numpy()), np.stack(columns, axis=1)


def by_jackknife(x: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """(2, S) the intervals of the analysis, all scopes at once."""
    found = correlation_interval("pearson", x, Y, np.arange(len(x)))
    return np.stack([found.low, found.high])


def by_scipy(x: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """(2, S) BCa intervals, one scope after the other."""

    def correlation(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.asarray(stats.pearsonr(a, b, axis=axis)[0])

    intervals = []
    for y in Y.T:
        outcome = stats.bootstrap(
            (x, y), correlation, paired=True, n_resamples=RESAMPLES, method="BCa", rng=0
        )
        intervals.append(outcome.confidence_interval)
    return np.array(intervals).T


def table(n_models: int, n_datasets: int) -> pd.DataFrame:
    """A setting in which families, upstream accuracy and datasets all have a say."""
    random = np.random.default_rng(0)
    model, dataset = (codes.ravel() for codes in np.indices((n_models, n_datasets)))
    upstream = random.normal(1.2, 0.5, n_models)
    slope, level = random.normal(1, 0.3, n_datasets), random.normal(0.5, 1, n_datasets)
    score = level[dataset] + slope[dataset] * upstream[model] + random.normal(0, 0.1, len(model))
    return pd.DataFrame({
        "model": [f"net{i:04d}" for i in model], "family": [f"family{i // 4}" for i in model],
        "dataset": [f"set{i:03d}" for i in dataset], "setting": "linear",
        "upstream_accuracy": expit(upstream[model]), "accuracy": expit(score), "n_test": 10_000,
    })  # fmt: skip


def growth(sizes: Iterable[tuple[int, int]]) -> list[dict[str, object]]:
    """Seconds, peak memory and size of the JSON for each size of table."""
    script = str(Path(__file__).with_name("analyze_in_process.py"))
    found: list[dict[str, object]] = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            source, out = Path(folder, "table.csv"), Path(folder, "out.json")
            table(*size).to_csv(source, index=False)
            command = [sys.executable, script, str(source), str(out)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            seconds, processor_seconds, peak = json.loads(done.stdout.splitlines()[-1])
            row: dict[str, object] = {
                "models": size[0], "datasets": size[1], "seconds": seconds,
                "processor_seconds": processor_seconds, "peak_mb": peak,
                "json_mb": round(out.stat().st_size / 1e6, 1),
            }  # fmt: skip
            if size in SIZE_LIMITS:
                row |= {"limit_seconds": SIZE_LIMITS[size], "limit_mb": LIMIT_MB}
            found.append(row)
    return found


def processor() -> str:
    """Name the processor, as Linux knows it."""
    info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in info.read_text().splitlines()
             if line.startswith("model name")] if info.exists() else []  # fmt: skip
    return names[0] if names else platform.processor() or platform.machine()


def measure(rounds: int, sizes: Iterable[tuple[int, int]]) -> dict[str, object]:
    """Time everything."""
    first = timed(lambda: hs.analyze("kornblith2019", resamples=RESAMPLES))
    whole = [timed(lambda: hs.analyze("kornblith2019", resamples=RESAMPLES)) for _ in range(rounds)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    x, Y = scopes(hs.analyze("kornblith2019", resamples=100))
    ours = statistics.median(timed(lambda: by_jackknife(x, Y)) for _ in range(rounds))
    theirs = statistics.median(timed(lambda: by_scipy(x, Y)) for _ in range(rounds))
    command = [sys.executable, "-m", "headstart", "analyze", "kornblith2019"]
    process = timed(lambda: subprocess.run(command, check=True, capture_output=True))
    return {
        "analyze": {
            "seconds": round(statistics.median(whole), 2),
            "seconds_first": round(first, 2),
            "limit_seconds": LIMIT_SECONDS,
            "peak_mb": round(peak),
        },
        "intervals": {
            "number": Y.shape[1],
            "seconds": round(ours, 5),
            "seconds_scipy": round(theirs, 3),
            "times_faster": round(theirs / ours, 1),
            "largest_difference": round(
                float(np.abs(by_jackknife(x, Y) - by_scipy(x, Y)).max()), 3
            ),
        },
        "growth": growth(sizes),
        "command": {"seconds": round(process, 2)},
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="also write the JSON to this file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="of growth the smallest table alone")
    arguments = parser.parse_args()
    report = {
        "benchmark": "analysis",
        "cells": "16 models x 12 datasets x 3 settings",
        "resamples": RESAMPLES,
        "machine": f"{processor()}, {os.cpu_count()} cores",
        **measure(arguments.rounds, SIZES[:1] if arguments.quick else SIZES),
    }
    text = json.dumps(report, indent=1)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
