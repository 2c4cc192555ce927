"""Transfer against a predictor: means per setting (Fig. 1), each dataset (Fig. 2)."""

from math import nan

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from headstart.figures.logit_axes import (
    PercentLocator,
    coordinates,
    corner_text,
    limits,
    percent_axis,
    percent_label,
    predictor_axis,
    rings,
)
from headstart.figures.panels import add_legend, legend_height, panels, point_handles, ring_handle
from headstart.figures.plot_tables import Tables, correlations, draw_line, lines, near_best, rows
from headstart.figures.point_labels import label_points
from headstart.figures.style import (
    SMALL,
    TEXT_WIDTH,
    MarkerStyle,
    marker_styles,
    new_figure,
    settle,
    styled,
)
from headstart.figures.text_fitting import estimate_text, fitted
from headstart.predictors import UPSTREAM_ACCURACY, Predictor
from headstart.spec.display_names import in_order, setting_label

__all__ = [
    "draw_correlation",
    "draw_datasets",
    "select_cells",
    "select_means",
]

MOST_LABELS = 25  # beyond that only extremes and outliers are named
LABELLED = 12  # so many of them
NAME = 100  # points for a name
RADIUS, RINGED = 3.5, 4.0  # points, of marks and of rings, with their edges
METHODS = {"morey": "Morey, 2008", "cousineau": "Cousineau, 2005"}


def select_means(tables: Tables, predictor: Predictor = UPSTREAM_ACCURACY) -> pd.DataFrame:
    """Return models with their mean log odds over datasets and a known predictor."""
    return rows(
        tables,
        "correlation",
        "model_means",
        ["model", "family", "setting", predictor.column, "mean", "se", "low", "high"],
        known=[predictor.column, "mean"],
        hint=predictor.hint,
    )


@styled
def draw_correlation(tables: Tables, predictor: Predictor = UPSTREAM_ACCURACY) -> Figure:
    """Draw mean log odds over datasets against the predictor, with line, band and r.

    Parameters
    ----------
    tables
        `model_means`; `lines` and `correlations` where they are there.
    predictor
        What the horizontal axis shows.
    """
    means = select_means(tables, predictor)
    means["family"] = means["family"].fillna("other").astype(str)
    settings = in_order(means["setting"])
    styles = marker_styles(means["family"])
    means["near"] = near_best(means, ["setting"])
    ringed = bool(means["near"].any())
    handles = point_handles(styles) + [ring_handle()] * ringed
    crowded = len(settings) == 1 and len(means) > MOST_LABELS
    sheet = panels(
        len(settings),
        columns=2,
        height=3.6 if crowded else 2.75,
        wide=crowded,
        legend=handles,
        note=correlation_caption(means, tables, ringed, predictor),
    )
    for index, (setting, axes) in enumerate(zip(settings, sheet.panels, strict=True)):
        draw_means(axes, means[means["setting"] == setting], styles, predictor)
        draw_line(axes, tables, setting, "all", predictor)
        axes.set_title(setting_label(setting))
        if sheet.is_left(index):
            axes.set_ylabel("Mean log odds of transfer accuracy")
        if sheet.is_lowest(index):
            axes.set_xlabel(predictor.axis_label)
    same_span(sheet.panels)
    add_legend(sheet.figure, handles, sheet.spare)
    settle(sheet.figure)
    for setting, axes in zip(settings, sheet.panels, strict=True):
        name_points(axes, tables, means[means["setting"] == setting], predictor)
    return sheet.figure


def draw_means(
    axes: Axes, means: pd.DataFrame, styles: dict[str, MarkerStyle], predictor: Predictor
) -> None:
    """Draw points with error bars, and a second scale in percent on the right."""
    x = coordinates(predictor, means[predictor.column])
    below, above = error_bars(means)
    axes.errorbar(
        x, means["mean"], [below, above], fmt="none", ecolor="#666666", elinewidth=0.6, zorder=2
    )
    for family, mark in styles.items():
        own = (means["family"] == family).to_numpy()
        axes.plot(
            x[own], means["mean"][own], mark.shape, color=mark.colour, markersize=4.6,
            markeredgecolor="white", markeredgewidth=0.4, linestyle="none", zorder=3, label=family,
        )  # fmt: skip
    near = means["near"].to_numpy(dtype=bool)
    if near.any():
        rings(axes, x[near], means["mean"][near])
    predictor_axis(axes, predictor, x)
    percents = axes.secondary_yaxis("right")
    percents.yaxis.set_major_locator(PercentLocator())
    percents.yaxis.set_major_formatter(lambda value, _: percent_label(value) + "%")
    percents.tick_params(length=2)


def error_bars(means: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return lengths below and above each mean: the interval if known, else the standard error.

    Unknown lengths are 0, so that nothing is drawn.
    """
    if has_intervals(means):
        below, above = means["mean"] - means["low"], means["high"] - means["mean"]
    else:
        below = above = means["se"]
    return np.nan_to_num(np.asarray(below, float)), np.nan_to_num(np.asarray(above, float))


def has_intervals(means: pd.DataFrame) -> bool:
    """Return whether any mean has an interval."""
    return bool((means["low"].notna() & means["high"].notna()).any())


def same_span(panels: list[Axes]) -> None:
    """Let all panels span the same log odds, so that slopes can be compared."""
    ends = [axes.get_ylim() for axes in panels]
    span = max(high - low for low, high in ends)
    for axes, (low, high) in zip(panels, ends, strict=True):
        axes.set_ylim((low + high - span) / 2, (low + high + span) / 2)


def name_points(axes: Axes, tables: Tables, means: pd.DataFrame, predictor: Predictor) -> None:
    """Write r in an empty corner, then the names of the models."""
    x, y = coordinates(predictor, means[predictor.column]), means["mean"].to_numpy(dtype=float)
    found = correlations(tables)
    own = found[(found["setting"] == means["setting"].iloc[0]) & (found["group"] == "all")]
    for row in own.itertuples():
        corner_text(axes, estimate_text("r", row.estimate, row.low, row.high), x, y)
    named = labelled(x, y)
    names = [fitted(name, NAME, SMALL) for name in means["model"].iloc[named]]
    below, above = error_bars(means)
    bars = np.column_stack([x, y - below, x, y + above])
    radius = RINGED if means["near"].any() else RADIUS
    strict = len(x) > MOST_LABELS
    label_points(axes, np.column_stack([x, y]), named, names, bars, radius, strict)


def labelled(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the points to label: all; of many, the extremes and those far from the line."""
    if len(x) <= MOST_LABELS:
        return np.arange(len(x))
    distance = np.abs(y - np.polyval(np.polyfit(x, y, 1), x)) if np.ptp(x) else np.abs(y - y.mean())
    first = [x.argmin(), x.argmax(), y.argmin(), y.argmax(), *np.argsort(-distance, kind="stable")]
    return np.array(list(dict.fromkeys(int(index) for index in first))[:LABELLED])


def correlation_caption(
    means: pd.DataFrame, tables: Tables, ringed: bool, predictor: Predictor
) -> str:
    """Return how to read the figure."""
    parts = []
    if has_intervals(means) or means["se"].notna().any():
        what = "95% confidence intervals" if has_intervals(means) else "one standard error"
        kinds = sorted(set(means["error_bars"].dropna())) if "error_bars" in means else []
        source = f" ({'; '.join(METHODS.get(kind, str(kind)) for kind in kinds)})" if kinds else ""
        parts.append(f"Error bars: {what} after removing differences between datasets{source}.")
    if len(lines(tables, predictor)):
        parts.append("Line: least squares; band: 95% bootstrap interval (models resampled).")
    if len(correlations(tables)):
        parts.append(
            f"r: Pearson correlation {of_what(predictor)}, with its 95% confidence interval."
        )
    if ringed:
        parts.append(
            "Ringed: not significantly different from the panel's best model (simultaneous 95% "
            "intervals of the difference over datasets)."
        )
    if means.groupby("setting").size().max() > MOST_LABELS:
        parts.append(
            "Labelled where space permits: extremes and the models farthest from the line."
        )
    return " ".join(parts)


def of_what(predictor: Predictor) -> str:
    """Return in which coordinates r is computed."""
    if predictor.scale.name == "proportion":
        return "in log odds"
    return f"of log odds with {predictor.scale.label(predictor.label)}"


PANEL, HEADING = 1.12, 0.26  # inches of a row of panels and of a setting's name above its rows
HEADING_SIZE = 8.5  # points
TALLEST, LOWEST = 8.9, 0.9  # inches of a page for panels, and of a row at the least


def select_cells(tables: Tables, predictor: Predictor = UPSTREAM_ACCURACY) -> pd.DataFrame:
    """Return cells with an accuracy and a known predictor."""
    columns = ["setting", "model", "family", "dataset", predictor.column, "log_odds"]
    return rows(
        tables,
        "datasets",
        "cells",
        columns,
        known=[predictor.column, "log_odds"],
        hint=predictor.hint,
    )


@styled
def draw_datasets(tables: Tables, predictor: Predictor = UPSTREAM_ACCURACY) -> Figure:
    """Draw accuracy against the predictor for each dataset and setting, with line and r.

    Parameters
    ----------
    tables
        `cells`; `lines` and `correlations` where they are there.
    predictor
        What the horizontal axis shows.
    """
    cells = select_cells(tables, predictor)
    cells["family"] = cells["family"].fillna("other").astype(str)
    cells["near"] = near_best(cells, ["setting", "dataset"])
    styles = marker_styles(cells["family"])
    handles = point_handles(styles) + [ring_handle()] * bool(cells["near"].any())
    settings, datasets = in_order(cells["setting"]), list(dict.fromkeys(cells["dataset"]))
    figure, places = blocks(
        settings,
        datasets,
        handles,
        datasets_caption(tables, bool(cells["near"].any()), predictor),
        predictor,
    )
    for (setting, dataset), axes in places.items():
        own = cells[(cells["setting"] == setting) & (cells["dataset"] == dataset)]
        axes.set_title(dataset, size=7, weight="normal")
        if own.empty:
            axes.axis("off")
            continue
        draw_cells(axes, own, styles, predictor, low=len(datasets) > 12)
        draw_line(axes, tables, setting, dataset, predictor)
        predictor_axis(axes, predictor, coordinates(predictor, cells[predictor.column]))
        percent_axis(axes.yaxis)
        add_r(axes, tables, own, predictor)
    add_legend(figure, handles)
    return figure


def blocks(
    settings: list[str], datasets: list[str], handles: list[Line2D], note: str, predictor: Predictor
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
        predictor.axis_label,
        size=7,
        y=bottom / figure.bbox.height + 0.02 / height,
    )
    figure.supylabel("Transfer accuracy (%, logit scale)", size=7)
    return figure, places


def draw_cells(
    axes: Axes,
    cells: pd.DataFrame,
    styles: dict[str, MarkerStyle],
    predictor: Predictor,
    *,
    low: bool,
) -> None:
    """Draw points, and rings around those that are not significantly different from the best.

    In a `low` panel r gets a line of its own above them.
    """
    x, y = coordinates(predictor, cells[predictor.column]), cells["log_odds"].to_numpy(dtype=float)
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


def add_r(axes: Axes, tables: Tables, cells: pd.DataFrame, predictor: Predictor) -> None:
    """Write Pearson's r in the emptiest corner."""
    found = correlations(tables)
    own = found[
        (found["setting"] == cells["setting"].iloc[0])
        & (found["group"] == cells["dataset"].iloc[0])
    ]
    x, y = coordinates(predictor, cells[predictor.column]), cells["log_odds"]
    for estimate in own["estimate"]:
        corner_text(axes, estimate_text("r", estimate, nan, nan), x, y)


def datasets_caption(tables: Tables, ringed: bool, predictor: Predictor) -> str:
    """Return how to read the figure."""
    parts = []
    if len(lines(tables, predictor)):
        parts.append("Line: least squares; band: 95% bootstrap interval (models resampled).")
    if len(correlations(tables)):
        parts.append(f"r: Pearson correlation {of_what(predictor)}.")
    if ringed:
        parts.append(
            "Ringed: not significantly different from the panel's best model (paired test on the "
            "predictions, p > 0.05, corrected for the number of models)."
        )
    return " ".join(parts)
