"""What tables on the screen share; imports nothing that is slow."""

from collections.abc import Collection

from rich.table import Table

__all__ = ["plain_table", "shortened"]

WIDEST = 40


def plain_table(*columns: str, right: Collection[str]) -> Table:
    """Make a table without lines; on a narrow screen names are shortened, never numbers."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        if column in right:
            table.add_column(column, justify="right", min_width=len(column), no_wrap=True)
        else:
            table.add_column(column, no_wrap=True)
    return table


def shortened(name: str) -> str:
    """Cut the start off a long name, which is a path's: what tells it from others is its end."""
    return name if len(name) <= WIDEST else f"…{name[1 - WIDEST :]}"
