"""A figure: panels, legend and caption, drawn for the page or laid out for print.

In print panels stand in a grid, the legend above, the caption below, as PNG, SVG or PDF. Vega-Lite
draws each panel in a box whose plot area is known beforehand, which is what the places of labels
rest on (`figure_text`). The same figure gives the same bytes.
"""

import io
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert
from PIL import Image

from headstart.errors import UnknownNameError
from headstart.figures.figure_data import FigureData
from headstart.figures.figure_text import elided, fitted, text_width, wrapped
from headstart.figures.panel import (
    MOST_ROWS,
    LegendEntry,
    Note,
    Panel,
    PlotArea,
    changed_texts,
    filter_params,
    self_contained,
)
from headstart.figures.style import (
    BOLD_SIZE,
    COLUMN_WIDTH,
    CONFIG,
    FONT,
    FONT_SIZE,
    PX_PER_INCH,
    TEXT_WIDTH,
    in_print_colours,
)
from headstart.files import replaced
from headstart.shown_text import harmless
from headstart.spec.formatting import listed

__all__ = ["FORMATS", "Figure", "canonical_pdf"]

FORMATS = ("png", "svg", "pdf")
PAGE_WIDTH = 240  # pixels: of the narrowest plot on a page
MOST_NAMES = 110  # pixels of names in charts beside each other on a page
DPI = 200
FEW = 3  # panels that all have titles of their horizontal axes
EDGE, GAP = 6.0, 14.0  # pixels around the figure, between panels
HALF_LABEL = 14.0  # pixels of half a label at the end of an axis
LINE = 15.0  # pixels of a line of text
TICKS, TITLE = 8.0, 20.0  # pixels of the ticks of an axis, of its title
NUMBERS = 36.0  # pixels of the labels of a vertical axis of numbers
BOX = 11.0  # pixels of the box of a colour, and of the gap behind it
LONGEST = 250.0  # pixels of a name in a legend
MOST_NAME: float = CONFIG["axisDiscrete"]["labelLimit"]  # pixels of a name on an axis
# One font for all text; no marks for screen readers, which would triple a file.
PRINT_CONFIG = {**CONFIG, "font": FONT, "aria": False, "axisY": {"minExtent": 0}}


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
    models: int = 0  # that have a row each, of which the first `MOST_ROWS` are drawn
    source: str = ""  # where the numbers come from, for the end of the caption
    # Draws the same figure from other data: from the same tables for the page.
    redraw: Callable[[FigureData], "Figure"] | None = field(default=None, repr=False)

    @property
    def key(self) -> str:
        """The anchor on the page."""
        return f"figure-{self.name}"

    @property
    def rows(self) -> tuple[int, int] | None:
        """How many rows are drawn of how many, where the page shows the others on demand."""
        return (MOST_ROWS, self.models) if self.models > MOST_ROWS else None

    @property
    def broad(self) -> bool:
        """Whether names leave charts beside each other on a page less than two thirds."""
        widest = max((panel.names_width for panel in self.panels), default=0.0)
        return len(self.panels) > 1 and widest > MOST_NAMES

    @property
    def others(self) -> str:
        """Which families share the last style of the legend, if any do."""
        styles = self.data.family_styles
        shared = Counter(styles.values())
        drawn = {entry.style.label for entry in self.legend}
        names = [name for name, s in styles.items() if shared[s] > 1 and s.label in drawn]
        return f"{styles[names[0]].label}: {listed(names, 12)}." if names else ""

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
        """Return the page's charts as Vega-Lite that names its tables, one per panel.

        A chart is as wide as its container. Its configuration and data are one for all charts of
        the page and come with the embedding.
        """
        return [page_spec(panel, self) for panel in self.page().panels]

    def to_altair(self) -> Any:
        """Return the interactive figure as an Altair chart with its data."""
        return alt.Chart.from_dict(self.to_dict(), validate=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the interactive figure as one Vega-Lite chart with its data."""
        figure = self.page()
        width = 340 if len(figure.panels) > 1 else 520
        spec = {
            "$schema": alt.SCHEMA_URL,
            "title": {"text": figure.title, "subtitle": figure.caption},
            "concat": [
                {"title": panel.title, **panel.spec(PlotArea(width, panel.height))}
                for panel in figure.panels
            ],
            "columns": 2,
            "params": filter_params(show_all=True),
            "config": {**CONFIG, "background": "white"},
        }
        return self_contained(spec, figure.data)

    @cached_property
    def printed(self) -> "PrintedFigure":
        """The figure laid out for print."""
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
    # Ticks have room on a narrow screen; a wider one spreads them.
    spec = panel.spec(PlotArea(PAGE_WIDTH, panel.height, left=not figure.narrow))
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
        "params": [*spec.get("params", []), *filter_params()],
        "autosize": {"type": fit, "contains": "padding"},
    }


# As much room above the plot as half a label may take: the plots of a row start at one height.
OVERHANG: dict[str, Any] = {
    "data": {"values": [{}]},
    "mark": {"type": "text", "text": " ", "fontSize": 16, "opacity": 0, "aria": False,
             "tooltip": None},
    "encoding": {"x": {"value": 0}, "y": {"value": 0}},
}  # fmt: skip


@dataclass(frozen=True)
class PrintedFigure:
    """A figure laid out."""

    body: str  # elements of SVG, in pixels
    width: float  # inches
    height: float
    # The place of each panel's plot in pixels: left, top, width, height; its Vega-Lite with data.
    plots: Sequence[tuple[float, float, float, float]]
    specs: Sequence[dict[str, Any]]

    @property
    def svg(self) -> str:
        """The figure as SVG with its size in inches."""
        return self._document(f"{self.width:g}in", f"{self.height:.4g}in")

    def to_bytes(self, kind: str) -> bytes:
        """Return the figure as a png, svg or pdf file."""
        if kind == "svg":
            return self.svg.encode()
        # vl-convert takes a unit of SVG for a point.
        points = self._document(f"{72 * self.width:g}", f"{72 * self.height:.4f}")
        if kind == "pdf":
            return canonical_pdf(vl_convert.svg_to_pdf(points))
        # Without the channel of opacity, a third of the bytes.
        image = Image.open(io.BytesIO(vl_convert.svg_to_png(points, ppi=DPI))).convert("RGB")
        image.save(file := io.BytesIO(), "png", dpi=(DPI, DPI))
        return file.getvalue()

    def _document(self, width: str, height: str) -> str:
        box = f"0 0 {PX_PER_INCH * self.width:g} {PX_PER_INCH * self.height:.2f}"
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="{box}">{harmless(self.body)}</svg>'
        )


def print_figure(figure: Figure) -> PrintedFigure:
    panels = figure.panels
    columns = min(figure.columns, len(panels))
    width = COLUMN_WIDTH if columns == 1 and not figure.wide else TEXT_WIDTH
    total = width * PX_PER_INCH
    lefts = [left_margin(figure, column, columns) for column in range(columns)]
    rights = [max(panel.right for panel in panels[column::columns]) for column in range(columns)]
    rights[-1] = max(rights[-1], 0.0 if panels[-1].bare else HALF_LABEL)
    room = total - 2 * EDGE - GAP * (columns - 1) - sum(lefts) - sum(rights)
    plot = max(room / columns, 40.0)
    parts, y = legend(figure.legend, total)
    plots, specs = [], list[dict[str, Any]]()
    for first in range(0, len(panels), columns):
        row = panels[first : first + columns]
        headings = [heading(panel, plot + rights[i]) for i, panel in enumerate(row)]
        top = y + max(LINE * len(lines) for lines in headings) + 6
        x, bottom = EDGE, top
        for i, (panel, lines) in enumerate(zip(row, headings, strict=True)):
            x += lefts[i]
            height = plot if panel.square else panel.height
            lowest = first + i + columns >= len(panels) or len(panels) <= FEW
            spec = print_spec(figure, panel, PlotArea(plot, height, i == 0, lowest))
            below = bottom_margin(panel, lowest)
            margins = {"left": lefts[i], "top": 20, "right": rights[i] + 20, "bottom": below}
            inner = as_part({**spec, "padding": margins}, len(specs))
            parts.append(f'<g transform="translate({x - lefts[i]:.2f},{top - 20:.2f})">{inner}</g>')
            start = top - 6 - LINE * (len(lines) - 1)
            for number, one in enumerate(lines):
                parts.append(heading_line(x, start + LINE * number, one))
            plots.append((x, top, plot, height))
            specs.append(spec)
            x += plot + rights[i] + GAP
            bottom = max(bottom, top + height + below)
        y = bottom + GAP
    height = max(place[3] for place in plots[first:])
    beside = (x, top + 12, height) if len(row) < columns else None
    below_panels, y = caption(figure.full_caption, y, total, beside)
    body = "".join(['<rect width="100%" height="100%" fill="white"/>', *parts, *below_panels])
    return PrintedFigure(in_print_colours(body), width, (y + EDGE) / PX_PER_INCH, plots, specs)


def caption(
    words: str, y: float, total: float, beside: tuple[float, float, float] | None
) -> tuple[list[str], float]:
    """Return the lines of a caption, and where the figure ends.

    A place `beside` the panels, left, top and height, that the last row leaves empty is for the
    caption, where it fits in.
    """
    if not words:
        return [], y - GAP
    lines = wrapped(words, total - 2 * EDGE, 8, text_width).split("\n")
    x, top, end = EDGE, y + 4, y + LINE * len(lines)
    if beside:
        narrow = wrapped(words, max(total - EDGE - beside[0], 1), 99, text_width).split("\n")
        if LINE * len(narrow) <= beside[2]:
            lines, (x, top, _), end = narrow, beside, y
    return [
        text(x, top + LINE * i, line, colour="var(--soft)") for i, line in enumerate(lines)
    ], end


def print_spec(figure: Figure, panel: Panel, place: PlotArea) -> dict[str, Any]:
    """Return the Vega-Lite of a panel with its data, in a box whose plot area is known."""
    spec = panel.spec(place)
    params = [*spec.get("params", []), *filter_params()]
    box = {"autosize": {"type": "none"}, "config": PRINT_CONFIG, "params": params}
    return self_contained({**spec, **box}, figure.data)


def as_part(spec: dict[str, Any], index: int) -> str:
    """Draw a panel as part of a document of SVG.

    Its clip paths are numbered from 0, where Vega counts those that it ever made. Marks get the
    opacity of a fill and a stroke: that of a whole element is a group for each mark in PDF.
    """
    # XML has no control characters.
    svg = vl_convert.vegalite_to_svg(changed_texts(spec, harmless))
    svg = svg[svg.index(">") + 1 : svg.rindex("</svg>")]
    svg = re.sub(r' opacity="(0?\.\d+)"', r' fill-opacity="\1" stroke-opacity="\1"', svg)
    numbers = {old: i for i, old in enumerate(dict.fromkeys(re.findall(r"\bclip\d+\b", svg)))}
    return re.sub(r"\bclip\d+\b", lambda found: f"panel{index}-clip{numbers[found[0]]}", svg)


def left_margin(figure: Figure, column: int, columns: int) -> float:
    """Return the pixels left of the plots of a column: names or numbers, a title."""
    own = figure.panels[column::columns]
    widest = max(panel.names_width for panel in own)
    if all(panel.bare for panel in own) or (widest and figure.shared_names and column):
        return 0.0
    return min(widest, MOST_NAME) + TICKS if widest else NUMBERS + TICKS + TITLE * (column == 0)


def bottom_margin(panel: Panel, lowest: bool) -> float:
    """Return the pixels below the plot of a panel: numbers, or names set upright, a title."""
    if panel.bare or (panel.x_labels and not lowest):
        return 0.0
    if panel.x_labels:
        return min(max(map(text_width, map(elided, panel.x_labels))), MOST_NAME) + TICKS
    return LINE + TICKS + TITLE * lowest


def heading(panel: Panel, room: float) -> list[str | list[Note]]:
    lines: list[str | list[Note]] = []
    if panel.title:
        lines += fitted(panel.title, room, size=BOLD_SIZE, bold=True, most=2).split("\n")
    if not panel.notes:
        return lines
    # "r = " once is enough.
    first, *others = panel.notes
    notes = [first, *(note._replace(text=note.text.removeprefix("r = ")) for note in others)]
    if sum(map(note_width, notes)) > room:
        notes = [Note(fitted(", ".join(note.text for note in notes), room))]
    return [*lines, notes]


def note_width(note: Note) -> float:
    """Return the pixels of a note with the box of its colour, and of a space behind it."""
    return text_width(note.text) + BOX * bool(note.colour) + 8


def heading_line(x: float, y: float, line: str | list[Note]) -> str:
    """Return a line above a panel: of its title, or its notes, each behind its colour."""
    if isinstance(line, str):
        return text(x, y, line, bold=True)
    drawn = []
    for note in line:
        start = x
        if note.colour:
            drawn.append(
                f'<rect x="{x:.2f}" y="{y - 8:.2f}" width="8" height="8" fill="{note.colour}"/>'
            )
            start += BOX
        drawn.append(text(start, y, note.text, colour="var(--soft)"))
        x += note_width(note)
    return "".join(drawn)


def legend(entries: Sequence[LegendEntry], total: float) -> tuple[list[str], float]:
    """Return a legend in rows across the figure, and where it ends."""
    parts, x, y = [], EDGE, EDGE
    for entry in entries:
        label = fitted(entry.style.label, LONGEST)
        mark = entry.width + 5.0
        width = mark + text_width(label) + 14
        if x > EDGE and x + width > total:
            x, y = EDGE, y + LINE + 2
        parts.append(f'<g transform="translate({x:.2f},{y:.2f})">{entry.svg}</g>')
        parts.append(text(x + mark, y + 12, label))
        x += width
    return parts, y + (LINE + 6 if entries else 0)


def text(x: float, y: float, line: str, *, bold: bool = False, colour: str = "var(--ink)") -> str:
    look = f'font-size="{BOLD_SIZE}" font-weight="bold"' if bold else f'font-size="{FONT_SIZE}"'
    place = f'x="{x:.2f}" y="{y:.2f}"'
    return f'<text {place} font-family="{FONT}" {look} fill="{colour}">{escape(line)}</text>'


def canonical_pdf(content: bytes) -> bytes:
    """Number the objects of a PDF in the order in which its root reaches them, fonts by name.

    vl-convert, which writes no object streams, keeps fonts and groups in hash tables, whose order
    differs from call to call.
    """
    objects: dict[int, tuple[bytes, bytes]] = {}
    place = 0
    while start := re.compile(rb"(\d+) 0 obj\r?\n").search(content, place):
        # The length of a stream stands before it; its bytes may hold any text.
        head = re.compile(rb".*?(?=\bstream\r?\n|endobj)", re.S).match(content, start.end())
        length = re.search(rb"/Length (\d+)", head[0]) if head else None
        if not head:
            break
        end = content.index(b"endobj", head.end() + (int(length[1]) if length else 0))
        objects[int(start[1])] = (by_name(head[0]), content[head.end() : end])
        place = end
    trailer = content[content.rindex(b"trailer") : content.rindex(b"startxref")]
    order: dict[int, int] = {}

    def visit(body: bytes) -> None:
        for found in REFERENCE.finditer(body):
            number = int(found[1])
            if number not in order:
                order[number] = len(order) + 1
                visit(objects[number][0])

    def renumbered(body: bytes) -> bytes:
        return REFERENCE.sub(lambda found: b"%d 0 R" % order[int(found[1])], body)

    visit(trailer)
    pdf, offsets = bytearray(b"%PDF-1.7\n%\x80\x80\x80\x80\n"), []
    for number, place in order.items():
        head_of, rest = objects[number]
        offsets.append(len(pdf))
        pdf += b"%d 0 obj\n" % place + renumbered(head_of) + rest + b"endobj\n"
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    start_of_table = len(pdf)
    pdf += b"xref\n0 %d\n0000000000 65535 f \n" % (len(order) + 1) + table + renumbered(trailer)
    return bytes(pdf + b"startxref\n%d\n%%%%EOF\n" % start_of_table)


REFERENCE = re.compile(rb"\b(\d+) 0 R\b")


def by_name(head: bytes) -> bytes:
    return re.sub(
        rb"(?<=<<\n)(?: +/\w+ \d+ 0 R\n)+(?= *>>)",
        lambda entries: b"".join(sorted(entries[0].splitlines(keepends=True))),
        head,
    )
