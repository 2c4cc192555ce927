"""Tables in Markdown, LaTeX and HTML."""

import re
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any

from headstart.analysis.delimited import Rows
from headstart.analysis.grid import Grid, with_header
from headstart.analysis.numerals import without_markup
from headstart.errors import TableError

__all__ = ["read_markup"]

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

    Parameters
    ----------
    table
        Which one (1, 2, ...) of several.

    Raises
    ------
    TableError
        No table with rows in it, or several of which none is chosen.
    """
    if "\\begin{" in text and TABULAR.search(text):
        text = CELL_OF_LINES.sub(
            lambda found: found[1].replace("\\\\", " "), _without_comments(text)
        )
        bodies = [found[2] for found in TABULAR.finditer(text)]
        grid = _latex(_chosen(bodies, table, where, "LaTeX"), where)
        return grid._replace(caption=" ".join(CAPTION.findall(text)) if len(bodies) == 1 else "")
    if re.search(r"<table[\s>]", text, re.IGNORECASE):
        return _html(text, where, table)
    if tables := _markdown(text.splitlines()):
        chosen = _chosen(tables, table, where, "Markdown")
        above = [line for line in text.splitlines()[: chosen.lines[0] - 1] if line.strip()]
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
    notes = [f"{sections} rows that name groups of rows skipped"] if sections else []
    rows_ = Rows([line for line, _ in kept], [row for _, row in kept], notes)
    return with_header(rows_, before or None, where, kind)


def _markdown(lines: list[str]) -> list[Rows]:
    """Find tables of pipes: a row of dashes below a row of names."""
    tables, i = [], 1
    while i < len(lines):
        if not (SEPARATOR_ROW.match(lines[i]) and "|" in lines[i] and "|" in lines[i - 1]):
            i += 1
            continue
        end = i + 1
        while end < len(lines) and "|" in lines[end]:
            end += 1
        places = [i - 1, *range(i + 1, end)]
        cells = [[_unmarked(cell) for cell in _bars(lines[j])] for j in places]
        width = len(cells[0])
        # As GitHub reads them, cells that are left out at the end are empty.
        cells = [row + [""] * (width - len(row)) for row in cells]
        if len(cells) > 1:
            tables.append(Rows([j + 1 for j in places], cells, []))
        i = end + 1
    return tables


def _bars(line: str) -> list[str]:
    text = line.strip()
    text = text.removeprefix("|")
    cells = re.split(r"(?<!\\)\|", text)
    if not cells[-1].strip():
        cells.pop()
    return [cell.replace("\\|", "|").strip() for cell in cells]


def _unmarked(cell: str) -> str:
    cell = re.sub(r"<br\s*/?>", " ", cell)
    cell = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", cell)
    cell = re.sub(r"(\*\*|__|~~|`)(.+?)\1", r"\2", cell)
    return without_markup(re.sub(r"(?<!\w)[*_](\S.*?)[*_](?!\w)", r"\1", cell)).rstrip("†‡*")


def _without_comments(text: str) -> str:
    return re.sub(r"(?<!\\)%.*", "", text)


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
