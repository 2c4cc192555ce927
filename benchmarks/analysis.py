"""How long the whole analysis of a full table takes, printed as JSON.

    python benchmarks/analysis.py [--out FILE] [--rounds 3]

* `analyze`: seconds of `hs.analyze("kornblith2019")`: 16 models x 12 datasets x 3 settings, all
  tables, 10,000 bootstrap resamples; the median of rounds in one process, the first (which imports)
  apart, and its peak memory. The limit is 5 seconds.
* `bootstrap`: the rival, one BCa interval of a correlation at a time by `scipy.stats.bootstrap`,
  vectorised, with as many resamples. One setting's Pearson intervals (all, two groups, each
  dataset) by both, seconds and ratio, and the largest difference between the ends.
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
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import stats
from scipy.special import logit

import headstart as hs
from headstart.stats import bca_interval, jackknife_weights, pearson, resample_weights

RESAMPLES = 10_000
LIMIT_SECONDS = 5.0
SETTING = "random_init"


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


def by_weights(x: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """(2, S) BCa intervals, all scopes at once."""
    weights = resample_weights(len(x), RESAMPLES, np.random.default_rng(0))
    one, all_but_one = np.ones((1, len(x))), jackknife_weights(len(x))
    return np.stack(
        bca_interval(pearson(weights, x, Y), pearson(one, x, Y)[0], pearson(all_but_one, x, Y))
    )


def by_scipy(x: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """(2, S) BCa intervals, one scope after the other."""

    def correlation(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
        return stats.pearsonr(a, b, axis=axis)[0]

    intervals = []
    for y in Y.T:
        outcome = stats.bootstrap(
            (x, y), correlation, paired=True, n_resamples=RESAMPLES, method="BCa", rng=0
        )
        intervals.append(outcome.confidence_interval)
    return np.array(intervals).T


def measure(rounds: int) -> dict[str, object]:
    """Time everything."""
    first = timed(lambda: hs.analyze("kornblith2019", resamples=RESAMPLES))
    whole = [timed(lambda: hs.analyze("kornblith2019", resamples=RESAMPLES)) for _ in range(rounds)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    x, Y = scopes(hs.analyze("kornblith2019", resamples=100))
    ours = statistics.median(timed(lambda: by_weights(x, Y)) for _ in range(rounds))
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
        "bootstrap": {
            "intervals": Y.shape[1],
            "seconds": round(ours, 3),
            "seconds_scipy": round(theirs, 3),
            "times_faster": round(theirs / ours, 1),
            "largest_difference": round(float(np.abs(by_weights(x, Y) - by_scipy(x, Y)).max()), 3),
        },
        "command": {"seconds": round(process, 2)},
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="also write the JSON to this file")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    report = {
        "benchmark": "analysis",
        "cells": "16 models x 12 datasets x 3 settings",
        "resamples": RESAMPLES,
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        **measure(arguments.rounds),
    }
    text = json.dumps(report, indent=1)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
