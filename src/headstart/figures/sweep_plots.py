"""Sweeps: training configurations (Figs. 3 and 5), steps (Fig. 8), examples per class (Fig. 9)."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from headstart.figures.logit_axes import coordinates, limits, percent_axis
from headstart.figures.panels import add_legend, line_handles, panels
from headstart.figures.plot_tables import Series, Tables, optional, rows, series
from headstart.figures.style import SMALL, MarkerStyle, marker_styles, styled
from headstart.figures.text_fitting import fitted, text_width
from headstart.predictors import UPSTREAM_ACCURACY, Predictor
from headstart.spec.display_names import in_order, setting_label

__all__ = [
    "draw_ablation",
    "draw_convergence",
    "draw_sizes",
    "select_ablation",
    "select_convergence",
    "select_sizes",
]


def select_ablation(tables: Tables, predictor: Predictor = UPSTREAM_ACCURACY) -> pd.DataFrame:
    """Return the configurations with a mean."""
    columns = ["setting", "model", "configuration", "position", "mean", "se", predictor.column]
    hint = "add a column configuration: how each model was trained"
    return rows(tables, "ablation", "ablation", columns, known=["position", "mean"], hint=hint)


@styled
def draw_ablation(tables: Tables, predictor: Predictor = UPSTREAM_ACCURACY) -> Figure:
    """Draw mean log odds per training configuration, one panel per setting, upstream below.

    Parameters
    ----------
    tables
        `ablation`.
    """
    table = select_ablation(tables, predictor)
    settings, styles = in_order(table["setting"]), marker_styles(table["model"])
    known = table.dropna(subset=predictor.column)
    handles = line_handles(styles)
    bars = bool(table["se"].notna().any())
    sheet = panels(
        len(settings) + (not known.empty),
        columns=1,
        height=1.55,
        legend=handles,
        note="Error bars: one standard error over datasets." if bars else "",
    )
    for setting, axes in zip(settings, sheet.panels, strict=False):
        draw_configurations(axes, table[table["setting"] == setting], styles, "mean")
        axes.set_title(setting_label(setting))
        axes.set_ylabel("Mean log odds")
    if not known.empty:
        axes = sheet.panels[-1]
        once = known.groupby(["model", "position"], as_index=False)[predictor.column].mean()
        draw_configurations(
            axes,
            once.assign(mean=coordinates(predictor, once[predictor.column])),
            styles,
            "upstream",
        )
        default = predictor.column == UPSTREAM_ACCURACY.column
        axes.set_title("Upstream" if default else predictor.label)
        axes.set_ylabel("Accuracy (%)" if default else predictor.axis_label)
        if predictor.scale.name == "proportion":
            percent_axis(axes.yaxis)
    name_configurations(sheet.panels, table)
    add_legend(sheet.figure, handles)
    return sheet.figure


def draw_configurations(
    axes: Axes, table: pd.DataFrame, styles: dict[str, MarkerStyle], what: str
) -> None:
    """Draw one line per model over the positions of the configurations."""
    for model, mark in styles.items():
        own = table[table["model"] == model].sort_values("position")
        if own.empty:
            continue
        se = own["se"].to_numpy(dtype=float) if what == "mean" else np.zeros(len(own))
        axes.errorbar(
            own["position"], own["mean"], np.nan_to_num(se), marker=mark.shape, color=mark.colour,
            linestyle=mark.dashes, markeredgecolor="white", markeredgewidth=0.3, elinewidth=0.6,
            label=model,
        )  # fmt: skip
    axes.set_ylim(limits(table["mean"], 0.12))


def name_configurations(panels: list[Axes], table: pd.DataFrame) -> None:
    """Write the names of the configurations below the lowest panel, wrapped to fit."""
    names = table.groupby("position")["configuration"].first()
    room = 420 / max(len(names), 2) - 4  # of the panel's points
    for axes in panels:
        axes.set_xticks(names.index, [""] * len(names))
        axes.set_xlim(names.index.min() - 0.4, names.index.max() + 0.4)
    if room >= 27:
        labels = [fitted(name, room, SMALL, most=6) for name in names]
        panels[-1].set_xticks(names.index, labels)
    else:
        labels = [fitted(name, 150, SMALL) for name in names]
        panels[-1].set_xticks(names.index, labels, rotation=90)


NUMBER_ROW = 9.0  # points of a number above another


def select_convergence(tables: Tables) -> pd.DataFrame:
    """Return the numbers of steps with a mean."""
    columns = ["setting", "model", "steps", "mean", "low", "high"]
    hint = "add results of one model trained for several numbers of steps"
    table = rows(tables, "convergence", "convergence", columns, known=["steps", "mean"], hint=hint)
    return table[table["steps"] > 0]


@styled
def draw_convergence(tables: Tables) -> Figure:
    """Draw mean log odds against steps, and mark the steps to 90 % of the largest odds.

    The marks are the geometric means, over the datasets of a model and setting, of the table
    `reached`. A line without such rows has no mark.

    Parameters
    ----------
    tables
        `convergence`, and `reached`.
    """
    table = select_convergence(tables)
    steps_reached = optional(tables, "reached", ["setting", "model", "steps", "at_first"])
    lines = list(series(table))
    handles = line_handles({line.label: line.mark for line in lines})
    sheet = panels(
        1,
        columns=1 if len(lines) > 3 else 2,
        height=2.7,
        legend=handles,
        note=convergence_caption(table, steps_reached),
    )
    axes = sheet.panels[0]
    axes.set_xscale("log")
    for line in lines:
        draw_curve(axes, line)
    points = 72 * sheet.figure.get_figwidth() - 55, 2.7 * 72 - 45  # about the panel's size
    mark_steps(axes, lines, table, steps_reached, points)
    axes.xaxis.set_major_locator(LogLocator(10))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("Training steps (log scale)")
    axes.set_ylabel("Mean log odds of transfer accuracy")
    add_legend(sheet.figure, handles)
    return sheet.figure


def draw_curve(axes: Axes, line: Series) -> None:
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
    bottom -= (top - bottom) * min(NUMBER_ROW * (rows.max() + 1) / size[1], 0.6)
    axes.set(xlim=(np.exp(low), np.exp(high)), ylim=(bottom, top))
    for (line, step, _), text, row in zip(found, numbers, rows, strict=True):
        end = bottom + (top - bottom) * (3 + NUMBER_ROW * row) / size[1]
        drop_line(axes, line, step, end)
        axes.annotate(
            text, (step, end), xytext=(-2, 0), textcoords="offset points", ha="right",
            size=SMALL, zorder=5,
        )  # fmt: skip


def drop_line(axes: Axes, line: Series, step: float, end: float) -> None:
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


def convergence_caption(table: pd.DataFrame, reached: pd.DataFrame) -> str:
    """Return how to read the figure."""
    band = " Bands: 95% confidence intervals." if table["low"].notna().any() else ""
    known = reached is not None and "steps" in reached and reached["steps"].notna().any()
    dotted = (
        "Dotted: steps to 90% of the largest odds (geometric mean over datasets)." if known else ""
    )
    return (dotted + band).strip()


def select_sizes(tables: Tables) -> pd.DataFrame:
    """Return the sizes with a mean."""
    columns = ["setting", "model", "dataset", "examples_per_class", "mean", "se"]
    hint = "add results with several numbers of training examples per class"
    known = ["examples_per_class", "mean"]
    table = rows(tables, "dataset-size", "dataset_size", columns, known=known, hint=hint)
    return table[table["examples_per_class"] > 0]


@styled
def draw_sizes(tables: Tables) -> Figure:
    """Draw accuracy against the number of training examples per class, one line per setting.

    Parameters
    ----------
    tables
        `dataset_size`.
    """
    table = select_sizes(tables)
    datasets, lines = list(dict.fromkeys(table["dataset"])), list(series(table))
    handles = line_handles({line.label: line.mark for line in lines})
    bars = bool(table["se"].notna().any())
    sheet = panels(
        len(datasets),
        columns=2 if len(datasets) < 3 else 3 if len(datasets) in (3, 5, 6, 9) else 4,
        height=1.5 if len(datasets) > 2 else 2.3,
        legend=handles,
        note="Error bars: one standard error over random subsets." if bars else "",
    )
    for index, (dataset, axes) in enumerate(zip(datasets, sheet.panels, strict=True)):
        for line in lines:
            draw_subsets(axes, line, dataset)
        own = table[table["dataset"] == dataset]
        label_size_axes(axes, own, sheet.columns)
        axes.set_title(dataset)
        if sheet.is_lowest(index):
            axes.set_xlabel("Examples per class")
        if sheet.is_left(index):
            axes.set_ylabel("Accuracy (%)")
    add_legend(sheet.figure, handles, sheet.spare)
    return sheet.figure


def draw_subsets(axes: Axes, line: Series, dataset: str) -> None:
    """Draw one dataset's part of a line, with error bars."""
    own = line.table[line.table["dataset"] == dataset].sort_values("examples_per_class")
    if len(own):
        axes.errorbar(
            np.log2(own["examples_per_class"].to_numpy(dtype=float)), own["mean"],
            np.nan_to_num(own["se"].to_numpy(dtype=float)), marker=line.mark.shape, markersize=3,
            color=line.mark.colour, linestyle=line.mark.dashes, elinewidth=0.6,
            markeredgecolor="white", markeredgewidth=0.2, label=line.label,
        )  # fmt: skip


def label_size_axes(axes: Axes, table: pd.DataFrame, columns: int) -> None:
    """Label doublings below and percentages on the left."""
    sizes = np.log2(table["examples_per_class"].to_numpy(dtype=float))
    axes.set_xlim(limits(sizes, 0.06))
    first, last = int(np.ceil(sizes.min())), int(np.floor(sizes.max()))
    # Numbers up to 9,999 take 20 points, a panel has some 500 points by its columns.
    step = 1 + int((last - first) * 26 * columns / 420)
    axes.xaxis.set_major_locator(FixedLocator(range(first, last + 1, step)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{2**value:,.0f}"))
    spread = np.nan_to_num(table["se"].to_numpy(dtype=float))
    axes.set_ylim(limits(np.append(table["mean"] - spread, table["mean"] + spread)))
    percent_axis(axes.yaxis)
