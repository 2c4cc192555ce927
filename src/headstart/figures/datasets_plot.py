"""Plot of accuracy against upstream accuracy, one panel per dataset and setting (Fig. 2)."""

from math import nan

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from headstart.figures.fonts import fitted
from headstart.figures.legends import add_legend, legend_height, point_handles, ring_handle
from headstart.figures.logit_axes import (
    corner_text,
    limits,
    log_odds,
    percent_axis,
    rings,
)
from headstart.figures.plot_tables import Tables, correlations, draw_line, lines, near_best, rows
from headstart.figures.style import TEXT_WIDTH, MarkerStyle, marker_styles, new_figure, styled
from headstart.figures.text import estimate_text
from headstart.spec.labels import in_order, setting_label

__all__ = ["draw", "select"]

PANEL, HEADING = 1.12, 0.26  # inches of a row of panels and of a setting's name above its rows
HEADING_SIZE = 8.5  # points
TALLEST, LOWEST = 8.9, 0.9  # inches of a page for panels, and of a row at the least


def select(tables: Tables) -> pd.DataFrame:
    """Return cells with an accuracy and a known upstream accuracy."""
    columns = ["setting", "model", "family", "dataset", "upstream_accuracy", "log_odds"]
    return rows(
        tables,
        "datasets",
        "cells",
        columns,
        known=["upstream_accuracy", "log_odds"],
        hint="add a column upstream_accuracy",
    )


@styled
def draw(tables: Tables) -> Figure:
    """Draw accuracy against upstream accuracy for each dataset and setting, with line and r.

    Parameters
    ----------
    tables
        `cells`; `lines` and `correlations` where they are there.
    """
    cells = select(tables)
    cells["family"] = cells["family"].fillna("other").astype(str)
    cells["near"] = near_best(cells, ["setting", "dataset"])
    styles = marker_styles(cells["family"])
    handles = point_handles(styles) + [ring_handle()] * bool(cells["near"].any())
    settings, datasets = in_order(cells["setting"]), list(dict.fromkeys(cells["dataset"]))
    figure, places = blocks(settings, datasets, handles, caption(tables, bool(cells["near"].any())))
    for (setting, dataset), axes in places.items():
        own = cells[(cells["setting"] == setting) & (cells["dataset"] == dataset)]
        axes.set_title(dataset, size=7, weight="normal")
        if own.empty:
            axes.axis("off")
            continue
        draw_panel(axes, own, styles, low=len(datasets) > 12)
        draw_line(axes, tables, setting, dataset)
        axes.set_xlim(limits(log_odds(cells["upstream_accuracy"]), 0.1))
        percent_axis(axes.xaxis)
        percent_axis(axes.yaxis)
        add_r(axes, tables, own)
    add_legend(figure, handles)
    return figure


def blocks(
    settings: list[str], datasets: list[str], handles: list[Line2D], note: str
) -> tuple[Figure, dict[tuple[str, str], Axes]]:
    """Return a figure with one block of panels per setting, below its name."""
    deep = -(-len(datasets) // (6 if len(datasets) <= 12 else 7))
    columns = -(-len(datasets) // deep)
    width = TEXT_WIDTH if columns > 3 else max(3.4, 0.2 + 1.7 * columns)
    panel = PANEL if columns > 3 else 1.6
    panel = max(min(panel, TALLEST / len(settings) / deep - HEADING / deep), LOWEST)
    height = len(settings) * (HEADING + deep * panel) + legend_height(handles, width) + 0.15
    figure = new_figure(height, width=width, note=note)
    ratios = [HEADING, *[panel] * deep] * len(settings)
    grid = figure.add_gridspec(len(ratios), columns, height_ratios=ratios)
    places = {}
    for block, setting in enumerate(settings):
        top = block * (deep + 1)
        heading = figure.add_subplot(grid[top, :])
        heading.axis("off")
        heading.text(
            0, 0, fitted(setting_label(setting), 72 * width - 50, HEADING_SIZE, weight="bold"),
            size=HEADING_SIZE, weight="bold", va="bottom", transform=heading.transAxes,
        )  # fmt: skip
        for index, dataset in enumerate(datasets):
            row, column = divmod(index, columns)
            axes = figure.add_subplot(grid[top + 1 + row, column])
            # Room for the label that all columns share.
            axes.set_xlabel(" " if block == len(settings) - 1 and row == deep - 1 else "")
            places[setting, dataset] = axes
    bottom = figure.texts[0].get_window_extent().y1 if note else 0
    figure.supxlabel(
        "Upstream accuracy (%, logit scale)",
        size=7,
        y=bottom / figure.bbox.height + 0.02 / height,
    )
    figure.supylabel("Transfer accuracy (%, logit scale)", size=7)
    return figure, places


def draw_panel(
    axes: Axes, cells: pd.DataFrame, styles: dict[str, MarkerStyle], *, low: bool
) -> None:
    """Draw points, and rings around those that are not significantly different from the best.

    In a `low` panel r gets a line of its own above them.
    """
    x, y = log_odds(cells["upstream_accuracy"]), cells["log_odds"].to_numpy(dtype=float)
    for family, mark in styles.items():
        own = (cells["family"] == family).to_numpy()
        axes.plot(
            x[own], y[own], mark.shape, color=mark.colour, markersize=3.4, linestyle="none",
            markeredgecolor="white", markeredgewidth=0.3, zorder=3, label=family,
        )  # fmt: skip
    near = cells["near"].to_numpy(dtype=bool)
    if near.any():
        rings(axes, x[near], y[near], size=5.2)
    bottom, top = limits(y, 0.12)
    axes.set_ylim(bottom, top + 0.25 * (top - bottom) * low)


def add_r(axes: Axes, tables: Tables, cells: pd.DataFrame) -> None:
    """Write Pearson's r in the emptiest corner."""
    found = correlations(tables)
    own = found[
        (found["setting"] == cells["setting"].iloc[0])
        & (found["group"] == cells["dataset"].iloc[0])
    ]
    x, y = log_odds(cells["upstream_accuracy"]), cells["log_odds"]
    for estimate in own["estimate"]:
        corner_text(axes, estimate_text("r", estimate, nan, nan), x, y)


def caption(tables: Tables, ringed: bool) -> str:
    """Return how to read the figure."""
    parts = []
    if len(lines(tables)):
        parts.append("Line: least squares; band: 95% bootstrap interval (models resampled).")
    if len(correlations(tables)):
        parts.append("r: Pearson correlation in log odds.")
    if ringed:
        parts.append(
            "Ringed: not significantly different from the panel's best model (paired test on the "
            "predictions, p > 0.05, corrected for the number of models)."
        )
    return " ".join(parts)
