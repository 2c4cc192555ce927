"""Plot of accuracy against examples per class, one panel per dataset (the paper's Fig. 9)."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter

from headstart.figures.legends import add_legend, line_handles
from headstart.figures.logit_axes import limits, percent_axis
from headstart.figures.panels import panels
from headstart.figures.plot_tables import Series, Tables, rows, series
from headstart.figures.style import styled

__all__ = ["draw", "select"]


def select(tables: Tables) -> pd.DataFrame:
    """Return the sizes with a mean."""
    columns = ["setting", "model", "dataset", "examples_per_class", "mean", "se"]
    hint = "add results with several numbers of training examples per class"
    known = ["examples_per_class", "mean"]
    table = rows(tables, "dataset-size", "dataset_size", columns, known=known, hint=hint)
    return table[table["examples_per_class"] > 0]


@styled
def draw(tables: Tables) -> Figure:
    """Draw accuracy against the number of training examples per class, one line per setting.

    Parameters
    ----------
    tables
        `dataset_size`.
    """
    table = select(tables)
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
            draw_line(axes, line, dataset)
        own = table[table["dataset"] == dataset]
        label_axes(axes, own, sheet.columns)
        axes.set_title(dataset)
        if sheet.is_lowest(index):
            axes.set_xlabel("Examples per class")
        if sheet.is_left(index):
            axes.set_ylabel("Accuracy (%)")
    add_legend(sheet.figure, handles, sheet.spare)
    return sheet.figure


def draw_line(axes: Axes, line: Series, dataset: str) -> None:
    """Draw one dataset's part of a line, with error bars."""
    own = line.table[line.table["dataset"] == dataset].sort_values("examples_per_class")
    if len(own):
        axes.errorbar(
            np.log2(own["examples_per_class"].to_numpy(dtype=float)), own["mean"],
            np.nan_to_num(own["se"].to_numpy(dtype=float)), marker=line.mark.shape, markersize=3,
            color=line.mark.colour, linestyle=line.mark.dashes, elinewidth=0.6,
            markeredgecolor="white", markeredgewidth=0.2, label=line.label,
        )  # fmt: skip


def label_axes(axes: Axes, table: pd.DataFrame, columns: int) -> None:
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
