"""Axes of accuracy: coordinates are log odds, tick labels are percent.

Accuracies enter every estimate as log odds, so figures have log odds as coordinates: what is
straight in an estimate is straight in print, and equal distances are equal ratios of odds.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, Locator, MaxNLocator
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

from headstart.figures.style import GREY, INK, SMALL
from headstart.predictors import Predictor

__all__ = [
    "PercentLocator",
    "add_line",
    "coordinates",
    "corner_text",
    "limits",
    "log_odds",
    "percent_axis",
    "percent_label",
    "percent_ticks",
    "predictor_axis",
    "rings",
]

# Percents to label, a set that covers both tails, or all multiples of a step; rounder ones first.
TAILS = (
    (0.01, 0.1, 1, 10, 50, 90, 99, 99.9, 99.99),
    (0.1, 1, 3, 10, 30, 50, 70, 90, 97, 99, 99.9),
    (0.1, 0.5, 1, 2, 5, 10, 20, 50, 80, 90, 95, 98, 99, 99.5, 99.9),
    (0.1, 0.5, 1, 2, 5, 10, 20, 30, 50, 70, 80, 90, 95, 98, 99, 99.5, 99.9),
    (0.1, 0.5, 1, 2, 5, *range(10, 91, 10), 95, 98, 99, 99.5, 99.9),
)
STEPS = (10.0, 5.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
MOST_TICKS = 8
CHARACTER = 4.2  # points: width of a digit of a tick label
LINE = 9.5  # points: least distance of tick labels above each other


def log_odds(accuracy: ArrayLike) -> NDArray[np.float64]:
    """Return log odds of accuracies in [0, 1]; 0 and 100% are drawn as 0.01% and 99.99%."""
    return np.asarray(logit(np.clip(np.asarray(accuracy, dtype=float), 1e-4, 1 - 1e-4)))


def coordinates(predictor: Predictor, values: ArrayLike) -> NDArray[np.float64]:
    """Return values of the predictor on its scale; proportions as `log_odds` draws them."""
    if predictor.scale.name == "proportion":
        return log_odds(values)
    return predictor.scale.coordinates(values)


def predictor_axis(axes: Axes, predictor: Predictor, x: ArrayLike) -> None:
    """Set the range of the horizontal axis from the coordinates `x`, and label it in the unit."""
    numbers = np.abs(np.asarray(x, dtype=float))
    plain = predictor.scale.name == "number"
    axes.set_xlim(limits(x, 0.1, 0.01 * float(np.nanmax(numbers)) or 0.2 if plain else 0.2))
    if predictor.scale.name == "proportion":
        percent_axis(axes.xaxis)
    elif not plain:
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(lambda value, _: f"{10**value:.3g}")


def limits(values: ArrayLike, margin: float = 0.07, least: float = 0.2) -> tuple[float, float]:
    """Return the range of the known `values` with a margin, at least `least` wide."""
    numbers = np.asarray(values, dtype=float)
    numbers = numbers[np.isfinite(numbers)]
    low, high = float(numbers.min()), float(numbers.max())
    extra = max((high - low) * margin, (least - (high - low)) / 2)
    return low - extra, high + extra


def percent_label(value: float, _position: int | None = None) -> str:
    """Return the percentage of a coordinate in log odds as text.

    Examples
    --------
    >>> percent_label(0.0), percent_label(float(logit(0.995)))
    ('50', '99.5')
    """
    return f"{round(100 * float(expit(value)), 3):g}"


def percent_ticks(low: float, high: float, points: float, *, upright: bool) -> list[float]:
    """Choose the percents to label on an axis of accuracy.

    Of all sets of round percents, the one with the most ticks (up to 8) whose labels keep clear of
    each other.

    Parameters
    ----------
    low, high
        Ends of the axis in log odds.
    points
        Its length in points (1/72 inch).
    upright
        Whether it stands upright: labels then need a line's height, otherwise their width.

    Examples
    --------
    >>> percent_ticks(float(logit(0.71)), float(logit(0.82)), 200, upright=False)
    [72.0, 74.0, 76.0, 78.0, 80.0, 82.0]
    """
    ends = 100 * float(expit(low)) - 1e-9, 100 * float(expit(high)) + 1e-9
    best: list[float] = []
    for ticks in ladders(*ends):
        places = (logit(np.array(ticks) / 100) - low) / (high - low) * points
        needed = LINE
        if not upright:
            needed = CHARACTER * max((len(f"{tick:g}") for tick in ticks), default=0) + 5
        if len(best) < len(ticks) <= MOST_TICKS and (np.diff(places) >= needed).all():
            best = ticks
    return best


def ladders(low: float, high: float) -> Iterable[list[float]]:
    """Yield sets of round percentages from `low` to `high`."""
    for tails in TAILS:
        yield [float(tick) for tick in tails if low <= tick <= high]
    for step in STEPS:
        first, last = int(np.ceil(low / step)), int(np.floor(high / step))
        if last - first < MOST_TICKS:
            ticks = [round(index * step, 4) for index in range(first, last + 1)]
            yield [tick for tick in ticks if 0 < tick < 100]


class PercentLocator(Locator):
    """Round percents on an axis in log odds, as many as its length in print has room for."""

    def __call__(self) -> list[float]:
        axis: Any = self.axis
        return self.tick_values(*axis.get_view_interval())

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        axis: Any = self.axis
        upright = axis.axis_name == "y"
        box = axis.axes.get_window_extent()
        points = (box.height if upright else box.width) * 72 / axis.figure.dpi
        percents = percent_ticks(min(vmin, vmax), max(vmin, vmax), points, upright=upright)
        return [float(logit(percent / 100)) for percent in percents]


def percent_axis(axis: Axis) -> None:
    """Label an axis in log odds in percent."""
    axis.set_major_locator(PercentLocator())
    axis.set_major_formatter(FuncFormatter(percent_label))


def add_line(axes: Axes, x: ArrayLike, y: ArrayLike, low: ArrayLike, high: ArrayLike) -> None:
    """Draw a least-squares line with its band, behind the points."""
    axes.fill_between(x, low, high, color="#dddddd", linewidth=0, zorder=1)
    axes.plot(x, y, color=GREY, linewidth=0.9, zorder=1.5)


def rings(axes: Axes, x: ArrayLike, y: ArrayLike, size: float = 7.0) -> None:
    """Ring the models that are not different from the best."""
    axes.plot(
        x, y, "o", markersize=size, markerfacecolor="none", markeredgecolor=INK,
        markeredgewidth=0.7, linestyle="none", zorder=4, label="ring",
    )  # fmt: skip


CORNERS = {"upper left": (0, 1), "lower right": (1, 0), "lower left": (0, 0), "upper right": (1, 1)}


def corner_text(axes: Axes, text: str, x: ArrayLike, y: ArrayLike) -> None:
    """Set `text` into the corner of the panel that has fewest of the points (x, y)."""
    to_panel = axes.transLimits.transform(np.column_stack([np.asarray(x), np.asarray(y)]))

    def crowd(corner: str) -> int:
        inside = np.abs(to_panel - CORNERS[corner]) < (0.72, 0.18 * (1 + text.count("\n")))
        return int(inside.all(axis=1).sum())

    right, top = CORNERS[min(CORNERS, key=crowd)]
    axes.annotate(
        text, (right, top), xycoords="axes fraction", xytext=(3 - 6 * right, 3 - 6 * top),
        textcoords="offset points", size=SMALL, ha="right" if right else "left",
        va="top" if top else "bottom", zorder=6,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.8},
    )  # fmt: skip
