"""Layout of panels side by side, as many as fit the width, and legends outside them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from headstart.figures.style import COLUMN_WIDTH, INK, SMALL, TEXT_WIDTH, MarkerStyle, new_figure
from headstart.figures.text_fitting import fitted, text_width

__all__ = [
    "LONGEST",
    "add_legend",
    "legend_columns",
    "legend_height",
    "line_handles",
    "panels",
    "point_handles",
    "ring_handle",
]


class Sheet(NamedTuple):
    """A figure with its panels and, where their grid has one, an empty cell for the legend."""

    figure: Figure
    panels: list[Axes]
    spare: Axes | None
    columns: int

    def is_left(self, index: int) -> bool:
        """Return whether panel `index` is in the first column."""
        return index % self.columns == 0

    def is_lowest(self, index: int) -> bool:
        """Return whether no panel is below panel `index`."""
        return index + self.columns >= len(self.panels)


def panels(
    count: int,
    *,
    columns: int,
    height: float,
    legend: Sequence[Artist] = (),
    note: str = "",
    wide: bool = False,
) -> Sheet:
    """Lay out `count` panels, row by row.

    Parameters
    ----------
    count
        Number of panels.
    columns
        Panels side by side at the full width of the text; a single one of two takes one column.
    height
        Inches of a panel with its labels.
    legend
        Handles of the legend to come; it goes into an empty cell where two panels stand side by
        side, otherwise above.
    note
        The caption at the bottom.
    wide
        Whether a single panel takes the full width all the same.
    """
    width = COLUMN_WIDTH if count == 1 and columns <= 2 and not wide else TEXT_WIDTH
    columns = min(columns, count)
    rows = -(-count // columns)
    spare = columns == 2 and count % 2 == 1 and count > 1
    above = 0.0 if spare else legend_height(legend, width)
    figure = new_figure(rows * height + above, width=width, note=note)
    grid = figure.add_gridspec(rows, columns)
    axes = [figure.add_subplot(grid[divmod(index, columns)]) for index in range(count)]
    cell = figure.add_subplot(grid[rows - 1, 1]) if spare else None
    return Sheet(figure, axes, cell, columns)


LONGEST = 160  # points of a name


def point_handles(styles: Mapping[str, MarkerStyle]) -> list[Line2D]:
    """Return one handle per name: its shape in its colour."""
    return [
        Line2D(
            [], [], linestyle="none", marker=mark.shape, color=mark.colour,
            markeredgecolor="white", markeredgewidth=0.3, markersize=5,
            label=fitted(name, LONGEST, SMALL),
        )
        for name, mark in styles.items()
    ]  # fmt: skip


def line_handles(styles: Mapping[str, MarkerStyle]) -> list[Line2D]:
    """Return one handle per name: its line with its shape."""
    return [
        Line2D(
            [], [], linestyle=mark.dashes, marker=mark.shape, color=mark.colour,
            markersize=4, label=fitted(name, LONGEST, SMALL),
        )
        for name, mark in styles.items()
    ]  # fmt: skip


def ring_handle() -> Line2D:
    """Return the handle of the ring around models not significantly different from the best."""
    return Line2D(
        [], [], linestyle="none", marker="o", markersize=7, markerfacecolor="none",
        markeredgecolor=INK, markeredgewidth=0.7, label="not significantly different from the best",
    )  # fmt: skip


def add_legend(figure: Figure, handles: Sequence[Artist], cell: Axes | None = None) -> None:
    """Draw a legend above all panels, or into an empty `cell` of their grid."""
    if not handles:
        return
    if cell is not None:
        cell.axis("off")
        cell.legend(handles=handles, loc="center", ncols=1 + (len(handles) > 12))
        return
    columns = legend_columns(handles, figure.get_figwidth())
    figure.legend(handles=handles, loc="outside upper center", ncols=columns, borderpad=0.2)


def legend_columns(handles: Sequence[Artist], width: float) -> int:
    """Return the most columns that fit `width` inches, with no more rows than they need.

    A handle with its spaces is 36 points wide; legends fill column by column.
    """
    lengths = [text_width(str(handle.get_label()), SMALL) for handle in handles]
    for rows in range(1, len(lengths)):
        starts = range(0, len(lengths), rows)
        if sum(36 + max(lengths[i : i + rows]) for i in starts) <= width * 72:
            return len(starts)
    return 1


def legend_height(handles: Sequence[Artist], width: float) -> float:
    """Return the inches that `add_legend` takes in a figure `width` inches wide."""
    if not handles:
        return 0.0
    rows = -(-len(handles) // legend_columns(handles, width))
    return 0.1 + 0.135 * rows
