"""Lay out a table on a terminal, or in a pipe."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Group
from rich.text import Text

from headstart.cli.output import console
from headstart.report.page_model import (
    NEVER,
    Column,
    PageCell,
    PageTable,
    Record,
    filled,
)
from headstart.shown_text import one_line
from headstart.spec.formatting import UNKNOWN

__all__ = ["column_table", "table_parts"]

# Letters of the shortest name on a narrow terminal, and room between columns.
SHORTEST, GAP = 16, 2
# A heading breaks rather than widen its column beyond this.
HEADING = 10


def column_table(columns: Sequence[Column], rows: Iterable[Record]) -> Group:
    """Return a table without a caption: columns of which nothing is known are left out."""
    return Group(*table_parts(filled("", "", columns, rows)))


def table_parts(
    table: PageTable, *, by_first: bool = False, most: int | None = None
) -> Iterator[Text]:
    """Return the lines of a table: caption, headings, rows, notes; none of one without rows.

    On a narrow terminal the columns that matter less are left out, which is said, and names are
    shortened, never numbers.

    Parameters
    ----------
    table
        As `headstart.report.page_model.filled` returns it.
    by_first
        Whether the first column is a line of its own above the rows that share it.
    most
        Maximum number of rows of each such group; None: all.
    """
    if not table.rows:
        return
    layout = Layout(table, by_first)
    if table.caption:
        yield Text(f"\n{table.caption}", style="bold")
    for heading in layout.headings():
        yield Text(heading, style="bold")
    group, n = None, 0
    for row in table.rows:
        if by_first and row.cells[0].text != group:
            group, n = row.cells[0].text, 0
            yield Text(one_line(group), style="bold")
        n += 1
        if most is None or n <= most:
            best = any(cell.marker == "best" for cell in row.cells)
            yield Text(layout.line(row.cells), style="bold" if best else "")
        elif n == most + 1:
            yield Text("  and more (--out or --json writes all)", style="dim")
    legend = table.marker_legend.replace("Underlined:", "*:")
    left_out = ", ".join(table.columns[i].heading for i in layout.left_out)
    narrow = f"Columns not shown on a narrow terminal: {left_out}." if left_out else ""
    for text in filter(None, (table.note, legend, narrow)):
        yield Text(text, style="dim")


class Layout:
    """Which columns of a table are shown (`shown`, `left_out` are their places), how wide."""

    def __init__(self, table: PageTable, by_first: bool) -> None:
        self.columns, self.indent = table.columns, 2 * by_first
        self.heads: list[list[str]] = []
        self.widths: list[int] = []
        for i, column in enumerate(table.columns):
            cells = max(cell_len(cell_text(row.cells[i], column)) for row in table.rows)
            self.heads.append(column.lines(max(cells + 1, HEADING), cell_len))
            self.widths.append(max(cells, *map(cell_len, self.heads[i])))
        known = [i for i, column in enumerate(table.columns) if column.detail < NEVER]
        self.shown, self.left_out = known[by_first:], list[int]()
        for i in sorted(self.shown, key=lambda i: (-self.columns[i].detail, -i)):
            if self.columns[i].detail and self.lacking() > 0:
                self.shown.remove(i)
                self.left_out.insert(0, i)
        # The first names are what a row is about: they are cut last.
        for i in reversed(self.shown):
            if not self.columns[i].numeric:
                least = min(self.widths[i], SHORTEST)
                self.widths[i] = max(least, self.widths[i] - max(self.lacking(), 0))

    def lacking(self) -> int:
        """Return by how much the columns are wider than the terminal."""
        return sum(self.widths[i] + GAP for i in self.shown) - GAP + self.indent - console.width

    def headings(self) -> Iterator[str]:
        """Return the lines of the headings, which end at the same line."""
        height = max(len(self.heads[i]) for i in self.shown)
        for k in range(height):
            places = {i: k - height + len(self.heads[i]) for i in self.shown}
            yield self.joined({i: self.heads[i][j] if j >= 0 else "" for i, j in places.items()})

    def line(self, cells: list[PageCell]) -> str:
        """Return a row."""
        return self.joined({i: cell_text(cells[i], self.columns[i]) for i in self.shown})

    def joined(self, texts: Mapping[int, str]) -> str:
        """Return a line of one text per column."""
        parts = [
            text.rjust(self.widths[i]) if self.columns[i].numeric else fitted(text, self.widths[i])
            for i, text in texts.items()
        ]
        return (" " * self.indent + (" " * GAP).join(parts)).rstrip()


def cell_text(cell: PageCell, column: Column) -> str:
    """Return a cell with its standard error and its mark, numbers with the minus of programs."""
    if not column.numeric:
        return "-" if cell.text == UNKNOWN else one_line(cell.text)
    error = cell.note if cell.note.startswith("±") else ""
    text = f"{cell.text} {error}".rstrip().replace("\N{MINUS SIGN}", "-")
    mark = ("*" if cell.marker in ("same", "chosen") else " ") if column.marked else ""
    return text.replace("\N{EN DASH}", "-") + mark


def fitted(name: str, width: int) -> str:
    """Return a name that fills a width; of a longer one both ends, in which names differ."""
    if cell_len(name) > width:
        name = f"{set_cell_size(name, width // 2)}…{name[len(name) - (width - 1) // 2 :]}"
    return set_cell_size(name, width)
