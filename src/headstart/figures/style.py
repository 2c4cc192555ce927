"""The style of every figure: sizes for print, fonts, colours, shapes, layout.

Colours are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), without the yellow, which is
too faint on white. What differs in colour differs in shape, too: figures survive a greyscale
printer.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from itertools import cycle, islice
from typing import Any, NamedTuple, ParamSpec

import matplotlib.style
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text

from headstart.figures.text_fitting import FONT, families, fitted, missing_glyphs_as_boxes, wrapped
from headstart.spec.display_names import role

__all__ = [
    "COLUMN_WIDTH",
    "DPI",
    "GREY",
    "INK",
    "SMALL",
    "TEXT_WIDTH",
    "MarkerStyle",
    "from_source",
    "marker_styles",
    "new_figure",
    "setting_styles",
    "settle",
    "style",
    "styled",
]

COLUMN_WIDTH = 3.4  # inches: one column of a two-column journal
TEXT_WIDTH = 7.0  # inches: both columns
DPI = 200
SMALL = 6.5  # points: nothing is set smaller
INK = "#222222"
GREY = "#8a8a8a"

# Figures are the same wherever they are drawn: the font ships with matplotlib, a hash salt makes
# the ids in SVG files repeatable, and names are never parsed as mathematics.
STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelpad": 2.5,
    "axes.labelsize": 7,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlepad": 4,
    "axes.titlesize": 7.5,
    "axes.titleweight": "bold",
    "errorbar.capsize": 0,
    "font.family": [FONT],
    "font.size": 7,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.5,
    "hatch.linewidth": 0.5,
    "legend.borderaxespad": 0.2,
    "legend.columnspacing": 1.2,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.handletextpad": 0.5,
    "legend.labelspacing": 0.35,
    "lines.linewidth": 1.0,
    "lines.markersize": 4,
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "headstart",
    "text.color": INK,
    "text.hinting": "no_hinting",
    "text.parse_math": False,
    "text.usetex": False,
    "xtick.color": INK,
    "xtick.labelsize": SMALL,
    "xtick.major.size": 2.5,
    "xtick.major.width": 0.6,
    "ytick.color": INK,
    "ytick.labelsize": SMALL,
    "ytick.major.size": 2.5,
    "ytick.major.width": 0.6,
}


class MarkerStyle(NamedTuple):
    """How a family, a dataset or a setting styles: a colour, a shape, a kind of line."""

    colour: str
    shape: str
    dashes: str | tuple[float, tuple[float, ...]] = "-"


COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
SHAPES = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")
DASHES: tuple[str | tuple[float, tuple[float, ...]], ...] = (
    "-",
    (0, (4, 1.5)),
    (0, (1.2, 1.2)),
    (0, (5, 1.2, 1.2, 1.2)),
)
# The same in every figure; as fills they are dark, middle and light in greyscale.
ROLE_STYLES = {
    "linear": MarkerStyle("#0072B2", "o", "-"),
    "finetune": MarkerStyle("#E69F00", "s", (0, (4, 1.5))),
    "scratch": MarkerStyle("#9A9A9A", "^", (0, (1.2, 1.2))),
}


@contextmanager
def style(characters: Iterable[str] = ()) -> Iterator[None]:
    """Draw in the style of these figures, from matplotlib's own defaults.

    Parameters
    ----------
    characters
        All characters of the figure; fallback fonts cover those that the default font lacks.
    """
    own = {**STYLE, "font.family": families(characters)}
    with matplotlib.style.context(own, after_reset=True), missing_glyphs_as_boxes():
        yield


P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Make a function draw in this style, and lay its figure out."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with style(characters([*args, *kwargs.values(), SOURCE_NOTE.get()])):
            figure = draw(*args, **kwargs)
            settle(figure)
        return figure

    return drawn


def characters(inputs: Iterable[Any]) -> set[str]:
    """Return the characters of all texts in strings, tables and mappings of tables."""
    found: set[str] = set()
    for item in inputs:
        if isinstance(item, str):
            found.update(item)
        elif isinstance(item, pd.DataFrame):
            names = item.select_dtypes(exclude=["number", "bool"])
            # Warnings about the data are lists, which have no hash: as text they do.
            found.update(*("".join(set(map(str, names[column]))) for column in names))
        elif isinstance(item, Mapping):
            found |= characters(item.values())
    return found


# Where the numbers come from, as the caption of a figure says it while it is drawn.
SOURCE_NOTE: ContextVar[str] = ContextVar("SOURCE_NOTE", default="")


@contextmanager
def from_source(note: str) -> Iterator[None]:
    """Append `note`, on where the numbers come from, to the caption of every figure."""
    token = SOURCE_NOTE.set(note)
    try:
        yield
    finally:
        SOURCE_NOTE.reset(token)


def new_figure(height: float, *, width: float = TEXT_WIDTH, note: str = "") -> Figure:
    """Return an empty figure that lays itself out, above a note on how to read it.

    Parameters
    ----------
    height
        Inches without the note.
    width
        Inches; `COLUMN_WIDTH` or `TEXT_WIDTH`.
    note
        What markers, bars and bands mean; wrapped to the width, at the bottom.
    """
    note = " ".join(filter(None, [note, SOURCE_NOTE.get()]))
    # 3.45 points is the mean width of a character of this font at this size.
    lines = wrapped(note, int((width * 72 - 8) / 3.45), most=6) if note else ""
    strip = (4 + 9 * (lines.count("\n") + 1)) / 72 if note else 0.0
    above = (0, strip / (height + strip), 1, height / (height + strip))
    layout = ConstrainedLayoutEngine(rect=above, w_pad=0.04, h_pad=0.04)
    figure = Figure(figsize=(width, height + strip), dpi=DPI, layout=layout)
    FigureCanvasAgg(figure)
    if note:
        figure.text(4 / 72 / width, 3 / 72 / (height + strip), lines, size=SMALL, color="#555555")
    return figure


def marker_styles(names: Iterable[str]) -> dict[str, MarkerStyle]:
    """Return a style for each name, in alphabetical order, whatever the order of rows.

    With 7 colours and 10 shapes that step together, 70 styles differ; the first 7 differ in both.

    Examples
    --------
    >>> marker_styles(["ResNet", "DenseNet"])["DenseNet"]
    MarkerStyle(colour='#0072B2', shape='o', dashes='-')
    """
    styles = map(MarkerStyle, cycle(COLOURS), cycle(SHAPES), cycle(DASHES))
    return dict(zip(sorted(set(names)), styles, strict=False))


def setting_styles(settings: Iterable[str]) -> dict[str, MarkerStyle]:
    """Return the style of each setting: that of its role, or the next free one."""
    chosen: dict[str, MarkerStyle] = {}
    spare = iter(
        islice(map(MarkerStyle, cycle(COLOURS[1:]), cycle(SHAPES[3:]), cycle(reversed(DASHES))), 70)
    )
    for setting in settings:
        mark = ROLE_STYLES.get(role(setting) or "")
        chosen[setting] = mark if mark and mark not in chosen.values() else next(spare)
    return chosen


def settle(figure: Figure) -> None:
    """Lay the figure out and freeze its layout.

    Titles of panels take at most two lines, as wide as the layout leaves room for.
    """
    layout = figure.get_layout_engine()
    if layout is None:
        return
    titles = {title: (axes, title.get_text()) for axes in figure.axes for title in titles_of(axes)}
    # Long ones would take room from their panels.
    for title, (_, text) in titles.items():
        title.set_text(text[:1])
    layout.execute(figure)
    for title, (axes, text) in titles.items():
        size, weight = float(title.get_fontsize()), str(title.get_fontweight())
        title.set_text(fitted(text, title_room(figure, axes), size, weight=weight, most=2))
    if any("\n" in title.get_text() for title in titles):
        layout.execute(figure)
    figure.set_layout_engine("none")


def titles_of(axes: Axes) -> list[Text]:
    """Return the title on the left of a panel, if it has one."""
    title = axes.get_title("left")
    texts = [text for text in axes.get_children() if isinstance(text, Text)]
    return [text for text in texts if title and text.get_text() == title][-1:]


def title_room(figure: Figure, axes: Axes) -> float:
    """Return the points from a panel's left edge to the next panel or the end of the page."""
    own = axes.get_window_extent()
    boxes = [other.get_window_extent() for other in figure.axes]
    beside = [box.x0 for box in boxes if box.x0 >= own.x1 and box.y0 < own.y1 and own.y0 < box.y1]
    return float(min([figure.bbox.x1, *beside]) - own.x0) * 72 / figure.dpi - 4
