"""Axes and encodings of charts; coordinates of accuracy are log odds, labelled in percent.

Accuracies enter every estimate as log odds, so figures have log odds as coordinates: what is
straight in an estimate is straight in a figure, and equal distances are equal ratios of odds.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import expit, logit

from headstart.figures.figure_data import FigureData, as_key
from headstart.figures.figure_text import LONGEST_NAME, fitted, text_width
from headstart.figures.panel import PlotArea
from headstart.spec.formatting import NO_AFFIXES, Affixes, capitalized

__all__ = [
    "ACCURACY",
    "WHOLE",
    "accuracy_axis",
    "aria_label",
    "domain",
    "equal",
    "error_bars",
    "from_row",
    "log_ticks",
    "mean_points",
    "name_axis",
    "named",
    "odds_axis",
    "percent_axis",
    "percent_ticks",
    "predictor_axis",
    "predictor_title",
    "quoted",
    "ring",
    "scale",
    "shown_ticks",
    "symbols",
    "tooltips",
    "visible",
]

# The reader of the page hides no dataset and no model.
WHOLE = " && ".join(f"length({name}) == 0" for name in ("hidden_datasets", "hidden_models"))
ACCURACY = "Accuracy (logit scale)"
# Percents to label, a set that covers both tails, or all multiples of a step; rounder ones first.
TAILS = (
    (0.01, 0.1, 1, 10, 50, 90, 99, 99.9, 99.99),
    (0.1, 1, 3, 10, 30, 50, 70, 90, 97, 99, 99.9),
    (0.1, 0.5, 1, 2, 5, 10, 20, 50, 80, 90, 95, 98, 99, 99.5, 99.9),
    (0.1, 0.5, 1, 2, 5, 10, 20, 30, 50, 70, 80, 90, 95, 98, 99, 99.5, 99.9),
    (0.1, 0.5, 1, 2, 5, *range(10, 91, 10), 95, 98, 99, 99.5, 99.9),
    (0.01, 1, 50, 99, 99.99),
)
STEPS = (10.0, 5.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
LESS_ROUND = (4.0, 3.0, 0.4, 0.3, 0.04, 0.03)  # where others give fewer than FEWEST_TICKS
FEWEST_TICKS, MOST_TICKS = 3, 8
LINE = 16.0  # pixels between labels above each other
GAP = 4.0  # pixels between labels beside each other
PAGE = 600.0  # pixels of a plot that has the page to itself; narrower ones leave labels out


def percent_ticks(low: float, high: float, length: float, *, upright: bool) -> list[float]:
    """Choose the percents to label on an axis of accuracy from `low` to `high` in log odds.

    Of all sets of round percents, the one with the most ticks (up to 8) whose labels keep clear of
    each other on `length` pixels: by a line's height if it stands `upright`, otherwise by their
    width.

    Examples
    --------
    >>> percent_ticks(float(logit(0.71)), float(logit(0.82)), 320, upright=False)
    [72.0, 74.0, 76.0, 78.0, 80.0, 82.0]
    >>> percent_ticks(-9.8, 9.8, 240, upright=False)
    [0.01, 1.0, 50.0, 99.0, 99.99]
    """
    ends = 100 * float(expit(low)) - 1e-9, 100 * float(expit(high)) + 1e-9
    best: list[float] = []
    for ticks, round_ones in ladders(*ends):
        if not round_ones and len(best) >= FEWEST_TICKS:
            break
        places = (logit(np.array(ticks) / 100) - low) / (high - low) * length
        needed = LINE
        if not upright:
            needed = max((text_width(f"{tick:g} %") for tick in ticks), default=0) + GAP
        if len(best) < len(ticks) <= MOST_TICKS and (np.diff(places) >= needed).all():
            best = ticks
    return best


def ladders(low: float, high: float) -> Iterable[tuple[list[float], bool]]:
    """Yield sets of percentages from `low` to `high`, each with whether they are round ones."""
    for tails in TAILS:
        yield [float(tick) for tick in tails if low <= tick <= high], True
    for step in (*STEPS, *LESS_ROUND):
        first, last = math.ceil(low / step), math.floor(high / step)
        if last - first < MOST_TICKS:
            ticks = [round(index * step, 4) for index in range(first, last + 1)]
            yield [tick for tick in ticks if 0 < tick < 100], step in STEPS


def shown_ticks(own: pd.DataFrame, columns: list[str], length: float) -> Any:
    """Return the percents to label upright on the page, by which settings its reader hides.

    `own` has what is drawn: log odds in the `columns` that the axis of `length` pixels spans.
    """
    settings = list(dict.fromkeys(map(str, own["setting"])))
    sets = []
    for hidden in range(2 ** len(settings)):
        shown = [name for i, name in enumerate(settings) if not hidden >> i & 1]
        ends = domain(own.loc[own["setting"].isin(shown or settings), columns])
        ticks = np.array(percent_ticks(*ends, length, upright=True))
        sets.append([round(float(value), 4) for value in logit(ticks / 100)])
    bits = [f"(indexof(hidden_settings, {quoted(name)}) < 0 ? 0 : {2**i})"
            for i, name in enumerate(settings)]  # fmt: skip
    return alt.ExprRef(f"{json.dumps(sets)}[{' + '.join(bits)}]")


def log_ticks(values: ArrayLike) -> list[int]:
    """Return powers of ten among positive numbers, or multiples of them where there are few.

    Examples
    --------
    >>> log_ticks([80, 20_000]), log_ticks([250, 4_000])
    ([100, 1000, 10000], [500, 1000, 2000])
    """
    numbers = np.asarray(values, dtype=float)
    low, high = float(numbers.min()), float(numbers.max())
    powers = [10**power for power in range(math.floor(math.log10(low)), 19) if 10**power <= high]
    ticks = [tick for tick in powers if tick >= low]
    if len(ticks) < 2:
        ticks = [tick * power for power in powers for tick in (1, 2, 5)]
    return [tick for tick in ticks if low <= tick <= high] or [round(low)]


def domain(values: ArrayLike, margin: float = 0.06, least: float = 0.2) -> tuple[float, float]:
    """Return the range of the known `values` with a margin, at least `least` wide.

    Examples
    --------
    >>> domain([1.0, float("nan"), 3.0], margin=0.5)
    (0.0, 4.0)
    """
    numbers = np.asarray(values, dtype=float).ravel()
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        return 0.0, 1.0
    low, high = float(numbers.min()), float(numbers.max())
    extra = max((high - low) * margin, (least - (high - low)) / 2)
    return low - extra, high + extra


def scale(data: FigureData, ends: tuple[float, float], **more: Any) -> Any:
    """Return a scale with these ends; on the page, one that fits what the reader leaves visible."""
    if data.interactive:
        return alt.Scale(zero=False, nice=False, padding=10, **more)
    return alt.Scale(domain=list(ends), zero=False, nice=False, **more)


def odds_axis(title: str | None, ends: tuple[float, float], length: float, **more: Any) -> Any:
    """Return an axis in log odds of about `length` pixels whose ticks are labelled in percent.

    `more` is of `altair.Axis`; ``upright=True`` makes it a vertical axis.
    """
    upright = more.pop("upright", False)
    ticks = percent_ticks(*ends, length, upright=upright)
    return alt.Axis(
        **{
            "title": title,
            "values": [round(float(value), 6) for value in logit(np.array(ticks) / 100)],
            "labelExpr": "format(100 / (1 + exp(-datum.value)), '.4~r') + '\u00a0%'",
            # Across, names of rows may leave a page less room than was expected.
            "labelOverlap": False if upright else "greedy",
            "labelSeparation": 4,
            "tickCount": len(ticks),  # Vega thins out values that are more.
            "grid": False,
            **more,
        }
    )


def percent_axis(**more: Any) -> Any:
    """Return an axis of numbers that are percents already."""
    return alt.Axis(labelExpr="datum.label + '\u00a0%'", **more)


def accuracy_axis(ends: tuple[float, float], place: PlotArea) -> Any:
    """Return the vertical axis of accuracies."""
    title = ACCURACY if place.left else None
    return odds_axis(title, ends, place.height, upright=True, grid=True)


def predictor_axis(data: FigureData, x: ArrayLike, place: PlotArea) -> Any:
    """Return the horizontal encoding of the predictor, labelled in its unit."""
    kind, length = data.predictor.scale.name, place.width
    numbers = np.abs(np.asarray(x, dtype=float))
    least = 0.2 if kind != "number" else 0.01 * float(np.nanmax(numbers, initial=0)) or 0.2
    ends = domain(x, least=least)
    title = predictor_title(data, length) if place.lowest else None
    axis = alt.Axis(title=title, grid=False, labelOverlap="greedy", tickCount=5)
    if kind == "proportion":
        axis = odds_axis(title, ends, length)
    elif kind == "log":
        axis.labelExpr = "format(pow(10, datum.value), '.3~s')"
    return alt.X("x:Q", scale=alt.Scale(domain=list(ends), zero=False, nice=False), axis=axis)


def predictor_title(data: FigureData, length: float) -> str:
    """Return the title of the predictor's axis, without its scale where that is too long."""
    title, label = data.predictor.axis_label, data.predictor.label
    return title if text_width(title) <= length else fitted(capitalized(label), length)


def name_axis(affixes: Affixes = NO_AFFIXES, head: int = LONGEST_NAME // 2, **more: Any) -> Any:
    """Return an axis of names without the `affixes` of all, elided behind their `head`."""
    tail = LONGEST_NAME - 1 - head
    first, last = map(len, affixes)
    end = f", -{last}" if last else ""
    cut = f"slice(datum.label, {first}, {first + head}) + '\u2026'"
    cut = f"{cut} + slice(datum.label, -{tail + last}{end})"
    most = LONGEST_NAME + first + last
    label = f"length(datum.label) > {most} ? {cut} : slice(datum.label, {first}{end})"
    return alt.Axis(title=None, labelExpr=label, **more)


def equal(column: str, value: str) -> str:
    """Return the Vega condition that a column holds a name, whatever its characters."""
    return f"datum[{quoted(column)}] === {quoted(value)}"


def quoted(value: str) -> str:
    """Quote a name, as a key, for a Vega expression: a string of JSON is one of JavaScript."""
    return json.dumps(as_key(value))


def symbols(
    points: Any, x: Any, y: Any, style: str = "", label: Sequence[str] = (), *,
    hover: Mapping[str, str], **mark: Any,
) -> Any:  # fmt: skip
    """Draw points as symbols, `mark` their properties in Vega-Lite.

    Columns whose names begin with `style`, as ``setting_``, have their colour and shape; screen
    readers read the columns `label`; `hover` has the columns of the tooltip, each with its label.
    """
    marks = points.mark_point(**{"filled": True, "opacity": 1, **mark})
    looks = [from_row(alt.Color, f"{style}colour"), from_row(alt.Shape, f"{style}shape")]
    texts = [aria_label(*label)] if label else []
    return marks.encode(x, y, *looks, *texts, tooltip=tooltips(**hover))


def error_bars(
    points: Any, ends: tuple[str, str], style: str = "", *, x: Any = None, y: Any = None,
    width: float, opacity: float,
) -> Any:  # fmt: skip
    """Draw the intervals between the columns `ends`: upright at `x`, or across at `y`."""
    low, high = ends
    rules = points.mark_rule(strokeWidth=width, opacity=opacity, aria=False)
    colour = from_row(alt.Color, f"{style}colour")
    if y is None:
        return rules.encode(x=x, y=alt.Y(f"{low}:Q"), y2=f"{high}:Q", color=colour)
    return rules.encode(x=alt.X(f"{low}:Q"), x2=f"{high}:Q", y=y, color=colour)


def ring(points: Any, x: Any, y: Any, size: float, width: float = 1.6) -> Any:
    """Draw a ring around each point, below it or with no inside: the pointer stays on the point."""
    return points.mark_point(
        size=size, fill="none", stroke="var(--ink)", strokeWidth=width, opacity=1, aria=False
    ).encode(x, y)


def from_row(channel: Any, field: str) -> Any:
    """Return the encoding of a colour or shape that takes it from its row."""
    return channel(field=field, type="nominal", scale=None, legend=None)


def aria_label(*columns: str) -> Any:
    """Return the encoding of the text that screen readers read for a mark: these columns."""
    expression = " + ', ' + ".join(f"datum.{name}" for name in columns)
    return alt.DescriptionValue(alt.ExprRef(expression))


def tooltips(**columns: str) -> list[Any]:
    """Return the tooltip: columns, already text, each with its label."""
    return [
        alt.Tooltip(field=name, type="nominal", title=label.replace("_", " "))
        for name, label in columns.items()
    ]


def named(data: FigureData, table: str, *columns: str, **where: str) -> Any:
    """Start a chart of a named table, without the rows that the reader of a page hides.

    `columns` are those of ``setting``, ``dataset`` and ``model`` that the table has; `where` has
    the values of columns that its rows have.
    """
    chart = alt.Chart(alt.NamedData(name=table))
    for column in columns if data.interactive else ():
        chart = chart.transform_filter(visible(column))
    for column, value in where.items():
        chart = chart.transform_filter(equal(column, value))
    return chart


def visible(column: str, field: str = "") -> str:
    """Return the Vega condition under which a row is visible, by its `field`."""
    return f"indexof(hidden_{column}s, datum.{field or column}) < 0"


def mean_points(data: FigureData) -> Any:
    """Start a chart with one row per model and setting: its mean over the visible datasets.

    Its text is an accuracy where there is one dataset.
    """
    text = "format(datum.mean, '.3f')"
    if data.one_dataset:
        text = "format(100 / (1 + exp(-datum.mean)), '.1f') + ' %'"
    if not data.interactive:
        return named(data, "means").transform_calculate(
            mean_text=text, interval="datum.mean_interval"
        )
    keys = [
        *("setting", "setting_label", "setting_colour", "setting_shape", "x", "predictor_text"),
        *("model", "model_place", "family", "colour", "shape"),
        *("mean_low", "mean_high", "mean_interval", "mean_near"),
    ]
    return (
        named(data, "cells", "setting", "dataset", "model")
        .transform_filter("datum.averaged")
        .transform_aggregate(mean="mean(adjusted)", groupby=keys)
        .transform_calculate(
            mean_text=text,
            interval=f"{WHOLE} ? datum.mean_interval : 'only without a filter'",
        )
    )
