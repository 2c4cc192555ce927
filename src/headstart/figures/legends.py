"""Legends outside the panels, in as many columns as fit the width."""

from collections.abc import Mapping, Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from headstart.figures.fonts import fitted, text_width
from headstart.figures.style import INK, SMALL, MarkerStyle

__all__ = [
    "LONGEST",
    "add_legend",
    "legend_columns",
    "legend_height",
    "line_handles",
    "point_handles",
    "ring_handle",
]

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
