"""A table as it stands in a file: cells, and a header of one row or several."""

import re
from typing import NamedTuple

import pandas as pd

from headstart.analysis.delimited import Rows
from headstart.analysis.numerals import is_missing, without_markup
from headstart.errors import TableError

__all__ = ["Grid", "grid_of_frame", "with_header"]

# What a row below the names has where it is of the header, too.
UNITS = frozenset({"", "%", "(%)", "[%]", "\N{UPWARDS ARROW}", "\N{DOWNWARDS ARROW}"})


class Grid(NamedTuple):
    """A table as it stands.

    Parameters
    ----------
    header
        One tuple per column: its texts in the header rows, from the top down.
    body
        One row per row of the table, columns 0, 1, ...; cells are text, or numbers where the
        format has them. The index says where a row stands in the file.
    kind
        The format.
    notes
        What was noticed in reading, a line each.
    caption
        What stands above the table, as far as it may say what is measured.
    """

    header: list[tuple[str, ...]]
    body: pd.DataFrame
    kind: str
    notes: list[str]
    caption: str = ""


def grid_of_frame(frame: pd.DataFrame) -> Grid:
    """Take a DataFrame: named levels of its index are columns, levels of columns header rows."""
    named = [name for name in frame.index.names if name is not None]
    levels = frame.columns.nlevels
    if named and not any(name in frame.columns for name in named):
        frame = frame.reset_index(level=named)
    # Rows are known by their place: an index may repeat itself.
    unnamed = frame.index
    has_model = "model" in {str(name).lower() for name in frame.columns}
    if len(frame) and not named and not has_model and all(isinstance(n, str) for n in unnamed):
        frame = frame.copy()
        frame.insert(0, ("",) * levels if levels > 1 else "", unnamed)
    columns = [
        tuple("" if pd.isna(t) else str(t) for t in (name if levels > 1 else (name,)))
        for name in frame.columns
    ]
    body = frame.reset_index(drop=True).set_axis(range(len(columns)), axis=1)
    return Grid(columns, body, "frame", [])


def with_header(rows: Rows, n_header: int | None, where: str, kind: str) -> Grid:
    """Part header rows from the body."""
    if not rows.cells:
        raise TableError(f"{where} has no rows", code="table.empty")
    n = n_header or _count_header_rows(rows.cells)
    width = len(rows.cells[0])
    wrong = [line for line, row in zip(rows.lines, rows.cells, strict=True) if len(row) != width]
    if wrong:
        raise TableError(
            f"{where}, line {wrong[0]}: expected {width} cells as in the header",
            code="table.row_width", expected=width, line=wrong[0], lines=wrong,
        )  # fmt: skip
    body = pd.DataFrame(rows.cells[n:], index=rows.lines[n:], columns=range(width), dtype=object)
    if body.empty:
        raise TableError(f"{where} has no rows: expected a header and one row per result",
                         code="table.empty")  # fmt: skip
    notes = [*rows.notes, *([f"{n} header rows"] if n > 1 else [])]
    return Grid(_header(rows.cells[:n]), body, kind, notes)


def _count_header_rows(cells: list[list[str]]) -> int:
    """Count rows before the first that has a number, where the header does not end before.

    A header goes on below a row whose names repeat or are left out, as over columns that belong
    together; a further row of text below names that are all there and all differ is a result.
    """
    n = 1
    if n < len(cells) - 1 and any(cells[n]) and all(cell in UNITS for cell in cells[n][1:]):
        n += 1
    while n < len(cells) - 1 and not any(_is_value(cell) for cell in cells[n][1:] if cell):
        above = cells[n - 1][1:]
        names_levels = not any(cells[n][1:]) and bool(cells[n][0])
        if len(set(above)) == len(above) and all(above) and not names_levels:
            break
        n += 1
    return n


def _is_value(cell: str) -> bool:
    return is_missing(cell) or bool(re.match(r"[*_$~<(]*\s*[+-]?[.,]?\d", without_markup(cell)))


def _header(rows: list[list[str]]) -> list[tuple[str, ...]]:
    """Repeat a name over the blank columns that belong to it; from the top down per column."""
    filled: list[list[str]] = []
    for i, row in enumerate(rows):
        if i and not any(row[1:]) and row[0]:
            # Pandas writes the name of the index in a row of its own.
            filled = [[row[0], *one[1:]] for one in filled]
            continue
        names = list(row)
        for j in range(1, len(names)):
            under = i == 0 or all(one[j] == one[j - 1] for one in filled)
            last = i == len(rows) - 1
            if not names[j] and names[j - 1] and j > 1 and under and not last:
                names[j] = names[j - 1]
        filled.append(names)
    return list(zip(*filled, strict=True))
