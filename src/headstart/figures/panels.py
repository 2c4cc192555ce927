"""Layout of panels side by side, as many as fit the width."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from headstart.figures.legends import legend_height
from headstart.figures.style import COLUMN_WIDTH, TEXT_WIDTH, new_figure

__all__ = ["Sheet", "panels"]


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
