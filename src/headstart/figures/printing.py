"""A figure laid out for print: panels in a grid, legend above, caption below; PNG, SVG, PDF.

Vega-Lite draws each panel in a box whose plot area is known beforehand, which is what the places of
labels rest on (`point_labels`). The same figure gives the same bytes.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import vl_convert
from PIL import Image

from headstart.figures.panel import (
    LegendEntry,
    Note,
    Panel,
    PlotArea,
    changed_texts,
    chart_spec,
    page_params,
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
from headstart.figures.text_fitting import elided, fitted, text_width, wrapped
from headstart.shown_text import harmless

if TYPE_CHECKING:
    from headstart.figures.figure import Figure

__all__ = ["PrintedFigure", "canonical_pdf", "print_figure"]

DPI = 200
FEW = 3  # panels that all have titles of their horizontal axes
EDGE, GAP = 6.0, 14.0  # pixels around the figure, between panels
OVERHANG = 14.0  # pixels of half a label at the end of an axis
LINE = 15.0  # pixels of a line of text
TICKS, TITLE = 8.0, 20.0  # pixels of the ticks of an axis, of its title
NUMBERS = 36.0  # pixels of the labels of a vertical axis of numbers
BOX = 11.0  # pixels of the box of a colour, and of the gap behind it
LONGEST = 250.0  # pixels of a name in a legend
MOST_NAME: float = CONFIG["axisDiscrete"]["labelLimit"]  # pixels of a name on an axis
# One font for all text; no marks for screen readers, which would triple a file.
PRINT_CONFIG = {
    **CONFIG,
    "font": FONT,
    "aria": False,
    "axisY": {"minExtent": 0},
}


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


def print_figure(figure: "Figure") -> PrintedFigure:
    """Lay a figure out for print."""
    panels = figure.panels
    columns = min(figure.columns, len(panels))
    width = COLUMN_WIDTH if columns == 1 and not figure.wide else TEXT_WIDTH
    total = width * PX_PER_INCH
    lefts = [left_margin(figure, column, columns) for column in range(columns)]
    rights = [max(panel.right for panel in panels[column::columns]) for column in range(columns)]
    rights[-1] = max(rights[-1], 0.0 if figure.panels[-1].bare else OVERHANG)
    room = total - 2 * EDGE - GAP * (columns - 1) - sum(lefts) - sum(rights)
    plot = max(room / columns, 40.0)
    parts, y = legend(figure.legend, total)
    plots, specs = [], []
    for first in range(0, len(panels), columns):
        row = panels[first : first + columns]
        headings = [heading(panel, plot + rights[i]) for i, panel in enumerate(row)]
        top = y + max(LINE * len(lines) for lines in headings) + 6
        below = [bottom_margin(figure, first + i, columns) for i in range(len(row))]
        x = EDGE
        for i, (panel, lines) in enumerate(zip(row, headings, strict=True)):
            x += lefts[i]
            height = plot if panel.square else panel.height
            lowest = first + i + columns >= len(panels) or len(panels) <= FEW
            place = PlotArea(plot, height, i == 0, lowest)
            spec = panel_spec(figure, panel, place)
            margins = {"left": lefts[i], "top": 20, "right": rights[i] + 20, "bottom": below[i]}
            # XML has no control characters.
            safe = changed_texts({**spec, "padding": margins}, harmless)
            drawn = vl_convert.vegalite_to_svg(safe)
            inner = drawn[drawn.index(">") + 1 : drawn.rindex("</svg>")]
            inner = as_part(inner, f"panel{first + i}")
            parts.append(f'<g transform="translate({x - lefts[i]:.2f},{top - 20:.2f})">{inner}</g>')
            start = top - 6 - LINE * (len(lines) - 1)
            for number, one in enumerate(lines):
                parts.append(heading_line(x, start + LINE * number, one))
            plots.append((x, top, plot, height))
            specs.append(spec)
            x += plot + rights[i] + GAP
        heights = [plot if panel.square else panel.height for panel in row]
        y = top + max(h + b for h, b in zip(heights, below, strict=True)) + GAP
    caption = wrapped(figure.full_caption, total - 2 * EDGE, 8, text_width).split("\n")
    where, below_all = (EDGE, y + 4), LINE * len(caption) * bool(figure.full_caption)
    # A place that the last row leaves empty is for the caption, where it fits in.
    beside = wrapped(figure.full_caption, max(total - EDGE - x, 1), 99, text_width).split("\n")
    if len(row) < columns and LINE * len(beside) <= max(heights):
        caption, where, below_all = beside, (x, top + 12), 0
    for number, line in enumerate(caption if figure.full_caption else []):
        parts.append(text(where[0], where[1] + LINE * number, line, colour="var(--soft)"))
    y += below_all
    body = '<rect width="100%" height="100%" fill="white"/>' + "".join(parts)
    height = (y + EDGE - GAP * (not figure.full_caption)) / PX_PER_INCH
    return PrintedFigure(in_print_colours(body), width, height, plots, specs)


def as_part(svg: str, prefix: str) -> str:
    """Return a panel as part of a document.

    Its clip paths are numbered from 0, where Vega counts those that it ever made. Marks get the
    opacity of a fill and a stroke: that of a whole element is a group for each mark in PDF.
    """
    svg = re.sub(r' opacity="(0?\.\d+)"', r' fill-opacity="\1" stroke-opacity="\1"', svg)
    numbers = {old: i for i, old in enumerate(dict.fromkeys(re.findall(r"\bclip\d+\b", svg)))}
    return re.sub(r"\bclip\d+\b", lambda found: f"{prefix}-clip{numbers[found[0]]}", svg)


def left_margin(figure: "Figure", column: int, columns: int) -> float:
    """Return the pixels left of the plots of a column: names or numbers, a title."""
    own = figure.panels[column::columns]
    widest = max(panel.names_width for panel in own)
    if all(panel.bare for panel in own):
        return 0.0
    if not widest:
        return NUMBERS + TICKS + TITLE * (column == 0)
    if figure.shared_names and column:
        return 0.0
    return min(widest, MOST_NAME) + TICKS


def bottom_margin(figure: "Figure", index: int, columns: int) -> float:
    """Return the pixels below the plot of a panel: numbers, or names set upright, a title."""
    panel = figure.panels[index]
    lowest = index + columns >= len(figure.panels) or len(figure.panels) <= FEW
    if panel.bare or (panel.x_labels and not lowest):
        return 0.0
    if panel.x_labels:
        return min(max(map(text_width, map(elided, panel.x_labels))), MOST_NAME) + TICKS
    return LINE + TICKS + TITLE * lowest


def heading(panel: Panel, room: float) -> list[str | list[Note]]:
    """Return the lines above a panel: its title, and its notes, if it has any."""
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


def panel_spec(figure: "Figure", panel: Panel, place: PlotArea) -> dict[str, Any]:
    """Return the Vega-Lite of a panel with its data, in a box whose plot area is known."""
    spec = chart_spec(panel.draw(place))
    spec |= {
        "width": place.width,
        "height": place.height,
        "autosize": {"type": "none"},
        "config": PRINT_CONFIG,
        "params": [*spec.get("params", []), *page_params(show_all=False)],
    }
    return self_contained(spec, figure.data)


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
    """Return a line of text."""
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
    """Sort the entries of dictionaries that hold references only: fonts, groups."""
    return re.sub(
        rb"(?<=<<\n)(?: +/\w+ \d+ 0 R\n)+(?= *>>)",
        lambda entries: b"".join(sorted(entries[0].splitlines(keepends=True))),
        head,
    )
