"""Read a table from a file of any common format, as a grid of cells with its header.

Delimited text, Excel, JSON and JSON Lines, Parquet, Markdown, LaTeX and HTML are recognized by
their content, not by the file's name.
"""

import io
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from typing import Any

import pandas as pd

from headstart.analysis.tables.canonical_names import is_known_dataset
from headstart.analysis.tables.numerals import without_markup
from headstart.analysis.tables.text_tables import (
    Grid,
    Line,
    decode,
    delimited_rows,
    grid_of_frame,
    unpacked,
    with_header,
)
from headstart.errors import TableError
from headstart.spec.formatting import count, role

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
    if found is None:
        rows, more = delimited_rows(text, where)
        found = with_header(rows, None, where, "csv", more)
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
    rows, titles = _excel_rows(page, formulas[page.title], where)
    return with_header(rows, None, where, "excel", notes + titles)


def _excel_rows(page: Any, formulas: Any, where: str) -> tuple[list[Line], list[str]]:
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
    rows = [(i, [texts.get((i, j), "") for j in columns]) for i in lines]
    # A title above the table has one cell, which is no header.
    notes = []
    while (
        len(rows) > 2
        and len(columns) > 1
        and (first := rows[0][1])[0]
        and (set(first) <= {first[0], ""})
    ):
        notes.append(f"title: {first[0]}")
        rows = rows[1:]
    return rows, notes


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


# Names of columns that a JSON of columns has, and one of models does not.
NAMES_OF_COLUMNS = ("model", "dataset", "setting", "accuracy", "example")


def read_json(text: str, where: str) -> Grid | None:
    """Read JSON or JSON Lines; None where it is neither and does not look like it."""
    try:
        value = json.loads(text)
    except ValueError as error:
        lines = [line for line in text.splitlines() if line.strip()]
        try:
            value = [json.loads(line) for line in lines]
        except ValueError:
            if text.lstrip()[:1] == "{" or re.match(r'\s*\[\s*[\[{"\d]', text):
                raise TableError(f"{where}: invalid JSON ({error})", code="table.json") from error
            return None
        if not value or not all(isinstance(one, dict) for one in value):
            return None
    except RecursionError as error:
        raise TableError(f"{where}: invalid JSON (too deep)", code="table.json") from error
    return _of_json(value, where)


def _of_json(value: Any, where: str) -> Grid:
    if isinstance(value, list):
        return _records(value, where)
    if not isinstance(value, dict):
        raise _no_table(where)
    keys = {str(key).lower() for key in value}
    if keys >= {"columns", "data"} and isinstance(value["data"], list):
        return _records(_of_split(value), where)
    lists = [one for one in value.values() if isinstance(one, list) and one]
    if len(lists) == 1 and all(isinstance(row, dict) for row in lists[0]):
        # {"results": [records]}, with remarks beside it.
        return _records(lists[0], where)
    if value and len(lists) == len(value):
        return _columns(value, where)
    if value and all(isinstance(one, dict) for one in value.values()):
        if keys & set(NAMES_OF_COLUMNS):
            # As pandas writes a table: column -> row -> cell.
            labels = dict.fromkeys(row for column in value.values() for row in column)
            return _records([{c: value[c].get(row) for c in value} for row in labels], where)
        inner = [{str(key).lower() for key in one} for one in value.values()]
        if all(len(one & set(NAMES_OF_COLUMNS)) > 1 for one in inner):
            # Row -> column -> cell.
            return _records(list(value.values()), where)
        return _nested(value, where)
    if len(value) == 1:
        return _of_json(next(iter(value.values())), where)
    raise _no_table(where)


def _of_split(value: Mapping[str, Any]) -> list[Any]:
    """Return the records of columns, data and perhaps names of rows, as pandas writes them."""
    names = list(map(str, value["columns"]))
    rows = [dict(zip(names, r, strict=False)) if isinstance(r, list) else r
            for r in value["data"]]  # fmt: skip
    index = value.get("index")
    if (
        isinstance(index, list)
        and len(index) == len(rows)
        and all(isinstance(one, str) for one in index)
        and all(isinstance(row, dict) and "" not in row for row in rows)
    ):
        rows = [{"": name, **row} for name, row in zip(index, rows, strict=True)]
    return rows


def _columns(value: Mapping[str, list[Any]], where: str) -> Grid:
    lengths = {name: len(column) for name, column in value.items()}
    if len(set(lengths.values())) > 1:
        raise TableError(f"{where}: columns of different lengths: {lengths}",
                         code="table.json_lengths", lengths=lengths)  # fmt: skip
    rows = zip(*value.values(), strict=True)
    return _records([dict(zip(value, row, strict=True)) for row in rows], where)


def _records(rows: list[Any], where: str) -> Grid:
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise _no_table(where)
    names = list(dict.fromkeys(str(name) for row in rows for name in row))
    cells = [{str(name): cell for name, cell in row.items()} for row in rows]
    nested = [name for name in names if any(isinstance(row.get(name), dict) for row in cells)]
    if nested and len(nested) < len(names):
        # {"model": "resnet50", "results": {"pets": 92.1}}: a column per key within.
        cells = [_flat(row, nested) for row in cells]
        names = list(dict.fromkeys(name for row in cells for name in row))
    held = [name for name in names if any(isinstance(row.get(name), dict) for row in cells)]
    if nested and held:
        raise _no_table(where)
    body = pd.DataFrame(
        [[_cell(row.get(name)) for name in names] for row in cells],
        index=range(1, len(rows) + 1), columns=range(len(names)), dtype=object,
    )  # fmt: skip
    return Grid([(name,) for name in names], body, "json", [])


def _flat(row: Mapping[str, Any], nested: list[str]) -> dict[str, Any]:
    flat = {name: cell for name, cell in row.items() if name not in nested}
    for name in nested:
        if isinstance(row.get(name), dict):
            flat |= {str(key): cell for key, cell in row[name].items()}
        elif row.get(name) is not None:
            flat[name] = row[name]
    return flat


def _cell(value: Any) -> Any:
    """Return a cell; what a list holds stays, as scores of an example."""
    return json.dumps(value) if isinstance(value, list | dict) else value


def _nested(value: Mapping[str, Any], where: str) -> Grid:
    """Read model -> dataset -> number, or model -> setting -> dataset -> number.

    Which of the two outer levels has the datasets, the names say; models where neither is known.
    """
    if all(role(str(name)) for name in value):
        # Setting -> model -> dataset: the model first.
        turned: dict[str, dict[str, Any]] = {}
        for setting, inner in value.items():
            for model, cells in inner.items():
                turned.setdefault(str(model), {})[str(setting)] = cells
        value = turned
    paths: dict[tuple[str, ...], dict[str, Any]] = {}
    depths = set()
    for model, inner in value.items():
        for path, cell in _leaves(inner):
            depths.add(len(path))
            paths.setdefault(path, {})[str(model)] = cell
    if len(depths) != 1 or not paths or not 1 <= next(iter(depths)) <= 2:
        raise _no_table(where)
    models = [str(name) for name in value]
    corner = "dataset" if all(map(is_known_dataset, models)) else "model"
    blank = ("",) * (next(iter(depths)) - 1)
    rows = [[model, *(cells.get(model) for cells in paths.values())] for model in models]
    body = pd.DataFrame(rows, index=range(1, len(rows) + 1), columns=range(len(paths) + 1),
                        dtype=object)  # fmt: skip
    return Grid([(*blank, corner), *paths], body, "json", [])


def _leaves(value: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    if not isinstance(value, dict):
        return [(path, value)]
    return [leaf for key, inner in value.items() for leaf in _leaves(inner, (*path, str(key)))]


def _no_table(where: str) -> TableError:
    return TableError(
        f"{where}: JSON without a table: expected a list of records, lists per column, or "
        "model -> dataset -> number",
        code="table.json_shape",
    )


SEPARATOR_ROW = re.compile(r"^\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$")
TABULAR = re.compile(
    r"\\begin\{(tabular[xy*]?|longtable|tabu|array|tblr|longtblr)\}(.*?)\\end\{\1\}", re.DOTALL
)
RULES = re.compile(
    r"\\(?:toprule|midrule|bottomrule|hline|addlinespace|endhead|endfirsthead|endfoot|endlastfoot"
    r"|cmidrule(?:\([^)]*\))?\{[^}]*\}|cline\{[^}]*\}|specialrule(?:\{[^}]*\}){3}"
    r"|arrayrulecolor(?:\[[^\]]*\])?\{[^}]*\}|rowcolor(?:\[[^\]]*\])?\{[^}]*\}|noalign\{[^}]*\})"
    r"(?:\[[^\]]*\])?"
)
# Lines of a cell, as tablesgenerator.com stacks them.
CELL_OF_LINES = re.compile(
    r"\\begin\{tabular\}\[[tcb]\]\{(?:[^{}]|\{[^{}]*\})*\}((?:(?!\\begin).)*?)\\end\{tabular\}",
    re.DOTALL,
)
CAPTION = re.compile(r"\\caption\*?(?:\[[^\]]*\])?\{((?:[^{}]|\{[^{}]*\})*)\}")
STACKED = re.compile(r"\\(?:makecell|shortstack|thead|specialcell)\*?(?:\[[^\]]*\])?\{[^{}]*\}")
MULTIROW = re.compile(r"\\multirow(?:cell)?\s*(?:\[[^\]]*\])?\s*\{(\d+)\}\s*\{[^{}]*\}\s*")
MULTICOLUMN = re.compile(r"\s*\\multicolumn\s*\{(\d+)\}\s*\{(?:[^{}]|\{[^{}]*\})*\}\s*")
# One row of a LaTeX or HTML table: a cell's text, and over how many columns and rows it goes.
Span = tuple[str, int, int]


def read_markup(text: str, where: str, table: int | None) -> Grid | None:
    """Read a table in LaTeX, HTML or Markdown; None for text that is none of them.

    Raises
    ------
    TableError
        No table with rows in it, or several of which none is chosen.
    """
    if "\\begin{" in text and TABULAR.search(text):
        text = re.sub(r"(?<!\\)%.*", "", text)
        text = CELL_OF_LINES.sub(lambda found: found[1].replace("\\\\", " "), text)
        bodies = [found[2] for found in TABULAR.finditer(text)]
        grid = _latex(_chosen(bodies, table, where, "LaTeX"), where)
        return grid._replace(caption=" ".join(CAPTION.findall(text)) if len(bodies) == 1 else "")
    if re.search(r"<table[\s>]", text, re.IGNORECASE):
        return _html(text, where, table)
    if tables := _markdown(text.splitlines()):
        chosen = _chosen(tables, table, where, "Markdown")
        above = [line for line in text.splitlines()[: chosen[0][0] - 1] if line.strip()]
        grid = with_header(chosen, 1, where, "markdown")
        return grid._replace(caption=above[-1] if above else "")
    if text.lstrip()[:1] == "<" or "\\documentclass" in text:
        raise TableError(f"{where} holds no table", code="table.none")
    return None


def _html(text: str, where: str, table: int | None) -> Grid:
    reader = _Html()
    reader.feed(text)
    reader.close()
    tables = [kept for one in reader.tables if len(kept := [row for row in one if row]) > 1]
    chosen = _chosen(tables, table, where, "HTML")
    heads = [all(head for *_, head in row) for row in chosen]
    n_header = heads.index(False) if False in heads else len(heads)
    rows = [[(text, across, down) for text, across, down, _ in row] for row in chosen]
    return _spread(rows, n_header or None, where, "html")


def _chosen(tables: Sequence[Any], number: int | None, where: str, kind: str) -> Any:
    if not tables:
        raise TableError(f"{where}: no table with rows", code="table.none")
    if number is None and len(tables) > 1:
        raise TableError(
            f"{where} holds {len(tables)} {kind} tables: choose one, "
            f"'{where}?table:=1' for the first",
            code="table.several", found=len(tables),
        )  # fmt: skip
    if not 1 <= (number or 1) <= len(tables):
        raise TableError(
            f"{where}: no table {number}: it holds {len(tables)}", code="table.number",
            found=len(tables),
        )  # fmt: skip
    return tables[(number or 1) - 1]


def _spread(rows: list[list[Span]], n_header: int | None, where: str, kind: str) -> Grid:
    """Fill in the places over which the cells of LaTeX and HTML go."""
    width = max((sum(across for _, across, _ in row) for row in rows), default=0)
    out: list[list[str]] = []
    below: dict[int, tuple[str, int]] = {}
    sections = 0
    for row in rows:
        cells: list[str] = []
        spans = list(row)
        # Names of groups of rows go over all columns.
        if len(spans) == 1 and spans[0][1] >= width > 1:
            sections += 1
            out.append([])
            continue
        while spans or len(cells) in below:
            if len(cells) in below:
                text, left = below.pop(len(cells))
                if left > 1:
                    below[len(cells)] = text, left - 1
                # LaTeX leaves a blank cell below; HTML none.
                if kind == "latex" and spans:
                    spans.pop(0)
                cells.append(text)
                continue
            text, across, down = spans.pop(0)
            for _ in range(min(across, width)):
                if down > 1:
                    below[len(cells)] = text, down - 1
                cells.append(text)
        out.append(cells + [""] * (width - len(cells)))
    kept = [(i + 1, row) for i, row in enumerate(out) if any(row)]
    before = sum(1 for row in out[:n_header] if any(row)) if n_header else None
    notes = [f"skipped: {count(sections, 'row')} that name groups of rows"] if sections else []
    return with_header(kept, before or None, where, kind, notes)


def _markdown(lines: list[str]) -> list[list[Line]]:
    """Find tables of pipes: a row of dashes below a row of names."""
    tables, i = [], 1
    while i < len(lines):
        if not (SEPARATOR_ROW.match(lines[i]) and "|" in lines[i] and "|" in lines[i - 1]):
            i += 1
            continue
        end = i + 1
        while end < len(lines) and "|" in lines[end]:
            end += 1
        rows = [(j + 1, _markdown_cells(lines[j])) for j in (i - 1, *range(i + 1, end))]
        width = len(rows[0][1])
        # As GitHub reads them, cells that are left out at the end are empty.
        rows = [(line, row + [""] * (width - len(row))) for line, row in rows]
        if len(rows) > 1:
            tables.append(rows)
        i = end + 1
    return tables


def _markdown_cells(line: str) -> list[str]:
    """Split at bars, and take off line breaks, links and emphasis."""
    cells = re.split(r"(?<!\\)\|", line.strip().removeprefix("|"))
    if not cells[-1].strip():
        cells.pop()
    found = []
    for cell in cells:
        text = re.sub(r"<br\s*/?>", " ", cell.replace("\\|", "|").strip())
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
        text = re.sub(r"(\*\*|__|~~|`)(.+?)\1", r"\2", text)
        text = re.sub(r"(?<!\w)[*_](\S.*?)[*_](?!\w)", r"\1", text)
        found.append(without_markup(text).rstrip("†‡*"))
    return found


def _latex(body: str, where: str) -> Grid:
    # The columns' alignment stands before the first row.
    body = re.sub(r"^\s*(?:\[[^\]]*\])?\s*(?:\{[^{}]*\}\s*)?", "", body, count=1) \
        if not body.lstrip().startswith("{") else _after_braces(body)  # fmt: skip
    head, *rest = re.split(r"\\midrule|\\endhead|\\endfirsthead", body, maxsplit=1)
    parts = [_latex_rows(head), *(_latex_rows(part) for part in rest)]
    n_header = len(parts[0]) if rest and parts[0] else None
    return _spread([row for part in parts for row in part], n_header, where, "latex")


def _after_braces(text: str) -> str:
    """Drop the leading groups in braces, nested ones too."""
    text = text.lstrip()
    while text.startswith("{"):
        depth = 0
        for i, letter in enumerate(text):
            depth += {"{": 1, "}": -1}.get(letter, 0)
            if not depth:
                text = text[i + 1 :].lstrip()
                break
        else:
            return ""
    return text


def _latex_rows(text: str) -> list[list[Span]]:
    # A line break within a cell.
    text = STACKED.sub(lambda found: found[0].replace("\\\\", " "), text)
    lines = re.split(r"\\\\(?:\s*\[[^\]]*\])?|\\tabularnewline", RULES.sub("", text))
    return [
        [_latex_cell(cell) for cell in re.split(r"(?<!\\)&", line)]
        for line in lines
        if line.strip()
    ]


def _latex_cell(cell: str) -> Span:
    across = down = 1
    if found := MULTICOLUMN.match(cell):
        across, cell = int(found[1]), cell[found.end() :]
    if found := MULTIROW.search(cell):
        down, cell = int(found[1]), MULTIROW.sub("", cell)
    # Of a number the marks are dropped later: here a subscript may be its spread.
    return _without_notes(without_markup(cell)), across, down


def _without_notes(text: str) -> str:
    return text.strip().rstrip("†‡§¶*").strip()


class _Html(HTMLParser):
    """Collect the tables of a page: rows of (text, columns, rows, whether a heading)."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tables: list[list[list[tuple[str, int, int, bool]]]] = []
        self._open: list[list[list[tuple[str, int, int, bool]]]] = []
        self._cell: list[str] | None = None
        self._spans, self._heading, self._in_head = (1, 1), False, False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self._end_cell()
            self._open.append([])
            self.tables.append(self._open[-1])
        elif not self._open:
            return
        elif tag == "thead":
            self._in_head = True
        elif tag == "tr":
            self._end_cell()
            self._open[-1].append([])
        elif tag in ("td", "th"):
            self._end_cell()
            given = dict(attrs)
            self._spans = _whole(given.get("colspan")), _whole(given.get("rowspan"))
            self._heading, self._cell = tag == "th" or self._in_head, []
        elif tag in ("sub", "sup") and self._cell is not None:
            self._cell.append("_{" if tag == "sub" else "^{")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th", "tr", "table"):
            self._end_cell()
        if tag == "table" and self._open:
            self._open.pop()
        elif tag == "thead":
            self._in_head = False
        elif tag in ("sub", "sup") and self._cell is not None:
            self._cell.append("}")

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)

    def _end_cell(self) -> None:
        if self._cell is not None and self._open:
            if not self._open[-1]:
                self._open[-1].append([])
            text = _without_notes(" ".join("".join(self._cell).split()))
            text = re.sub(r"\^\{(?:\d*|\[\w{1,3}\])\}$", "", text)
            self._open[-1][-1].append((text, *self._spans, self._heading))
        self._cell = None


def _whole(text: str | None) -> int:
    return min(int(text), 1000) if text and text.isascii() and text.isdigit() and int(text) else 1
