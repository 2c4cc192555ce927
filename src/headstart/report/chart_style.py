"""What all charts of the page share: named data, the filter of the page, axes, colours, shapes.

A chart names the tables it draws (``cells``, ``means``, ...); the page holds each table once and
gives it to every chart. The filter of the page reaches a chart as three parameters, lists of what
is hidden, and the chart filters its own data. `headstart.figures.style` assigns colours and shapes:
the page only adds a tint for white paper (contrast 3:1) and one for a dark screen, by CSS
variables, so that a chart follows the page's theme and its printing.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import altair as alt
import numpy as np
from scipy.special import logit

from headstart.figures.style import MarkerStyle, marker_styles, setting_styles
from headstart.spec.formatting import number

__all__ = [
    "CONFIG",
    "MODEL",
    "WHOLE",
    "Chart",
    "PageFigure",
    "Style",
    "aria_label",
    "domain",
    "equal",
    "finished",
    "log_odds_scale",
    "name_axis",
    "named",
    "odds_axis",
    "own_colour",
    "own_shape",
    "residual_labels",
    "residual_steps",
    "styles_of_families",
    "styles_of_settings",
    "text",
    "tooltips",
    "visible",
]

HIDDEN = ("hidden_settings", "hidden_datasets", "hidden_models")
WHOLE = " && ".join(f"length({name}) == 0" for name in ("hidden_datasets", "hidden_models"))
# Proportions for ticks, the roundest first.
TICKS = (
    *(0.5, 0.9, 0.1, 0.99, 0.01, 0.999, 0.001, 0.8, 0.2, 0.95, 0.05, 0.7, 0.3, 0.6, 0.4, 0.98),
    *(0.02, 0.995, 0.005, 0.85, 0.15, 0.97, 0.75, 0.25, 0.65, 0.92, 0.94, 0.96, 0.998),
    *(0.997, 0.9995, 0.992, 0.985),
)
STEPS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
MOST_TICKS = 7
LONG_REACH = 1.5
HEIGHT = 300
# Columns that identify a model in an average, with all that is constant per model.
MODEL = ["model", "family", "colour", "shape", "x", "predictor_text", "mean_low", "mean_high"]
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif"
# CSS variables stand for colours: the browser resolves them, so theme and print need no redrawing.
CONFIG: dict[str, Any] = {
    "background": "transparent",
    "font": FONT,
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--soft)",
        "titleColor": "var(--soft)",
        "domainColor": "var(--rule)",
        "tickColor": "var(--rule)",
        "gridColor": "var(--grid)",
        "labelFontSize": 11.5,
        "titleFontSize": 12,
        "titleFontWeight": 400,
        "titlePadding": 8,
        "tickSize": 4,
    },
    "axisQuantitative": {"labelOverlap": "greedy", "labelSeparation": 8, "tickCount": 6},
    # Aligns charts side by side.
    "axisY": {"minExtent": 30},
    "axisDiscrete": {
        "labelOverlap": False,
        "ticks": False,
        "domain": False,
        "labelLimit": 170,
    },
    "text": {"color": "var(--ink)"},
}


@dataclass(frozen=True)
class Chart:
    """One chart.

    Attributes
    ----------
    title
        The heading where a figure has several charts; may be empty.
    description
        Text for screen readers.
    spec
        Vega-Lite, with its data by name.
    setting, dataset
        What the whole chart is about: the chart is hidden with it.
    note
        A number below its title.
    """

    title: str
    description: str
    spec: dict[str, Any]
    setting: str | None = None
    dataset: str | None = None
    note: str = ""


@dataclass(frozen=True)
class PageFigure:
    """Charts that answer one question, with title and caption.

    Attributes
    ----------
    key
        The anchor.
    title, caption
        The question, and how to read the charts.
    charts
        In reading order.
    legend
        ``"families"``, ``"settings"`` (by colour and shape), ``"colours"`` (of settings, where
        shapes are families), ``"residuals"`` or empty.
    settings
        The settings in the legend.
    narrow
        Whether charts are small multiples, several in a row.
    table
        The anchor of the table that holds the same numbers.
    """

    key: str
    title: str
    caption: str
    charts: list[Chart] = field(default_factory=list)
    legend: str = ""
    settings: tuple[str, ...] = ()
    narrow: bool = False
    table: str = ""


def named(table: str, *columns: str) -> Any:
    """Start a chart of a named table, without the rows that the filter hides.

    Parameters
    ----------
    table
        The name of the data.
    columns
        Which of ``setting``, ``dataset`` and ``model`` the table has.
    """
    chart = alt.Chart(alt.NamedData(name=table))
    for column in columns:
        chart = chart.transform_filter(visible(column))
    return chart


def visible(column: str) -> str:
    """Return the Vega condition under which a row is visible."""
    return f"indexof(hidden_{column}s, datum.{column}) < 0"


def equal(column: str, value: str) -> str:
    """Return the Vega condition that a column holds a name, whatever its characters."""
    return f"datum[{text(column)}] === {text(value)}"


def text(value: str) -> str:
    """Quote a name for a Vega expression: a string of JSON is one of JavaScript."""
    return json.dumps(value)


def name_axis(title: str | None = None, **more: Any) -> Any:
    """Return an axis of names; long ones keep their start and end, where names differ."""
    cut = "slice(datum.label, 0, 13) + '\u2026' + slice(datum.label, -12)"
    label = f"length(datum.label) > 26 ? {cut} : datum.label"
    return alt.Axis(title=title, labelExpr=label, **more)


def odds_axis(title: str | None, proportions: Any) -> Any:
    """Return an axis in log odds whose ticks are labelled in percent.

    Parameters
    ----------
    title
        The title of the axis.
    proportions
        The values drawn along it, in [0, 1]: they decide how fine the ticks are.
    """
    label = "format(100 / (1 + exp(-datum.value)), '.4~r') + '%'"
    values = [round(float(v), 6) for v in logit(np.array(percent_ticks(proportions)))]
    return alt.Axis(title=title, values=values, labelExpr=label, grid=False, labelOverlap="greedy")


def log_odds_scale() -> Any:
    """Return a scale that fits what is visible, with room at its ends, and need not include 0."""
    return alt.Scale(zero=False, nice=False, padding=10)


def percent_ticks(proportions: Any) -> list[float]:
    """Choose ticks for proportions: even steps over a short reach, round numbers over a long one.

    Examples
    --------
    >>> percent_ticks([0.716, 0.808])
    [0.72, 0.74, 0.76, 0.78, 0.8]
    """
    inside = [float(p) for p in proportions if 0 < p < 1]
    if not inside or logit(max(inside)) - logit(min(inside)) > LONG_REACH:
        return spread_ticks(min(inside), max(inside)) if inside else list(TICKS)
    reach = max(inside) - min(inside)
    step = next((s for s in STEPS if reach / s <= MOST_TICKS), STEPS[-1])
    first, last = math.ceil(min(inside) / step - 0.5), math.floor(max(inside) / step + 0.5)
    ticks = [round(i * step, 6) for i in range(first, last + 1)]
    return [tick for tick in ticks if 0 < tick < 1]


def spread_ticks(low: float, high: float) -> list[float]:
    """Choose round proportions, the roundest first, that stand apart on a scale of log odds."""
    apart = (logit(high) - logit(low)) / MOST_TICKS
    chosen: list[float] = []
    for tick in TICKS:
        near = any(abs(logit(tick) - logit(other)) < apart for other in chosen)
        if logit(low) - apart < logit(tick) < logit(high) + apart and not near:
            chosen.append(tick)
    return sorted(chosen)


def own_colour(field: str = "colour") -> Any:
    """Return the encoding that takes each colour from its row."""
    return alt.Color(field=field, type="nominal", scale=None, legend=None)


def own_shape(field: str = "shape") -> Any:
    """Return the encoding that takes each shape from its row."""
    return alt.Shape(field=field, type="nominal", scale=None, legend=None)


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


def domain(values: Any, margin: float = 0.06) -> list[float]:
    """Return the range of the values with a margin."""
    finite = [float(v) for v in values if v is not None and math.isfinite(v)]
    if not finite:
        return [0.0, 1.0]
    low, high = min(finite), max(finite)
    room = margin * (high - low) or 0.5
    return [low - room, high + room]


def finished(chart: Any, description: str, height: int | None = HEIGHT) -> dict[str, Any]:
    """Return an Altair chart as Vega-Lite: as wide as its container, with the filter parameters."""
    chart = chart.properties(width="container", description=description)
    if height is not None:
        chart = chart.properties(height=height)
    spec: dict[str, Any] = chart.to_dict()
    # The page's configuration is one for all charts and comes with the embedding; the address of
    # the schema is of no use where there is no network.
    for key in ("config", "$schema"):
        spec.pop(key, None)
    spec["params"] = [*spec.get("params", []), *({"name": name, "value": []} for name in HIDDEN)]
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    return spec


# Colours of the figures in print, and the page's variables of the same hue.
VARIABLES = {
    "#0072B2": "--blue",
    "#D55E00": "--red",
    "#009E73": "--green",
    "#CC79A7": "--purple",
    "#E69F00": "--orange",
    "#56B4E9": "--sky",
    "#9A9A9A": "--grey",
    "#000000": "--ink",
}
# Matplotlib's markers: Vega's name of the shape, or else its path in a box from -1 to 1; and its
# path in a box of 16 x 16 for the legend, which is HTML.
SHAPES = {
    "o": ("circle", "M8 2a6 6 0 1 0 .01 0z"),
    "s": ("square", "M3 3h10v10H3z"),
    "^": ("triangle-up", "M8 2.5 14 13H2z"),
    "D": ("diamond", "M8 1.5 13 8 8 14.5 3 8z"),
    "v": ("triangle-down", "M8 13.5 2 3h12z"),
    "P": ("cross", "M6 2h4v4h4v4h-4v4H6v-4H2V6h4z"),
    "X": (
        "M-.9,-.45L-.45,-.9L0,-.45L.45,-.9L.9,-.45L.45,0L.9,.45L.45,.9L0,.45L-.45,.9L-.9,.45"
        "L-.45,0Z",
        "M2 5 5 2 8 5 11 2 14 5 11 8 14 11 11 14 8 11 5 14 2 11 5 8z",
    ),
    "<": ("triangle-left", "M2.5 8 13 14V2z"),
    ">": ("triangle-right", "M13.5 8 3 14V2z"),
    "p": ("M0,-.95L.9,-.29L.56,.77L-.56,.77L-.9,-.29Z", "M8 1.5 14.5 6.2 12 13.8H4L1.5 6.2z"),
}


@dataclass(frozen=True)
class Style:
    """How the models of a family, or the points of a setting, are drawn.

    Attributes
    ----------
    name
        The label in the legend.
    colour
        A CSS colour.
    shape
        A Vega symbol, or its path.
    path
        The same symbol as an SVG path in a box of 16 x 16.
    """

    name: str
    colour: str
    shape: str
    path: str


def page_style(name: str, mark: MarkerStyle) -> Style:
    """Return the page's version of a style of the print figures."""
    colour = VARIABLES.get(mark.colour.upper())
    shape, path = SHAPES.get(mark.shape, SHAPES["o"])
    return Style(name, f"var({colour})" if colour else mark.colour, shape, path)


def styles_of_settings(settings: Sequence[str]) -> dict[str, Style]:
    """Return the colour and shape of each setting: of its role, or the next free one."""
    return {name: page_style(name, mark) for name, mark in setting_styles(settings).items()}


def styles_of_families(families: Iterable[str]) -> dict[str, Style]:
    """Return the colour and shape of each family, in alphabetical order."""
    return {name: page_style(name, mark) for name, mark in marker_styles(families).items()}


def residual_steps(largest: float) -> tuple[list[float], list[str]]:
    """Return the six limits and the seven colours of steps of residuals around 0."""
    reach = max(largest, 0.05)
    limits = [round(reach * step, 2) for step in (-0.7, -0.4, -0.1, 0.1, 0.4, 0.7)]
    return limits, [f"var(--step-{i})" for i in range(7)]


def residual_labels(limits: list[float], colours: list[str]) -> list[tuple[str, str]]:
    """Return colour and label of each step of the residuals."""
    ends = [number(limit, plus=True) for limit in limits]
    between = [f"{low} to {high}" for low, high in pairwise(ends)]
    return list(zip(colours, [f"below {ends[0]}", *between, f"above {ends[-1]}"], strict=True))
