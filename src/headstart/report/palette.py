"""Colours and shapes: CSS variables, so that a chart follows the page's theme and its printing.

`headstart.figures.style` assigns colours and shapes, for the print figures: the page only adds a
tint for white paper (contrast 3:1) and one for a dark screen. Families and settings differ in shape
as well as in colour.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from headstart.figures.style import MarkerStyle, marker_styles, setting_styles
from headstart.report.formatting import number

__all__ = ["Style", "residual_labels", "residual_steps", "styles_of_families", "styles_of_settings"]

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
