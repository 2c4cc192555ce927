"""What tables on the screen share; imports nothing that is slow."""

import sys
from collections.abc import Collection
from typing import Any

from rich.table import Table

__all__ = ["PlainTable", "plain_table", "shortened"]

WIDEST = 40


class PlainTable(Table):
    """A table whose columns of numbers, on the right, are never made narrower than a number."""

    def add_row(self, *cells: Any, **options: Any) -> None:
        """Add a row, one cell per column."""
        super().add_row(*cells, **options)
        for column, cell in zip(self.columns, cells, strict=False):
            if column.justify == "right":
                column.min_width = max(column.min_width or 0, len(str(cell)))


def plain_table(*columns: str, right: Collection[str]) -> PlainTable:
    """Make a table without lines; on a narrow screen names are shortened, never numbers."""
    table = PlainTable(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        if column in right:
            table.add_column(column, justify="right", min_width=len(column), no_wrap=True)
        else:
            # Of columns that may not wrap, all are made narrower alike, those of numbers too.
            table.add_column(column, overflow="ellipsis")
    return table


def shortened(name: str) -> str:
    """Cut the start off a long name, in a terminal only: models differ in the end of their names.

    What goes to a file or a pipe has whole names.
    """
    if len(name) <= WIDEST or not sys.stdout.isatty():
        return name
    return f"…{name[1 - WIDEST :]}"
