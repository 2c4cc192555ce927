"""Brings a rival to a certified gap, and stops its time.

A rival knows no duality gap. So its tolerance is lowered tenfold, each time from where it stands,
until the judge is content; the judge's time does not count.

NumPy and SciPy bring a BLAS each, whose threads may spin against each other: scikit-learn's L-BFGS
is ten times slower for it on small problems. So each rival runs with the threads that suit it best
(see `tuned`); ours runs with the default.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from threadpoolctl import ThreadpoolController

from headstart.probe import Softmax, certify
from problems import Problem, synthetic
from rivals import Rival

__all__ = ["Judge", "cold_points", "race", "settle"]

TOLERANCES = tuple(10.0**-i for i in range(4, 15))
# A solver that makes progress at the last tolerance leaves less than this part of the gap.
PROGRESS = 0.9
# A gap that needs no more points in a plot.
CLOSE_ENOUGH = 1e-9


class Judge:
    """Certifies anyone's solution in float64, on the device of the features."""

    def __init__(self, X: np.ndarray | torch.Tensor, y: np.ndarray) -> None:
        there = torch.as_tensor(X)
        self._X, self._mean = X, there.mean(dim=0, dtype=torch.float64)
        self._device = there.device
        self._loss = Softmax.of(torch.from_numpy(y).to(self._device), int(y.max()) + 1)

    def __call__(self, lam: float, coef: np.ndarray, bias: np.ndarray) -> float:
        """Relative gap of (K, d) weights and (K,) bias, with the bias that is best for them."""
        if not (np.isfinite(coef).all() and np.isfinite(bias).all()):
            return np.inf
        W, b = (
            torch.from_numpy(np.array(part, np.float64))[None].to(self._device)
            for part in (coef, bias)
        )
        lams = torch.tensor([lam], dtype=torch.float64, device=self._device)
        proof = certify(self._X, self._mean, self._loss, lams, W, b)
        return float(proof.gap / proof.objective)


def settle() -> None:
    """Let the threads of the library that ran last go to sleep: they spin against the next's."""
    time.sleep(0.3)


def thread_settings() -> dict[str, Callable[[], AbstractContextManager[Any]]]:
    """Settings of the threads that a rival may like."""
    controller = ThreadpoolController()
    paths = [library.filepath for library in controller.lib_controllers]
    of_scipy = controller.select(filepath=[path for path in paths if "scipy.libs" in path])
    return {
        "default": nullcontext,
        "scipy's BLAS on one": lambda: of_scipy.limit(limits=1),
        "all BLAS on one": lambda: controller.limit(limits=1, user_api="blas"),
        "all on one": lambda: controller.limit(limits=1),
    }


def tuned(rival: Rival, X: np.ndarray, y: np.ndarray, lam: float) -> str:
    """Warm a rival up, and find the setting of threads with which its first iterations are fastest.

    Its time counts for nobody.
    """
    rival.start(*synthetic(60, 8, 3))
    rival.run(1.0, 1e-4, 1.0)
    speeds: dict[str, float] = {}
    for name, threads in 2 * list(thread_settings().items()):
        rival.start(X, y)
        settle()
        with threads():
            start = time.perf_counter()
            done = rival.step(lam, 1e-12, 3 if "newton" in rival.name else 10)
            speed = done / (time.perf_counter() - start)
        speeds[name] = max(speed, speeds.get(name, 0.0))
    return max(speeds, key=lambda name: speeds[name])


@dataclass
class Lap:
    """What a rival did for one lambda."""

    lam: float
    gap: float = np.inf
    seconds: float = 0.0
    in_time: bool = True


def race(
    rival: Rival, problem: Problem, judge: Judge, target: float, budget: float
) -> dict[str, Any]:
    """Bring a rival to the target for each lambda in turn, while the budget of seconds lasts."""
    lambdas = problem.lambdas
    threads = tuned(rival, problem.X, problem.y, lambdas[len(lambdas) // 2])
    rival.start(problem.X, problem.y)
    laps: list[Lap] = []
    for lam in lambdas:
        left = budget - sum(lap.seconds for lap in laps)
        laps.append(_lap(rival, lam, judge, target, left, threads))
        if not laps[-1].in_time:
            break
    out = not laps[-1].in_time
    stalled = [lap for lap in laps if lap.in_time and lap.gap > target]
    return {
        "threads": threads,
        "seconds": round(sum(lap.seconds for lap in laps), 3),
        "finished": not out and not stalled,
        "lambdas_reached": sum(lap.gap <= target for lap in laps),
        "out_of_time_at": {"lambda": laps[-1].lam, "gap": laps[-1].gap} if out else None,
        "stalled_at": [{"lambda": lap.lam, "gap": lap.gap} for lap in stalled],
        "lambdas": [lap.lam for lap in laps],
        "lap_seconds": [round(lap.seconds, 3) for lap in laps],
        "gaps": [lap.gap for lap in laps],
    }


def _lap(rival: Rival, lam: float, judge: Judge, target: float, budget: float, threads: str) -> Lap:
    """Lower the tolerance until the gap is small enough, or the rival makes no more progress."""
    lap, rungs = Lap(lam), list(TOLERANCES)
    while rungs:
        tolerance = rungs.pop(0)
        last = lap.gap
        ended, seconds = _timed(rival, lam, tolerance, budget - lap.seconds, threads)
        lap.seconds += seconds
        lap.gap = judge(lam, *rival.solution())
        if lap.gap <= target:
            break
        if not ended or lap.seconds > budget:
            lap.in_time = False
            break
        if not rungs and lap.gap < PROGRESS * last:
            rungs = [tolerance]
    return lap


def _timed(
    rival: Rival, lam: float, tolerance: float, budget: float, threads: str
) -> tuple[bool, float]:
    """Run a rival; tell whether it ended by its own rule, and the seconds."""
    with thread_settings()[threads]():
        settle()
        start = time.perf_counter()
        ended = rival.run(lam, tolerance, budget)
        return ended, time.perf_counter() - start


def cold_points(
    rival: Rival,
    problem: Problem,
    lam: float,
    judge: Judge,
    tolerances: Sequence[float],
    budget: float,
) -> list[dict[str, float]]:
    """Seconds and gap of a fit from nothing at each tolerance, while the budget lasts."""
    threads = tuned(rival, problem.X, problem.y, lam)
    points: list[dict[str, float]] = []
    for tolerance in tolerances:
        left = budget - sum(point["seconds"] for point in points)
        if left <= 0 or (points and points[-1]["gap"] < CLOSE_ENOUGH):
            break
        rival.start(problem.X, problem.y)
        seconds = _timed(rival, lam, tolerance, left, threads)[1]
        gap = judge(lam, *rival.solution())
        points.append({"tolerance": tolerance, "seconds": seconds, "gap": gap})
    return points
