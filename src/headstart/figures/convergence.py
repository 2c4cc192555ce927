"""How many steps of training it takes: mean log odds against steps (the paper's Fig. 8)."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import ArrayLike

from headstart.figures.axes import limits
from headstart.figures.layout import panels
from headstart.figures.legends import add_legend, line_handles
from headstart.figures.series import Series, series
from headstart.figures.style import SMALL, styled
from headstart.figures.tables import Tables, rows

__all__ = ["draw", "select", "steps_to_share"]


def select(tables: Tables) -> pd.DataFrame:
    """Numbers of steps with a mean."""
    columns = ["setting", "model", "steps", "mean", "low", "high"]
    hint = "it takes results of one model trained for several numbers of steps"
    table = rows(tables, "convergence", "convergence", columns, known=["steps", "mean"], hint=hint)
    return table[table["steps"] > 0]


def steps_to_share(steps: ArrayLike, mean: ArrayLike, share: float = 0.9) -> float:
    """Steps after which the odds first are `share` of the largest odds.

    Between two numbers of steps the mean log odds are taken as linear in the logarithm of the
    steps.

    Parameters
    ----------
    steps
        (n,), ascending, > 0.
    mean
        (n,), mean log odds; the odds are their exponential.
    share
        In (0, 1].

    Returns
    -------
    float
        The first of `steps` where its odds are large enough already.

    Examples
    --------
    >>> round(steps_to_share([100, 10_000], [0.0, -2 * np.log(0.9)], share=0.9))
    1000
    """
    steps, mean = np.asarray(steps, dtype=float), np.asarray(mean, dtype=float)
    target = mean.max() + np.log(share)
    after = int(np.argmax(mean >= target))
    if after == 0:
        return float(steps[0])
    pair = slice(after - 1, after + 1)
    return float(np.exp(np.interp(target, mean[pair], np.log(steps[pair]))))


@styled
def draw(tables: Tables) -> Figure:
    """Draw mean log odds against steps, and mark where 90% of the largest odds are reached.

    Parameters
    ----------
    tables
        `convergence`.
    """
    table = select(tables)
    lines = list(series(table))
    handles = line_handles({line.label: line.mark for line in lines})
    sheet = panels(
        1,
        columns=1 if len(lines) > 3 else 2,
        height=2.7,
        legend=handles,
        note=reading(table),
    )
    axes = sheet.panels[0]
    known = table[["mean", "low", "high"]].to_numpy(dtype=float)
    bottom, top = limits(known, 0.1)
    axes.set_ylim(bottom, top)
    for index, line in enumerate(lines):
        draw_line(axes, line)
        mark_steps(axes, line, index)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(10))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("Training steps (log scale)")
    axes.set_ylabel("Mean log odds of transfer accuracy")
    add_legend(sheet.figure, handles)
    return sheet.figure


def draw_line(axes: Axes, line: Series) -> None:
    """Line with its band."""
    own, mark = line.table.sort_values("steps"), line.mark
    axes.fill_between(
        own["steps"], own["low"], own["high"], color=mark.colour, alpha=0.2, linewidth=0, zorder=1
    )
    axes.plot(
        own["steps"], own["mean"], marker=mark.shape, color=mark.colour, linestyle=mark.dashes,
        markeredgecolor="white", markeredgewidth=0.3, zorder=3, label=line.label,
    )  # fmt: skip


def mark_steps(axes: Axes, line: Series, index: int) -> None:
    """Drop a thin line from where 90% of the largest odds are reached, with the number of steps.

    Numbers of several lines stand above each other.
    """
    own = line.table.sort_values("steps")
    steps = steps_to_share(own["steps"], own["mean"])
    level = float(own["mean"].max() + np.log(0.9))
    look: Any = {
        "color": line.mark.colour,
        "linewidth": 0.8,
        "linestyle": (0, (1, 1.5)),
        "zorder": 2,
    }
    axes.vlines(steps, axes.get_ylim()[0], level, **look)
    axes.hlines(level, own["steps"].min(), steps, **look)
    reached = "\N{LESS-THAN OR EQUAL TO}" if steps == own["steps"].min() else ""
    axes.annotate(
        f"{reached}{steps:,.0f}", (steps, 0), xycoords=("data", "axes fraction"),
        xytext=(-2, 3 + 9 * index), textcoords="offset points", ha="right", size=SMALL, zorder=5,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
    )  # fmt: skip


def reading(table: pd.DataFrame) -> str:
    """Say how to read the figure."""
    band = " Bands: 95% intervals." if table["low"].notna().any() else ""
    return f"Dotted: steps to 90% of a line's largest odds, interpolated in log steps.{band}"
