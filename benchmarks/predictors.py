"""What each transfer score costs beside the probe, printed as JSON.

    python benchmarks/predictors.py [--out FILE] [--cases spectrum flowers]

Seconds of the processor, in one process: of `LogisticRegressionPath` on all training images, all 45
lambdas, and of each registered score on the images that it sees in a study
(`headstart.study.feature_scores`: 500, or ten per class), and on all of them. `ratio` is a score's
seconds by the probe's, the goal under 0.1. Source predictions are drawn at random, free.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from headstart.predictors import transfer_score
from headstart.probe import LogisticRegressionPath
from headstart.registry import PREDICTORS
from headstart.study.feature_scores import balanced_rows
from problems import CASES, Problem, make_problem

SOURCE_CLASSES = 1000
REPEATS = 2


def seconds(task: Callable[[], Any]) -> float:
    """Return the least seconds of the processor of a few runs."""
    found = []
    for _ in range(REPEATS):
        start = time.process_time()
        task()
        found.append(time.process_time() - start)
    return min(found)


def compare(problem: Problem) -> dict[str, Any]:
    """Time the probe and all scores on one case."""
    X, y = problem.X.astype(np.float64), problem.y
    rows = balanced_rows(y, problem.n_classes)
    random = np.random.default_rng(0)
    source = random.dirichlet(np.full(SOURCE_CLASSES, 0.01), len(X))
    LogisticRegressionPath(lambdas=[1.0], device="cpu").fit(problem.X, y)
    probe = seconds(lambda: LogisticRegressionPath(device="cpu").fit(problem.X, y))
    scores = {}
    for name in PREDICTORS:
        seen = seconds(partial(transfer_score, name, X[rows], y[rows], source[rows]))
        every = seconds(partial(transfer_score, name, X, y, source))
        scores[name] = {
            "seconds": round(seen, 4),
            "ratio": round(seen / probe, 4),
            "seconds_on_all_images": round(every, 4),
            "ratio_on_all_images": round(every / probe, 4),
        }
    return {
        "shape": {"n": len(X), "d": X.shape[1], "K": problem.n_classes, "seen": len(rows)},
        "probe_seconds": round(probe, 3),
        "scores": scores,
    }


def main() -> None:
    """Run the cases and print or write what they gave."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=["spectrum", "flowers"])
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    found = {
        "machine": f"{platform.machine()}, {platform.system()}",
        "cases": {name: compare(make_problem(name)) for name in chosen.cases},
    }
    text = json.dumps(found, indent=1)
    print(text)
    if chosen.out:
        chosen.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
