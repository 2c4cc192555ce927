"""Colours and shapes: CSS variables, so that a chart follows the page's theme and its printing.

Okabe and Ito's palette, which people with any kind of colour blindness can tell apart, in two
versions: darkened where needed for a white page (3:1 against it), lightened for a dark one. A
family is told by its shape as well as by its colour.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from headstart.report.numbers import number
from headstart.spec.labels import role

__all__ = [
    "OTHER",
    "Family",
    "families_of",
    "residual_labels",
    "residual_steps",
    "setting_colour",
]

SETTING_COLOURS = {"linear": "--blue", "finetune": "--red", "scratch": "--green"}
MORE_COLOURS = ("--purple", "--orange", "--sky", "--ink")
FAMILY_COLOURS = (
    "--blue",
    "--red",
    "--green",
    "--purple",
    "--orange",
    "--sky",
    "--ink",
)
# Vega's symbols with their paths in a box of 16 x 16 for the legend, which is HTML.
SHAPES = {
    "circle": "M8 2a6 6 0 1 0 .01 0z",
    "square": "M3 3h10v10H3z",
    "triangle-up": "M8 2.5 14 13H2z",
    "diamond": "M8 1.5 13 8 8 14.5 3 8z",
    "cross": "M6 2h4v4h4v4h-4v4H6v-4H2V6h4z",
    "triangle-down": "M8 13.5 2 3h12z",
    "triangle-right": "M13.5 8 3 14V2z",
}
OTHER = "other families"
OTHER_SHAPE, OTHER_PATH = "triangle-left", "M2.5 8 13 14V2z"


@dataclass(frozen=True)
class Family:
    """How the models of one family are drawn.

    Attributes
    ----------
    name
        What the legend says.
    colour
        A CSS colour.
    shape
        A Vega symbol.
    path
        The same symbol as an SVG path in a box of 16 x 16.
    """

    name: str
    colour: str
    shape: str
    path: str


def variable(name: str) -> str:
    return f"var({name})"


def setting_colour(setting: str, settings: Sequence[str]) -> str:
    """Give the colour of a setting: by its role, or the next free one."""
    known = role(setting)
    taken = [other for other in settings if role(other) == known]
    if known and taken[:1] == [setting]:
        return variable(SETTING_COLOURS[known])
    extra = [s for s in settings if [o for o in settings if role(o) == role(s)][:1] != [s]]
    extra += [s for s in settings if role(s) is None and s not in extra]
    return variable(MORE_COLOURS[extra.index(setting) % len(MORE_COLOURS)])


def families_of(families: Sequence[str]) -> dict[str, Family]:
    """Give each family a colour and a shape; beyond seven, the small ones share the last.

    Parameters
    ----------
    families
        The family of each model: the ones with most models come first.
    """
    by_size = sorted(dict.fromkeys(families), key=lambda name: -list(families).count(name))
    looks = list(zip(FAMILY_COLOURS, SHAPES.items(), strict=True))
    other = Family(OTHER, variable("--soft"), OTHER_SHAPE, OTHER_PATH)
    return {
        name: Family(name, variable(looks[i][0]), *looks[i][1]) if i < len(looks) else other
        for i, name in enumerate(by_size)
    }


def residual_steps(largest: float) -> tuple[list[float], list[str]]:
    """Cut residuals in seven steps around 0: the six limits, and the seven colours."""
    reach = max(largest, 0.05)
    limits = [round(reach * step, 2) for step in (-0.7, -0.4, -0.1, 0.1, 0.4, 0.7)]
    return limits, [variable(f"--step-{i}") for i in range(7)]


def residual_labels(limits: list[float], colours: list[str]) -> list[tuple[str, str]]:
    """Name the steps of the residuals' colours: colour and words of each."""
    ends = [number(limit, plus=True) for limit in limits]
    between = [f"{low} to {high}" for low, high in pairwise(ends)]
    return list(zip(colours, [f"below {ends[0]}", *between, f"above {ends[-1]}"], strict=True))
