"""What the probe owes to bfloat16: with it, without it, and scikit-learn's Newton-CG, in turns.

The machine may be shared: each round runs all three, and the ratio is that of their medians.
Seconds of the processor, summed over threads, are printed, too; neighbours change them less. Run it
with OMP_NUM_THREADS=1.
"""

import os
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import cross_entropy

from headstart.devices import BFLOAT16
from headstart.probe import LogisticRegressionPath
from problems import TARGET, Problem
from race import TOLERANCES, settle

__all__ = ["alternate"]

ROUNDS = 3
# Relative gap of the objectives that all are compared with.
REFERENCE = 1e-7
FEW = 3

Solutions = list[tuple[np.ndarray, np.ndarray]]


def alternate(problem: Problem) -> dict[str, Any]:
    """Return seconds of each, and how far above the optimum the worst objective of each path is.

    scikit-learn runs in float32, each lambda from the last solution, with the largest tolerance
    that keeps its objectives within the target; finding it counts for nobody.
    """
    reference, _ = _ours(problem, "off", REFERENCE)
    optima = _objectives(problem, _solutions(reference))
    tolerance, excess = _tolerance(problem, optima)
    seconds: dict[str, list[tuple[float, float]]] = {"on": [], "off": [], "newton-cg": []}
    probes = {}
    for _ in range(ROUNDS):
        for setting in ("on", "off"):
            probes[setting], took = _ours(problem, setting, TARGET)
            seconds[setting].append(took)
        seconds["newton-cg"].append(_newton_cg(problem, tolerance)[1])
    median = {name: np.median(took, axis=0).tolist() for name, took in seconds.items()}
    rounds = {name: [wall for wall, _ in took] for name, took in seconds.items()}
    report: dict[str, Any] = {
        "shape": {"n": len(problem.X), "d": problem.X.shape[1], "K": problem.n_classes},
        "lambdas": list(problem.lambdas),
        "sklearn newton-cg float32": {
            "seconds": median["newton-cg"][0],
            "rounds": rounds["newton-cg"],
            "processor_seconds": median["newton-cg"][1],
            "tolerance": tolerance,
            "largest_excess": excess,
        },
    }
    for setting, probe in probes.items():
        report[f"bfloat16 {setting}"] = {
            "seconds": median[setting][0],
            "rounds": rounds[setting],
            "processor_seconds": median[setting][1],
            "passes": int(probe.passes_path_.sum()),
            "largest_gap": float(probe.gap_path_.max()),
            "largest_excess": _excess(_objectives(problem, _solutions(probe)), optima),
            "ratio": round(median["newton-cg"][0] / median[setting][0], 2),
            "processor_ratio": round(median["newton-cg"][1] / median[setting][1], 2),
        }
    return report


def _ours(
    problem: Problem, setting: str, tol: float
) -> tuple[LogisticRegressionPath, tuple[float, float]]:
    """Fit with bfloat16 "on" or "off"; give the probe, and the seconds as `_timed`."""
    before = os.environ.get(BFLOAT16)
    os.environ[BFLOAT16] = setting
    try:
        probe = LogisticRegressionPath(lambdas=problem.lambdas, tol=tol, device="cpu")
        return probe, _timed(lambda: probe.fit(problem.X, problem.y))
    finally:
        os.environ.pop(BFLOAT16)
        if before is not None:
            os.environ[BFLOAT16] = before


def _newton_cg(problem: Problem, tolerance: float) -> tuple[Solutions, tuple[float, float]]:
    """Fit the path with scikit-learn; give its solutions, and the seconds as `_timed`."""
    model = LogisticRegression(solver="newton-cg", tol=tolerance, max_iter=1000, warm_start=True)
    found: Solutions = []

    def fit() -> None:
        for lam in problem.lambdas:
            model.set_params(C=1 / lam).fit(problem.X, problem.y)
            found.append((model.coef_.copy(), model.intercept_.copy()))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seconds = _timed(fit)
    return found, seconds


def _tolerance(problem: Problem, optima: np.ndarray) -> tuple[float, float]:
    """Find the largest tolerance that is within the target, or else the best of a few."""
    tried = []
    for tolerance in TOLERANCES[:FEW]:
        excess = _excess(_objectives(problem, _newton_cg(problem, tolerance)[0]), optima)
        tried.append((excess, tolerance))
        if excess <= TARGET:
            break
    excess, tolerance = min(tried)
    return tolerance, excess


def _timed(fit: Callable[[], Any]) -> tuple[float, float]:
    """Return the seconds of a call, and those of the processor."""
    settle()
    start, processor = time.perf_counter(), time.process_time()
    fit()
    return time.perf_counter() - start, time.process_time() - processor


def _solutions(probe: LogisticRegressionPath) -> Solutions:
    return list(zip(probe.coef_path_, probe.intercept_path_, strict=True))


def _objectives(problem: Problem, solutions: Solutions) -> np.ndarray:
    """(L,) objectives in float64."""
    X, y = torch.from_numpy(problem.X).double(), torch.from_numpy(problem.y)
    found = []
    for lam, (coef, bias) in zip(problem.lambdas, solutions, strict=True):
        W, b = (torch.from_numpy(np.asarray(part, np.float64)) for part in (coef, bias))
        loss = cross_entropy(torch.addmm(b, X, W.T), y, reduction="sum")
        found.append(float(loss + lam / 2 * W.square().sum()))
    return np.array(found)


def _excess(objectives: np.ndarray, optima: np.ndarray) -> float:
    return float((objectives / optima - 1).max())
