"""The look of every figure: colours, shapes, sizes, the configuration of Vega-Lite.

Colours are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), without the yellow, which is
too faint on white. What differs in colour differs in shape, too: figures survive a greyscale
printer. Charts name colours by CSS variables, so that a page's theme and its printing change them
without redrawing; in print and in files they are `PRINT_COLOURS`.
"""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from headstart.spec.formatting import role, setting_label

__all__ = [
    "BOLD_SIZE",
    "COLUMN_WIDTH",
    "CONFIG",
    "FONT",
    "FONT_SIZE",
    "PRINT_COLOURS",
    "PX_PER_INCH",
    "TEXT_WIDTH",
    "Style",
    "class_styles",
    "in_print_colours",
    "marker_styles",
    "residual_steps",
    "setting_styles",
]

# In print an inch has as many pixels as make the sizes of a page, 11.5 pixels of text, 7.2 points.
PX_PER_INCH = 115.2
COLUMN_WIDTH = 3.4  # inches: one column of a two-column journal
TEXT_WIDTH = 7.0  # inches: both columns
FONT = "Liberation Sans"  # comes with vl-convert: figures are the same wherever they are drawn
FONT_SIZE, BOLD_SIZE = 11.5, 12.5  # pixels: of text, of titles of panels
MOST_STYLES = 8  # that a reader tells apart

# Light colours of the page's style sheet (tests compare them).
PRINT_COLOURS = {
    "--paper": "#ffffff", "--panel": "#f6f6f4", "--ink": "#1c1c1a", "--soft": "#5c5c57",
    "--rule": "#c9c9c2", "--grid": "#ebebe6", "--band": "#e4e6e8",
    "--blue": "#0072b2", "--red": "#d55e00", "--green": "#00875f", "--purple": "#b0598c",
    "--orange": "#b87a00", "--sky": "#2f8fc4", "--grey": "#7d7d7d",
    "--step-0": "#a8480a", "--step-1": "#e08a4b", "--step-2": "#f6cfae", "--step-3": "#efefec",
    "--step-4": "#b9d6ea", "--step-5": "#5fa3cf", "--step-6": "#0a5f96",
}  # fmt: skip

CONFIG: dict[str, Any] = {
    "background": "transparent",
    "font": "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--soft)",
        "titleColor": "var(--soft)",
        "domainColor": "var(--rule)",
        "tickColor": "var(--rule)",
        "gridColor": "var(--grid)",
        "labelFontSize": FONT_SIZE,
        "titleFontSize": FONT_SIZE,
        "titleFontWeight": 400,
        "titlePadding": 6,
        "tickSize": 4,
    },
    "axisQuantitative": {"labelSeparation": 8, "tickCount": 6},
    # Aligns charts side by side.
    "axisY": {"minExtent": 30},
    "axisDiscrete": {"labelOverlap": False, "ticks": False, "domain": False, "labelLimit": 190},
    "text": {"color": "var(--ink)", "fontSize": FONT_SIZE},
}


class Style(NamedTuple):
    """How a family, a dataset or a setting is drawn."""

    label: str  # in the legend
    colour: str  # a CSS variable of `PRINT_COLOURS`, as ``var(--blue)``
    shape: str  # a symbol of Vega, or its path in a box from -1 to 1
    path: str  # the same symbol as an SVG path in a box of 16 x 16
    dashes: tuple[float, ...] = ()  # and gaps of its line in pixels; empty for a solid line


# Eight pairs of a colour and a shape; the last stands for all that have none of their own.
COLOURS = ("blue", "red", "green", "purple", "orange", "sky", "ink", "grey")
SHAPES = (
    ("circle", "M8 2a6 6 0 1 0 .01 0z"),
    ("square", "M3 3h10v10H3z"),
    ("triangle-up", "M8 2.5 14 13H2z"),
    ("diamond", "M8 1.5 13 8 8 14.5 3 8z"),
    ("triangle-down", "M8 13.5 2 3h12z"),
    ("cross", "M6 2h4v4h4v4h-4v4H6v-4H2V6h4z"),
    (
        "M-.9,-.45L-.45,-.9L0,-.45L.45,-.9L.9,-.45L.45,0L.9,.45L.45,.9L0,.45L-.45,.9L-.9,.45"
        "L-.45,0Z",
        "M2 5 5 2 8 5 11 2 14 5 11 8 14 11 11 14 8 11 5 14 2 11 5 8z",
    ),
    ("M0,-.95L.9,-.29L.56,.77L-.56,.77L-.9,-.29Z", "M8 1.5 14.5 6.2 12 13.8H4L1.5 6.2z"),
)
DASHES: tuple[tuple[float, ...], ...] = ((), (6, 3), (2, 2), (8, 2, 2, 2))
# Places of the pairs of these roles, the same in every figure; solid, dashed and dotted lines.
ROLES = {"linear": (0, 0), "finetune": (4, 1), "scratch": (7, 2)}


def style_at(label: str, place: int, dashes: int | None = None, shape: int | None = None) -> Style:
    """Return the pair at a place, its line by the same place unless `dashes` says which."""
    line = DASHES[(place if dashes is None else dashes) % len(DASHES)]
    symbol = SHAPES[place if shape is None else shape % len(SHAPES)]
    return Style(label, f"var(--{COLOURS[place]})", *symbol, line)


def marker_styles(names: Iterable[str], kind: str = "others") -> dict[str, Style]:
    """Return a style for each name, whatever the order of rows.

    Up to eight names have a style of their own, in alphabetical order. Of more, the seven that
    occur most often have one, and one stands for all others. Those that occur most often are first.

    Examples
    --------
    >>> marker_styles(["ResNet", "DenseNet"])["DenseNet"][:3]
    ('DenseNet', 'var(--blue)', 'circle')
    """
    counts = Counter(names)
    own = sorted(counts)
    if len(own) > MOST_STYLES:
        own = sorted(sorted(counts, key=lambda name: (-counts[name], name))[: MOST_STYLES - 1])
    others = style_at(f"{len(counts) - len(own)} {kind}", MOST_STYLES - 1)
    places = {name: place for place, name in enumerate(own)}
    own.sort(key=lambda name: (-counts[name], name))
    styles = {name: style_at(name, places[name]) for name in own}
    return {**styles, **{name: others for name in sorted(counts) if name not in styles}}


def class_styles(names: Iterable[str]) -> dict[str, Style]:
    """Return a style for each class of images, alphabetically; the first 64 differ in a pair."""
    places = enumerate(sorted(set(names)))
    return {name: style_at(name, i % 8, shape=i + i // 8) for i, name in places}


def setting_styles(settings: Iterable[str]) -> dict[str, Style]:
    """Return the style of each setting: that of its role, or the next free one.

    One style stands for all that are left when seven have one.
    """
    chosen: dict[str, Style] = {}
    taken: set[int] = set()
    spare = [1, 2, 3, 5, 6, 0, 4]
    for setting in settings:
        place, dashes = ROLES.get(role(setting) or "", (None, None))
        if place is None or place in taken:
            place = next((one for one in spare if one not in taken), MOST_STYLES - 1)
            dashes = None
        taken.add(place)
        chosen[setting] = style_at(setting_label(setting), place, dashes)
    return chosen


def residual_steps(largest: float) -> tuple[list[float], list[str]]:
    """Return the six limits and the seven colours of steps of residuals around 0.

    Limits lie between the numbers of two digits that residuals are written with, so that the same
    number never has two colours.

    Examples
    --------
    >>> residual_steps(1.0)[0]
    [-0.695, -0.395, -0.095, 0.095, 0.395, 0.695]
    """
    reach = max(largest, 0.05)
    upper: list[float] = []
    for step in (0.1, 0.4, 0.7):
        least = upper[-1] + 0.01 if upper else 0.005
        upper.append(round(max(round(reach * step, 2) - 0.005, least), 3))
    limits = [-limit for limit in reversed(upper)] + upper
    return limits, [f"var(--step-{i})" for i in range(7)]


def in_print_colours(text: str) -> str:
    """Replace the CSS variables in JSON or SVG by the colours of print.

    Examples
    --------
    >>> in_print_colours("var(--blue)")
    '#0072b2'
    """
    return re.sub(r"var\((--[\w-]+)\)", lambda found: PRINT_COLOURS[found[1]], text)
