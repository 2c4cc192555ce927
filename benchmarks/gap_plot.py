"""Certified gap against time, of fits from nothing to a series of tolerances.

    python benchmarks/gap_plot.py benchmarks/results/probe-cpu.json docs/images/probe.png

draws what `probe.py --plot` measured and stored, without measuring it again.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np

from headstart.figures import save
from headstart.figures.figure import Figure
from headstart.figures.figure_data import FigureData
from headstart.figures.panel import LegendEntry, Panel, PlotArea
from headstart.figures.style import Style, style_at
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
# Places of their colours and shapes in the style of all figures.
PLACES = {
    OURS: 1,
    "sklearn lbfgs": 0,
    "sklearn newton-cg": 5,
    "sklearnex": 3,
    "torch": 4,
    "scipy": 2,
}
NAMES = {
    "sklearn": "scikit-learn",
    "sklearnex": "Intel's extension",
    "scipy": "SciPy",
    "torch": "PyTorch",
    "lbfgs": "L-BFGS",
    "newton-cg": "Newton-CG",
}
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


def draw(record: Mapping[str, Any], shape: Mapping[str, int], path: Path) -> None:
    """Draw the best gap that each has reached after so many seconds.

    `record` has the case, lambda, and the series of `gap_against_time`, `shape` the numbers of
    examples n, features d and classes K.
    """
    lines = {name: reached(points) for name, points in record["series"].items()}
    lines = {name: line for name, line in lines.items() if len(line)}
    figure = Figure(
        "gap",
        "How near the optimum, after how long",
        f"{record['case']}: {shape['n']:,} examples, {shape['d']:,} features, {shape['K']} classes,"
        f" \N{GREEK SMALL LETTER LAMDA} = {record['lambda']:g}, from a cold start. Each point is "
        "one fit to one tolerance; lower and further left is better. Dashed: float32.",
        [Panel(lambda place: chart(lines, place), "", "Gap against seconds", height=330)],
        FigureData({}),
        [LegendEntry(style(name), "line") for name in lines],
        wide=True,
    )
    save(figure, path.with_suffix(""), [path.suffix[1:]])


def chart(lines: Mapping[str, np.ndarray], _: PlotArea) -> Any:
    """Draw one line per solver, ours above the others."""
    logarithm = alt.Scale(type="log", nice=False, padding=12)
    x = alt.X("seconds:Q", title="Seconds of fitting (log scale)", scale=logarithm,
              axis=alt.Axis(format="~g", tickCount=5, grid=False))  # fmt: skip
    y = alt.Y("gap:Q", title="Certified relative gap (log scale)", scale=logarithm,
              axis=alt.Axis(format=".0e", tickCount=7))  # fmt: skip
    layers = []
    for name in sorted(lines, key=lambda name: name == OURS):
        look, wide = style(name), name == OURS
        rows = [{"seconds": seconds, "gap": gap} for seconds, gap in lines[name].tolist()]
        points = alt.Chart(alt.InlineData(values=rows)).encode(x, y)
        layers += [
            points.mark_line(color=look.colour, strokeWidth=2.8 if wide else 1.5,
                             strokeDash=list(look.dashes) or [1, 0]),
            points.mark_point(color=look.colour, shape=look.shape, filled=True, opacity=1,
                              size=70 if wide else 34),
        ]  # fmt: skip
    return alt.layer(*layers)


def style(name: str) -> Style:
    """Return the style of a solver: one for both of its precisions, dashed for float32."""
    place = next(
        place for start, place in PLACES.items() if name.startswith(f"{start} ") or name == start
    )
    title = " ".join(NAMES.get(word, word) for word in name.split())
    return style_at(title, place, int(name.endswith("float32")))


def reached(points: Sequence[dict[str, float]]) -> np.ndarray:
    """(m, 2) seconds and gaps of the points that no faster one surpasses."""
    best: list[tuple[float, float]] = []
    for seconds, gap in sorted((point["seconds"], point["gap"]) for point in points):
        if np.isfinite(gap) and gap > 0 and (not best or gap < best[-1][1]):
            best.append((seconds, gap))
    return np.array(best)


def main() -> None:
    """Draw the series of a stored record."""
    source, target = map(Path, sys.argv[1:])
    record = json.loads(source.read_text())
    gaps = record["gap_against_time"]
    draw(gaps, record["cases"][gaps["case"]]["shape"], target)


if __name__ == "__main__":
    main()
