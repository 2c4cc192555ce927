"""Certified gap against time, of fits from nothing to a series of tolerances."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from headstart.probe import LogisticRegressionPath
from problems import Problem, synthetic
from race import Judge, cold_points
from rivals import RIVALS

__all__ = ["LAMBDA", "draw", "gap_against_time"]

LAMBDA = 1.0
BUDGET = 60.0
OUR_TOLERANCES = tuple(10.0**-i for i in range(1, 9))
TOLERANCES = tuple(10 ** (-i / 2) for i in range(2, 21))
OURS = "headstart"
COLOURS = {
    OURS: "#c1121f",
    "sklearn lbfgs": "#1d5fa8",
    "sklearn newton-cg": "#3a9bb8",
    "sklearnex": "#6a4c93",
    "torch": "#b8640a",
    "scipy": "#4a7c3a",
}
NAMES = {
    "sklearn": "scikit-learn",
    "sklearnex": "Intel's extension",
    "scipy": "SciPy",
    "torch": "PyTorch",
    "lbfgs": "L-BFGS",
    "newton-cg": "Newton-CG",
}
# Of labels, as a part of the axes' height.
LEAST_DISTANCE = 0.052

Fit = Callable[..., tuple[LogisticRegressionPath, float]]
Series = dict[str, list[dict[str, float]]]


def gap_against_time(problem: Problem, fit_ours: Fit, names: Sequence[str]) -> Series:
    """Measure points for ours and for each rival whose library is there."""
    judge = Judge(problem.X, problem.y)
    fit_ours(*synthetic(60, 8, 3))
    series: Series = {OURS: []}
    for tolerance in OUR_TOLERANCES:
        probe, seconds = fit_ours(problem.X, problem.y, [LAMBDA], tolerance)
        gap = judge(LAMBDA, probe.coef_, probe.intercept_)
        series[OURS].append({"tolerance": tolerance, "seconds": seconds, "gap": gap})
    for name in names:
        print(f"gap against time: {name}", file=sys.stderr, flush=True)
        try:
            rival = RIVALS[name]()
        except ImportError:
            continue
        series[name] = cold_points(rival, problem, LAMBDA, judge, TOLERANCES, BUDGET)
    return series


def draw(problem: Problem, series: Series, path: Path) -> None:
    """Draw the best gap that each has reached after so many seconds."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    with mpl.rc_context({"font.size": 10, "font.family": "sans-serif"}):
        figure, axes = plt.subplots(figsize=(8, 5.2))
        figure.subplots_adjust(left=0.095, right=0.675, top=0.85, bottom=0.115)
        lines = {name: reached(points) for name, points in series.items()}
        lines = {name: line for name, line in lines.items() if len(line)}
        for name, line in lines.items():
            style = {"lw": 2.6, "ms": 6, "zorder": 5} if name == OURS else {"lw": 1.4, "ms": 3.5}
            dash = "--" if name.endswith("float32") else "-"
            axes.loglog(*line.T, dash, marker="o", color=colour(name), **style)
        _furnish(axes, problem)
        _label(axes, lines)
        figure.savefig(path, dpi=200)
        plt.close(figure)


def reached(points: Sequence[dict[str, float]]) -> np.ndarray:
    """(m, 2) seconds and gaps of the points that no faster one surpasses."""
    best: list[tuple[float, float]] = []
    for seconds, gap in sorted((point["seconds"], point["gap"]) for point in points):
        if np.isfinite(gap) and gap > 0 and (not best or gap < best[-1][1]):
            best.append((seconds, gap))
    return np.array(best)


def colour(name: str) -> str:
    """Find the colour of a solver: one for both of its precisions."""
    return next(
        value for start, value in COLOURS.items() if name.startswith(start + " ") or name == start
    )


def title(name: str) -> str:
    """Name a solver for people."""
    return " ".join(NAMES.get(word, word) for word in name.split())


def _furnish(axes: Any, problem: Problem) -> None:
    n, d = problem.X.shape
    axes.set_xlabel("seconds of fitting (log scale)")
    axes.set_ylabel("certified relative gap (log scale)")
    axes.figure.text(
        0.012, 0.945, "How near the optimum, after how long", fontsize=13, fontweight="bold"
    )
    subtitle = (
        f"{problem.name}: {n:,} examples, {d:,} features, {problem.n_classes} classes, "
        f"λ = {LAMBDA:g}, from a cold start; dashed: float32"
    )
    axes.figure.text(0.012, 0.89, subtitle, color="#444444")
    axes.grid(True, which="major", color="#e4e4e4", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(which="minor", length=0)
    axes.xaxis.set_major_formatter("{x:g}")


def _label(axes: Any, lines: dict[str, np.ndarray]) -> None:
    """Name each line beside the axes, at the height of its end as far as there is room."""
    # Limits are found when it is drawn.
    axes.figure.canvas.draw()
    to_axes = axes.transData + axes.transAxes.inverted()
    ends = {name: to_axes.transform(line[-1]) for name, line in lines.items()}
    order = sorted(ends, key=lambda name: ends[name][1])
    heights = spread([ends[name][1] for name in order])
    for name, height in zip(order, heights, strict=True):
        axes.annotate(
            title(name),
            xy=lines[name][-1],
            xytext=(1.04, height),
            textcoords="axes fraction",
            color=colour(name),
            va="center",
            fontweight="bold" if name == OURS else "normal",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour(name),
                "lw": 0.6,
                "alpha": 0.5,
                "shrinkA": 2,
                "shrinkB": 4,
                "relpos": (0, 0.5),
            },
        )


def spread(heights: Sequence[float]) -> np.ndarray:
    """Move increasing heights apart, no more than needed and all within 0 to 1."""
    places = np.arange(len(heights)) * LEAST_DISTANCE
    # As far apart as asked: what is left is to keep their order, each block at its mean.
    free = np.array(heights) - places
    blocks: list[list[float]] = []
    for height in free:
        blocks.append([height])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    moved = np.concatenate([np.full(len(block), np.mean(block)) for block in blocks])
    return np.clip(moved, 0.02, 0.98 - places[-1]) + places
