"""A file that holds a table, in any format of the field -> a grid of cells with its header.

Delimited text, Excel, JSON and JSON Lines, Parquet, Markdown, LaTeX and HTML are recognized by
their content, not by the file's name.
"""

import io
import zipfile
from typing import Any

from headstart.analysis.delimited import Rows, decode, delimited_rows, unpacked
from headstart.analysis.grid import Grid, grid_of_frame, with_header
from headstart.analysis.json_tables import read_json
from headstart.analysis.markup import read_markup
from headstart.errors import TableError

__all__ = ["read_grid"]

PARQUET, ARROW, ZIP, OLE = b"PAR1", b"ARROW1", b"PK\x03\x04", b"\xd0\xcf\x11\xe0"


def read_grid(
    content: bytes, where: str, sheet: str | None = None, table: int | None = None
) -> Grid:
    """Read a file that holds a table.

    Parameters
    ----------
    content
        All bytes of the file; may be compressed by gzip.
    where
        What messages call it.
    sheet
        Sheet of an Excel file; the first unless given.
    table
        Which table (1, 2, ...) of a Markdown, LaTeX or HTML file with several.

    Raises
    ------
    TableError
        No table, or several of which none is chosen, or damaged content.
    """
    content = unpacked(content, where)
    if content.startswith(OLE):
        raise TableError(
            f"{where} is an old Excel file (.xls) or one with a password: save it as .xlsx",
            code="table.xls",
        )
    if content.startswith(ZIP):
        return _excel(content, where, sheet)
    if sheet is not None:
        raise TableError(f"{where}: sheet '{sheet}': not an Excel file", code="table.sheet",
                         sheet=sheet)  # fmt: skip
    if content.startswith((PARQUET, ARROW)):
        return _arrow(content, where)
    text, notes = decode(content, where)
    found = read_json(text, where) if text.lstrip()[:1] in ("{", "[") else None
    found = found or read_markup(text, where, table)
    found = found or with_header(delimited_rows(text, where), None, where, "csv")
    return found._replace(notes=notes + found.notes)


def _excel(content: bytes, where: str, sheet: str | None) -> Grid:
    try:
        from openpyxl import load_workbook
    except ImportError as error:
        raise TableError(
            f"{where}: reading Excel files needs openpyxl: pip install 'headstart[excel]'",
            code="table.excel_missing",
        ) from error
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if "xl/workbook.xml" not in archive.namelist():
                raise TableError(
                    f"{where} is a zip archive, not an Excel file: unpack it, or save it as .xlsx",
                    code="table.zip",
                )
            if sum(part.file_size for part in archive.infolist()) > 1 << 30:
                raise TableError(f"{where}: over 1 GiB when unpacked", code="table.too_large")
        book = load_workbook(io.BytesIO(content), data_only=True)
        formulas = load_workbook(io.BytesIO(content))
    except TableError:
        raise
    except Exception as error:  # openpyxl raises whatever its parsers do
        raise TableError(f"{where}: damaged Excel file ({type(error).__name__})",
                         code="table.excel_damaged") from error  # fmt: skip
    names = [one.title for one in book.worksheets]
    if not names or (sheet is not None and sheet not in names):
        raise TableError(f"{where}: no sheet '{sheet}': it has {', '.join(names)}",
                         code="table.sheet", sheet=sheet, found=names)  # fmt: skip
    page = book[sheet or names[0]]
    notes = [f"sheet '{page.title}' of {', '.join(names)}"] if len(names) > 1 else []
    rows = _excel_rows(page, formulas[page.title], where)
    return with_header(Rows(rows[0], rows[1], notes + rows[2]), None, where, "excel")


def _excel_rows(
    page: Any, formulas: Any, where: str
) -> tuple[list[int], list[list[str]], list[str]]:
    """Read cells as they are shown: 92.1 % for 0.921; the texts of merged cells everywhere."""
    cells = [cell for row in page.iter_rows() for cell in row]
    uncalculated = [
        cell.coordinate
        for cell in cells
        if cell.value is None and formulas.cell(cell.row, cell.column).data_type == "f"
    ]
    if uncalculated:
        raise TableError(
            f"{where}: formulas without a value, as in {uncalculated[0]} ({len(uncalculated)} in "
            "all): open the file in a spreadsheet program and save it",
            code="table.formulas", cells=uncalculated,
        )  # fmt: skip
    texts = {(c.row, c.column): _excel_text(c) for c in cells if c.value is not None}
    for merged in page.merged_cells.ranges:
        text = texts.get((merged.min_row, merged.min_col), "")
        for i in range(merged.min_row, merged.max_row + 1):
            for j in range(merged.min_col, merged.max_col + 1):
                texts[i, j] = text
    texts = {place: text for place, text in texts.items() if text}
    if not texts:
        raise TableError(f"{where}: sheet '{page.title}' is empty", code="table.empty")
    columns = range(min(j for _, j in texts), max(j for _, j in texts) + 1)
    lines = sorted({i for i, _ in texts})
    rows = [[texts.get((i, j), "") for j in columns] for i in lines]
    # A title above the table has one cell, which is no header.
    notes = []
    while (
        len(rows) > 2 and len(columns) > 1 and len(set(filter(None, rows[0]))) == 1 and rows[0][0]
    ):
        notes.append(f"title: {rows[0][0]}")
        rows, lines = rows[1:], lines[1:]
    return lines, rows, notes


def _excel_text(cell: Any) -> str:
    value = cell.value
    if isinstance(value, int | float) and not isinstance(value, bool):
        if "%" in (cell.number_format or ""):
            return f"{value * 100:.12g}%"
        return repr(value)
    return str(value).strip()


def _arrow(content: bytes, where: str) -> Grid:
    """Read Parquet or Feather (Arrow IPC)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind = "Parquet" if content.startswith(PARQUET) else "Feather"
    try:
        if kind == "Parquet":
            frame = pq.ParquetFile(io.BytesIO(content)).read().to_pandas()
        else:
            frame = pa.ipc.open_file(io.BytesIO(content)).read_all().to_pandas()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise TableError(f"{where}: damaged {kind} file", code="table.parquet") from error
    return grid_of_frame(frame)._replace(kind=kind.lower())
