"""Plot of mean log odds against training steps (the paper's Fig. 8)."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from headstart.figures.fonts import text_width
from headstart.figures.legends import add_legend, line_handles
from headstart.figures.logit_axes import limits
from headstart.figures.panels import panels
from headstart.figures.plot_tables import Series, Tables, optional, rows, series
from headstart.figures.style import SMALL, styled

__all__ = ["draw", "select"]

ROW = 9.0  # points of a number above another


def select(tables: Tables) -> pd.DataFrame:
    """Return the numbers of steps with a mean."""
    columns = ["setting", "model", "steps", "mean", "low", "high"]
    hint = "add results of one model trained for several numbers of steps"
    table = rows(tables, "convergence", "convergence", columns, known=["steps", "mean"], hint=hint)
    return table[table["steps"] > 0]


@styled
def draw(tables: Tables) -> Figure:
    """Draw mean log odds against steps, and mark the steps to 90 % of the largest odds.

    The marks are the geometric means, over the datasets of a model and setting, of the table
    `reached`. A line without such rows has no mark.

    Parameters
    ----------
    tables
        `convergence`, and `reached`.
    """
    table = select(tables)
    steps_reached = optional(tables, "reached", ["setting", "model", "steps", "at_first"])
    lines = list(series(table))
    handles = line_handles({line.label: line.mark for line in lines})
    sheet = panels(
        1,
        columns=1 if len(lines) > 3 else 2,
        height=2.7,
        legend=handles,
        note=caption(table, steps_reached),
    )
    axes = sheet.panels[0]
    axes.set_xscale("log")
    for line in lines:
        draw_line(axes, line)
    points = 72 * sheet.figure.get_figwidth() - 55, 2.7 * 72 - 45  # about the panel's size
    mark_steps(axes, lines, table, steps_reached, points)
    axes.xaxis.set_major_locator(LogLocator(10))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("Training steps (log scale)")
    axes.set_ylabel("Mean log odds of transfer accuracy")
    add_legend(sheet.figure, handles)
    return sheet.figure


def draw_line(axes: Axes, line: Series) -> None:
    """Draw a line with its band."""
    own, mark = line.table.sort_values("steps"), line.mark
    axes.fill_between(
        own["steps"], own["low"], own["high"], color=mark.colour, alpha=0.2, linewidth=0, zorder=1
    )
    axes.plot(
        own["steps"], own["mean"], marker=mark.shape, color=mark.colour, linestyle=mark.dashes,
        markeredgecolor="white", markeredgewidth=0.3, zorder=3, label=line.label,
    )  # fmt: skip


def mean_steps(line: Series, reached: pd.DataFrame) -> tuple[float, bool]:
    """Return the geometric mean of a line's steps to 90 % of the largest odds, NaN if unknown.

    And whether every curve was there at its smallest number of steps.
    """
    first = line.table.iloc[0]
    own = reached[(reached["setting"] == first["setting"]) & (reached["model"] == first["model"])]
    own = own[own["steps"].notna()]
    if own.empty:
        return np.nan, False
    steps = float(np.exp(np.log(own["steps"].to_numpy(dtype=float)).mean()))
    return steps, bool(own["at_first"].all())


def mark_steps(
    axes: Axes,
    lines: list[Series],
    table: pd.DataFrame,
    reached: pd.DataFrame,
    size: tuple[float, float],
) -> None:
    """Drop a thin line from each curve at its steps to 90 % of the largest odds.

    The numbers stand below the curves, on the left of their lines' ends, in a panel of about
    `size` points.
    """
    found = [(line, *mean_steps(line, reached)) for line in lines]
    found = [(line, steps, first) for line, steps, first in found if np.isfinite(steps)]
    bottom, top = limits(table[["mean", "low", "high"]].to_numpy(dtype=float), 0.1)
    low, high = limits(np.log(table["steps"].to_numpy(dtype=float)), 0.05, least=1.0)
    if not found:
        axes.set(xlim=(np.exp(low), np.exp(high)), ylim=(bottom, top))
        return
    steps = np.array([count for _, count, _ in found])
    numbers = [
        "\N{LESS-THAN OR EQUAL TO}" * bool(first) + f"{count:,.0f}" for _, count, first in found
    ]
    widths = np.array([text_width(text, SMALL) for text in numbers]) + 5
    # Room for the number that reaches farthest to the left.
    share = np.minimum(widths / size[0], 0.5)
    low = min(low, float(((np.log(steps) - share * high) / (1 - share)).min()))
    rows = number_rows((np.log(steps) - low) / (high - low) * size[0], widths)
    bottom -= (top - bottom) * min(ROW * (rows.max() + 1) / size[1], 0.6)
    axes.set(xlim=(np.exp(low), np.exp(high)), ylim=(bottom, top))
    for (line, step, _), text, row in zip(found, numbers, rows, strict=True):
        end = bottom + (top - bottom) * (3 + ROW * row) / size[1]
        drop(axes, line, step, end)
        axes.annotate(
            text, (step, end), xytext=(-2, 0), textcoords="offset points", ha="right",
            size=SMALL, zorder=5,
        )  # fmt: skip


def drop(axes: Axes, line: Series, step: float, end: float) -> None:
    """Draw a dotted line from the curve down to `end`."""
    own = line.table.sort_values("steps")
    level = float(np.interp(np.log(step), np.log(own["steps"].to_numpy(float)), own["mean"]))
    look: Any = {"color": line.mark.colour, "linewidth": 0.8, "linestyle": (0, (1, 1.5))}
    axes.vlines(step, end, level, zorder=2, **look)


def number_rows(places: NDArray[np.float64], widths: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return a row for each number, from the bottom, so that no line crosses it.

    A number stands on the left of its line, which ends at its row: lines that come down within a
    number's width have to end above it.

    Parameters
    ----------
    places
        (n,): of the lines, left to right, in points.
    widths
        (n,): of their numbers.

    Examples
    --------
    >>> number_rows(np.array([50.0, 60.0, 200.0]), np.array([20.0, 20.0, 20.0]))
    array([1, 0, 0])
    """
    rows = np.zeros(len(places), dtype=np.intp)
    done: list[int] = []
    for i in np.argsort(-places, kind="stable"):
        below = [rows[j] for j in done if places[j] - widths[j] < places[i]]
        rows[i] = max(below, default=-1) + 1
        done.append(int(i))
    return rows


def caption(table: pd.DataFrame, reached: pd.DataFrame) -> str:
    """Return how to read the figure."""
    band = " Bands: 95% confidence intervals." if table["low"].notna().any() else ""
    known = reached is not None and "steps" in reached and reached["steps"].notna().any()
    dotted = (
        "Dotted: steps to 90% of the largest odds (geometric mean over datasets)." if known else ""
    )
    return (dotted + band).strip()
