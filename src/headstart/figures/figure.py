"""A figure: its panels, legend and caption, drawn for print or for the page."""

import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import altair as alt

from headstart.errors import UnknownNameError
from headstart.figures.figure_data import FigureData
from headstart.figures.panel import (
    LegendEntry,
    Panel,
    PlotArea,
    chart_spec,
    page_params,
    self_contained,
)
from headstart.figures.style import CONFIG
from headstart.files import replaced
from headstart.spec.formatting import listed

if TYPE_CHECKING:
    from headstart.figures.printing import PrintedFigure

__all__ = ["FORMATS", "Figure"]

PAGE_WIDTH = 240  # pixels: of the narrowest plot on a page
MOST_NAMES = 110  # pixels of names in charts beside each other on a page
FORMATS = ("png", "svg", "pdf")


@dataclass(frozen=True)
class Figure:
    """A figure of an analysis, one of `headstart.figures.FIGURES` by its `name`.

    It has two looks. `savefig` writes the one for print; notebooks show it. `page` returns the
    interactive one, for the report.
    """

    name: str
    title: str  # the question that it answers
    caption: str  # how to read it
    panels: Sequence[Panel]
    data: FigureData
    legend: Sequence[LegendEntry] = ()
    # Panels beside each other in print. A single one takes a column of a two-column journal, or the
    # width of the text if the figure is wide.
    columns: int = 2
    wide: bool = False
    narrow: bool = False  # small multiples on the page, without titles of vertical axes
    shared_names: bool = False  # panels beside each other share the names on the vertical axis
    # Rows that are drawn, and how many there are, where the page shows the others on demand.
    rows: tuple[int, int] | None = None
    source: str = ""  # where the numbers come from, for the end of the caption
    # Draws the same figure from other data: from the same tables for the page.
    redraw: Callable[[FigureData], "Figure"] | None = field(default=None, repr=False)

    @property
    def key(self) -> str:
        """The anchor on the page."""
        return f"figure-{self.name}"

    @property
    def broad(self) -> bool:
        """Whether names leave charts beside each other on a page less than two thirds."""
        widest = max((panel.names_width for panel in self.panels), default=0.0)
        return len(self.panels) > 1 and widest > MOST_NAMES

    @property
    def others(self) -> str:
        """Which families share the last style of the legend, if any do."""
        shared = Counter(self.data.family_styles.values())
        other = {name: s.label for name, s in self.data.family_styles.items() if shared[s] > 1}
        labels = {entry.style.label for entry in self.legend}
        names = [name for name, label in other.items() if label in labels]
        return f"{other[names[0]]}: {listed(names, 12)}." if names else ""

    @property
    def full_caption(self) -> str:
        """The caption of print: how to read the figure, what is left out, the source."""
        drawn, of = self.rows or (0, 0)
        left_out = f"The {of - drawn} lowest of {of} models are not shown." if of > drawn else ""
        return " ".join(filter(None, [self.caption, self.others, left_out, self.source]))

    def page(self) -> "Figure":
        """Return the figure for a page, whose charts have filters and colours of its theme."""
        if self.data.interactive or self.redraw is None:
            return self
        return self.redraw(FigureData(self.data.tables, self.data.predictor, interactive=True))

    def specs(self) -> list[dict[str, Any]]:
        """Return the page's charts as Vega-Lite that names its tables, one per panel."""
        return [page_spec(panel, self) for panel in self.page().panels]

    def to_altair(self) -> Any:
        """Return the interactive figure as an Altair chart with its data."""
        return alt.Chart.from_dict(self.to_dict(), validate=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the interactive figure as one Vega-Lite chart with its data."""
        figure = self.page()
        width = 340 if len(figure.panels) > 1 else 520
        charts = [
            {
                "title": panel.title,
                **chart_spec(panel.draw(PlotArea(width, panel.height))),
                "width": width,
                "height": panel.height,
            }
            for panel in figure.panels
        ]
        return self_contained(
            {
                "$schema": alt.SCHEMA_URL,
                "title": {"text": figure.title, "subtitle": figure.caption},
                "concat": charts,
                "columns": 2,
                "params": page_params(show_all=True),
                "config": {**CONFIG, "background": "white"},
            },
            figure.data,
        )

    @cached_property
    def printed(self) -> "PrintedFigure":
        """Return the figure laid out for print."""
        from headstart.figures.printing import print_figure

        return print_figure(self)

    def savefig(self, path: Any, format: str | None = None) -> None:  # noqa: A002 (matplotlib's)
        """Write the figure for print; the same figure gives the same bytes.

        `path` is a file, written whole or not at all, or an open binary file; `format` is ``png``,
        ``svg`` or ``pdf``, by default the ending of `path`.

        Raises
        ------
        UnknownNameError
            Another format.
        NotWritableError, DiskFullError, StorageError
            The file cannot be written.
        """
        is_file = isinstance(path, io.IOBase)
        kind = (format or ("png" if is_file else Path(str(path)).suffix[1:] or "png")).lower()
        if kind not in FORMATS:
            raise UnknownNameError("figure format", kind, FORMATS)
        content = self.printed.to_bytes(kind)
        if is_file:
            path.write(content)
            return
        with replaced(Path(str(path))) as temporary:
            temporary.write_bytes(content)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """Show the figure in a notebook."""
        return {
            "image/svg+xml": self.printed.svg,
            "text/plain": f"<figure {self.name}: {self.title}>",
        }

    def _repr_html_(self) -> str:
        return f'<div style="background: white">{self.printed.svg}</div>'


def page_spec(panel: Panel, figure: Figure) -> dict[str, Any]:
    """Return the Vega-Lite of a panel for the page: as wide as its container, with the filters.

    Its configuration and data are one for all charts of the page and come with the embedding; the
    address of the schema is of no use where there is no network.
    """
    # Ticks have room on a narrow screen; a wider one spreads them.
    chart = panel.draw(PlotArea(PAGE_WIDTH, panel.height, left=not figure.narrow))
    spec = chart_spec(chart)
    if len(figure.panels) > 1 and "layer" in spec and not panel.bare:
        spec["layer"].append(OVERHANG)
    if figure.rows:
        # Of all rows, which the page's script shows on demand.
        spec["usermeta"] = {"height": panel.height * figure.rows[1] / figure.rows[0]}
    # What has no axes fills a box of the page.
    height, fit = ("container", "fit") if panel.bare else (panel.height, "fit-x")
    return {
        **spec,
        "width": "container",
        "height": height,
        "description": panel.description,
        "params": [*spec.get("params", []), *page_params(show_all=False)],
        "autosize": {"type": fit, "contains": "padding"},
    }


# As much room above the plot as half a label may take: the plots of a row start at one height.
OVERHANG: dict[str, Any] = {
    "data": {"values": [{}]},
    "mark": {"type": "text", "text": " ", "fontSize": 16, "opacity": 0, "aria": False,
             "tooltip": None},
    "encoding": {"x": {"value": 0}, "y": {"value": 0}},
}  # fmt: skip
