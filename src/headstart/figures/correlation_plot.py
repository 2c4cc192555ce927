"""Plot of mean transfer against upstream accuracy, one panel per setting (Fig. 1)."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from headstart.figures.fonts import fitted
from headstart.figures.legends import add_legend, point_handles, ring_handle
from headstart.figures.logit_axes import (
    PercentLocator,
    corner_text,
    limits,
    log_odds,
    percent_axis,
    percent_label,
    rings,
)
from headstart.figures.panels import panels
from headstart.figures.plot_tables import Tables, correlations, draw_line, lines, near_best, rows
from headstart.figures.point_labels import label_points
from headstart.figures.style import SMALL, MarkerStyle, marker_styles, settle, styled
from headstart.figures.text import estimate_text
from headstart.spec.labels import in_order, setting_label

__all__ = ["draw", "select"]

MOST_LABELS = 25  # beyond that only extremes and outliers are named
LABELLED = 12  # so many of them
NAME = 100  # points for a name
RADIUS, RINGED = 3.5, 4.0  # points, of marks and of rings, with their edges
METHODS = {"morey": "Morey, 2008", "cousineau": "Cousineau, 2005"}


def select(tables: Tables) -> pd.DataFrame:
    """Return models with their mean log odds over datasets and a known upstream accuracy."""
    return rows(
        tables,
        "correlation",
        "model_means",
        ["model", "family", "setting", "upstream_accuracy", "mean", "se", "low", "high"],
        known=["upstream_accuracy", "mean"],
        hint="add a column upstream_accuracy",
    )


@styled
def draw(tables: Tables) -> Figure:
    """Draw mean log odds over datasets against upstream accuracy, with line, band and r.

    Parameters
    ----------
    tables
        `model_means`; `lines` and `correlations` where they are there.
    """
    means = select(tables)
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
        note=caption(means, tables, ringed),
    )
    for index, (setting, axes) in enumerate(zip(settings, sheet.panels, strict=True)):
        draw_panel(axes, means[means["setting"] == setting], styles)
        draw_line(axes, tables, setting, "all")
        axes.set_title(setting_label(setting))
        if sheet.is_left(index):
            axes.set_ylabel("Mean log odds of transfer accuracy")
        if sheet.is_lowest(index):
            axes.set_xlabel("Upstream accuracy (%, logit scale)")
    same_span(sheet.panels)
    add_legend(sheet.figure, handles, sheet.spare)
    settle(sheet.figure)
    for setting, axes in zip(settings, sheet.panels, strict=True):
        name_points(axes, tables, means[means["setting"] == setting])
    return sheet.figure


def draw_panel(axes: Axes, means: pd.DataFrame, styles: dict[str, MarkerStyle]) -> None:
    """Draw points with error bars, and a second scale in percent on the right."""
    x = log_odds(means["upstream_accuracy"])
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
    axes.set_xlim(limits(x, 0.1))
    percent_axis(axes.xaxis)
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


def name_points(axes: Axes, tables: Tables, means: pd.DataFrame) -> None:
    """Write r in an empty corner, then the names of the models."""
    x, y = log_odds(means["upstream_accuracy"]), means["mean"].to_numpy(dtype=float)
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


def caption(means: pd.DataFrame, tables: Tables, ringed: bool) -> str:
    """Return how to read the figure."""
    parts = []
    if has_intervals(means) or means["se"].notna().any():
        what = "95% confidence intervals" if has_intervals(means) else "one standard error"
        kinds = sorted(set(means["error_bars"].dropna())) if "error_bars" in means else []
        source = f" ({'; '.join(METHODS.get(kind, str(kind)) for kind in kinds)})" if kinds else ""
        parts.append(f"Error bars: {what} after removing differences between datasets{source}.")
    if len(lines(tables)):
        parts.append("Line: least squares; band: 95% bootstrap interval (models resampled).")
    if len(correlations(tables)):
        parts.append("r: Pearson correlation in log odds, with its 95% confidence interval.")
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
