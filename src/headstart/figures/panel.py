"""The panels of a figure and its legend, and their charts as Vega-Lite."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from headstart.figures.figure_data import FigureData, as_key, plain
from headstart.figures.figure_text import elided, text_width
from headstart.figures.style import Style, in_print_colours

__all__ = [
    "CROWD",
    "MOST_ROWS",
    "ROW",
    "LegendEntry",
    "Note",
    "Panel",
    "PlotArea",
    "abreast",
    "changed_texts",
    "filter_params",
    "legend_of",
    "self_contained",
    "setting_legend",
]

ROW = 18  # pixels of a row of models
CROWD = 30  # models; error bars and names of more would hide the points
MOST_ROWS = 40  # of models; the page shows the others on demand


class PlotArea(NamedTuple):
    """Where a panel stands: its plot's size in pixels, and which axes have a title there."""

    width: float
    height: float
    left: bool = True
    lowest: bool = True


class Note(NamedTuple):
    """A number above a chart; the page hides it with the `setting` that it is about."""

    text: str
    colour: str = ""
    setting: str | None = None


@dataclass(frozen=True)
class Panel:
    """One chart of a figure."""

    # Makes an Altair chart of named tables for its place.
    draw: Callable[[PlotArea], Any]
    # Its heading where a figure has several panels; text for screen readers.
    title: str
    description: str
    height: float = 300  # pixels of its plot
    notes: Sequence[Note] = ()  # below the heading
    # What the whole chart is about: the page hides the chart with it.
    setting: str | None = None
    dataset: str | None = None
    # Names along its axes; the latter are set upright.
    y_labels: Sequence[str] = ()
    x_labels: Sequence[str] = ()
    right: float = 0.0  # pixels of labels on the right of its plot
    square: bool = False  # whether its plot is as high as wide in print
    bare: bool = False  # without axes
    widest: float | None = None  # pixels of its plot and names on the page, at the most

    @property
    def names_width(self) -> float:
        """The width in pixels of the names on its vertical axis."""
        names = [name if "\n" in name else elided(name) for name in self.y_labels]
        return max(map(text_width, names), default=0.0)

    def spec(self, place: PlotArea) -> dict[str, Any]:
        """Return its chart as Vega-Lite without configuration and schema, which figures bring.

        Names are keys, as in the tables of charts (`as_key`).
        """
        spec: dict[str, Any] = changed_texts(self.draw(place).to_dict(validate=False), as_key)
        bare = {key: value for key, value in spec.items() if key not in ("config", "$schema")}
        return {**bare, "width": place.width, "height": place.height}


class LegendEntry(NamedTuple):
    """A style in a legend, its mark a ``"symbol"``, ``"line"``, ``"box"`` or ``"ring"``.

    `setting` is the setting with which the page hides it.
    """

    style: Style
    mark: str = "symbol"
    setting: str | None = None

    @property
    def width(self) -> int:
        """The width of its mark in pixels; it is 16 high."""
        return 30 if self.mark == "line" else 16

    @property
    def svg(self) -> str:
        """Its mark as elements of SVG."""
        colour, path = self.style.colour, self.style.path
        if self.mark == "ring":
            return (
                f'<circle cx="8" cy="8" r="5.5" fill="none" stroke="{colour}" stroke-width="1.3"/>'
            )
        if self.mark == "box":
            path = "M1 3h14v10H1z"
        symbol = f'<path d="{path}" fill="{colour}"/>' if path else ""
        if self.mark != "line":
            return symbol
        dashes = " ".join(map(str, self.style.dashes)) or "none"
        return (
            f'<path d="M0 8h30" stroke="{colour}" stroke-width="1.6" fill="none" '
            f'stroke-dasharray="{dashes}"/><g transform="translate(8.5,1.5) scale(.8)">{symbol}</g>'
        )


def filter_params(*, show_all: bool = False) -> list[dict[str, Any]]:
    """Return the parameters that filters read: what is hidden, whether all rows are drawn."""
    hidden = ("hidden_settings", "hidden_datasets", "hidden_models")
    return [*({"name": name, "value": []} for name in hidden),
            {"name": "show_all", "value": show_all}]  # fmt: skip


def self_contained(spec: Mapping[str, Any], data: FigureData) -> dict[str, Any]:
    """Return a chart in the colours of print with the rows of the tables that it names."""
    datasets = dict(spec.get("datasets", {}))
    for name, table in data.frames(spec).items():
        datasets[name] = [dict(zip(table, map(plain, row), strict=True))
                          for row in table.itertuples(index=False, name=None)]  # fmt: skip
    found: dict[str, Any] = json.loads(in_print_colours(json.dumps({**spec, "datasets": datasets})))
    return found


def changed_texts(spec: Any, change: Callable[[str], str]) -> Any:
    """Return a specification with every text in it changed, but for the keys of mappings."""
    if isinstance(spec, str):
        return change(spec)
    if isinstance(spec, Mapping):
        return {key: changed_texts(value, change) for key, value in spec.items()}
    parts = isinstance(spec, list | tuple)
    return [changed_texts(value, change) for value in spec] if parts else spec


def abreast(panels: int) -> int:
    """Return how many of so many small panels stand beside each other in print."""
    return 2 if panels in (1, 2, 4) else 3 if panels in (3, 5, 6, 9) else 4


def legend_of(styles: Mapping[str, Style], mark: str = "symbol") -> list[LegendEntry]:
    """Return one entry per style, if there are several."""
    own = list(dict.fromkeys(styles.values()))
    return [LegendEntry(style, mark) for style in own] if len(own) > 1 else []


def setting_legend(
    data: FigureData, settings: Sequence[str], mark: str = "symbol"
) -> list[LegendEntry]:
    """Return the legend of settings, if there are several."""
    entries = [LegendEntry(data.setting_styles[name], mark, name) for name in settings]
    return entries if len(entries) > 1 else []
