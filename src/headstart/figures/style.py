"""The look of every figure: sizes for print, colours, shapes, and a style of its own.

Colours are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), without the yellow, which is
too faint on white. No colour stands alone: what differs in colour differs in shape too, so that
figures survive a greyscale printer.
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

from headstart.figures.fonts import FONT, families, fitted, missing_glyphs_as_boxes
from headstart.figures.text import wrapped
from headstart.spec.labels import role

__all__ = [
    "COLUMN_WIDTH",
    "DPI",
    "GREY",
    "INK",
    "SMALL",
    "TEXT_WIDTH",
    "Mark",
    "from_source",
    "marks",
    "new_figure",
    "setting_marks",
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

# Of its own, so that figures come out the same wherever they are drawn: the font is shipped with
# matplotlib, a hash salt makes the ids in SVG files repeatable, and names are never mathematics.
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


class Mark(NamedTuple):
    """How a family, a dataset or a setting looks: a colour, a shape, a kind of line."""

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
ROLE_MARKS = {
    "linear": Mark("#0072B2", "o", "-"),
    "finetune": Mark("#E69F00", "s", (0, (4, 1.5))),
    "scratch": Mark("#9A9A9A", "^", (0, (1.2, 1.2))),
}


@contextmanager
def style(characters: Iterable[str] = ()) -> Iterator[None]:
    """Draw in the style of these figures, from matplotlib's own defaults.

    Parameters
    ----------
    characters
        What will be written; fonts for what ours lacks are looked for.
    """
    own = {**STYLE, "font.family": families(characters)}
    with matplotlib.style.context(own, after_reset=True), missing_glyphs_as_boxes():
        yield


P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Make a drawing function work in the style, and settle what it draws."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with style(characters([*args, *kwargs.values(), SAID_OF_SOURCE.get()])):
            figure = draw(*args, **kwargs)
            settle(figure)
        return figure

    return drawn


def characters(inputs: Iterable[Any]) -> set[str]:
    """Characters of all texts in strings, tables and mappings of tables."""
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


# What figures say of where their numbers come from, while one is drawn.
SAID_OF_SOURCE: ContextVar[str] = ContextVar("SAID_OF_SOURCE", default="")


@contextmanager
def from_source(said: str) -> Iterator[None]:
    """Make every figure say `said` of its numbers, after what it says of how to read it."""
    token = SAID_OF_SOURCE.set(said)
    try:
        yield
    finally:
        SAID_OF_SOURCE.reset(token)


def new_figure(height: float, *, width: float = TEXT_WIDTH, note: str = "") -> Figure:
    """Make an empty figure that lays itself out, above a note that says how to read it.

    Parameters
    ----------
    height
        Inches of what stands above the note.
    width
        Inches; `COLUMN_WIDTH` or `TEXT_WIDTH`.
    note
        What marks, bars and bands mean; wrapped to the width, at the bottom.
    """
    note = " ".join(filter(None, [note, SAID_OF_SOURCE.get()]))
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


def marks(names: Iterable[str]) -> dict[str, Mark]:
    """Give each name a look of its own, by alphabet, so that the order of rows changes nothing.

    With 7 colours and 10 shapes that step together, 70 looks differ; the first 7 differ in both.

    Examples
    --------
    >>> marks(["ResNet", "DenseNet"])["DenseNet"]
    Mark(colour='#0072B2', shape='o', dashes='-')
    """
    looks = map(Mark, cycle(COLOURS), cycle(SHAPES), cycle(DASHES))
    return dict(zip(sorted(set(names)), looks, strict=False))


def setting_marks(settings: Iterable[str]) -> dict[str, Mark]:
    """Give each setting the look of its role, where no other setting has taken that."""
    chosen: dict[str, Mark] = {}
    spare = iter(
        islice(map(Mark, cycle(COLOURS[1:]), cycle(SHAPES[3:]), cycle(reversed(DASHES))), 70)
    )
    for setting in settings:
        mark = ROLE_MARKS.get(role(setting) or "")
        chosen[setting] = mark if mark and mark not in chosen.values() else next(spare)
    return chosen


def settle(figure: Figure) -> None:
    """Lay the figure out once and for all: what is placed afterwards stays where it is put.

    Titles of panels are set in two lines at most, as wide as the layout leaves room for.
    """
    layout = figure.get_layout_engine()
    if layout is None:
        return
    titles = {title: (axes, title.get_text()) for axes in figure.axes for title in titles_of(axes)}
    # Long ones would take room from their panels.
    for title, (_, said) in titles.items():
        title.set_text(said[:1])
    layout.execute(figure)
    for title, (axes, said) in titles.items():
        size, weight = float(title.get_fontsize()), str(title.get_fontweight())
        title.set_text(fitted(said, title_room(figure, axes), size, weight=weight, most=2))
    if any("\n" in title.get_text() for title in titles):
        layout.execute(figure)
    figure.set_layout_engine("none")


def titles_of(axes: Axes) -> list[Text]:
    """The title on the left of a panel, where it has one."""
    said = axes.get_title("left")
    texts = [text for text in axes.get_children() if isinstance(text, Text)]
    return [text for text in texts if said and text.get_text() == said][-1:]


def title_room(figure: Figure, axes: Axes) -> float:
    """Points from the left of a panel to the next one on its right, or to the end of the page."""
    own = axes.get_window_extent()
    boxes = [other.get_window_extent() for other in figure.axes]
    beside = [box.x0 for box in boxes if box.x0 >= own.x1 and box.y0 < own.y1 and own.y0 < box.y1]
    return float(min([figure.bbox.x1, *beside]) - own.x0) * 72 / figure.dpi - 4
