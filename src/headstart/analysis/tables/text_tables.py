"""Tables as text in any usual encoding, separator and quoting -> cells and header rows."""

import codecs
import csv
import gzip
import io
import re
import zlib
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import pandas as pd

from headstart.analysis.tables.numerals import is_missing, without_markup
from headstart.errors import TableError

__all__ = [
    "Grid",
    "Line",
    "decode",
    "delimited_rows",
    "grid_of_frame",
    "read_delimited",
    "unpacked",
    "with_header",
]

# A row of text: its line in the file, and its cells.
Line: TypeAlias = tuple[int, list[str]]
DELIMITERS = (",", ";", "\t", "|")
BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
GZIP = b"\x1f\x8b"
# What a table of results is never larger than, unpacked.
LARGEST = 1 << 30
# What no text has; those of Windows-1252 that stand for nothing count, too.
CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
# A line of YAML: a comment, a mark of documents, `name:`, `name: value`, `- value`.
YAML = re.compile(r"\s*(#.*|---|- .*|[^,;\t|:]+:(\s.*)?)")
# A line that only draws: of reStructuredText, tabulate, psql, rich and their like.
RULE = re.compile(r"[\s|+:┃│║┏┓┗┛┡┩┢┪┣┫┠┨┳┻╇╈╋┌┐└┘├┤┬┴┼╔╗╚╝╠╣╦╩╬╭╮╰╯╞╡╪╟╢╫╘╛╧╤╒╕═━─=\-]+")
DRAWN = re.compile(r"[-=═━─]{3}")
UPRIGHT = re.compile(r"[┃│║]")
FOOTER = re.compile(r"\s*(?:\(\d+ rows?\)|\[\d+ rows x \d+ columns\])\s*")
NOTE = re.compile(r"\s*(?:[*†‡§¶#]|\d\)|notes?\b|source\b)", re.IGNORECASE)


def unpacked(content: bytes, where: str) -> bytes:
    """Return the content of a file compressed by gzip; other content as it is.

    Raises
    ------
    TableError
        Damaged, or over 1 GiB.
    """
    if not content.startswith(GZIP):
        return content
    try:
        with gzip.open(io.BytesIO(content)) as file:
            text = file.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise TableError(f"{where}: damaged gzip file ({error})", code="table.gzip") from error
    if len(text) > LARGEST:
        raise TableError(f"{where}: over 1 GiB when unpacked", code="table.too_large")
    return text


def decode(content: bytes, where: str) -> tuple[str, list[str]]:
    """Return the text of a file and what to say of its encoding.

    UTF-8 with or without a byte-order mark, UTF-16 and UTF-32 by their marks (UTF-16 without one by
    its zeros), else Windows-1252 (Latin-1), which is said.

    Raises
    ------
    TableError
        Not text in any of them.
    """
    encoding = next((name for mark, name in BOMS if content.startswith(mark)), None)
    if encoding is None and b"\x00" in content[:200]:
        even, odd = content[:200:2].count(0), content[1:200:2].count(0)
        encoding = "utf-16-le" if odd > even else "utf-16-be"
    notes = []
    try:
        text = content.decode(encoding or "utf-8")
    except UnicodeDecodeError as error:
        if encoding is not None:
            raise _no_text(where, f"{error.reason} at byte {error.start}") from error
        try:
            text = content.decode("cp1252")
        except UnicodeDecodeError:
            text = content.decode("latin-1")
        notes.append("encoding: not UTF-8, read as Windows-1252 (Latin-1)")
    if found := CONTROL.search(text):
        raise _no_text(where, f"control character {ord(found[0])} at character {found.start()}")
    return text, notes


def _no_text(where: str, reason: str) -> TableError:
    return TableError(
        f"{where} is not a text table ({reason}): expected a results store, CSV, JSON, Excel "
        "(.xlsx), Parquet, Markdown, LaTeX or HTML",
        code="table.not_text", reason=reason,
    )  # fmt: skip


def delimited_rows(text: str, where: str) -> tuple[list[Line], list[str]]:
    """Split delimited text into rows; also what was noticed, a phrase each.

    The separator is the one of comma, semicolon, tab and bar that the header line has most of
    outside quotes; where it has none, two spaces or more part cells. Comments before the header
    (``# ...``) and Excel's ``sep=;`` are skipped.

    Raises
    ------
    TableError
        No rows, a quote that is never closed, rows with another number of cells than the header,
        or YAML.
    """
    if ruled := _ruled(text):
        _check_widths(ruled, where, "|")
        return ruled, []
    lines = text.splitlines()
    start, delimiter = 0, None
    while start < len(lines) and (not lines[start].strip() or lines[start].lstrip()[0] == "#"
                                  or lines[start].lower().startswith("sep=")):  # fmt: skip
        if lines[start].lower().startswith("sep="):
            delimiter = lines[start][4:].strip() or "\t"
        start += 1
    if start == len(lines):
        raise TableError(f"{where} has no rows: expected a header line and one row per result",
                         code="table.empty")  # fmt: skip
    if all(map(YAML.fullmatch, filter(str.strip, lines[start:]))):
        raise TableError(f"{where} is YAML: write the same as JSON or CSV", code="table.yaml")
    notes = []
    if not delimiter:
        start, titles = _titles(lines, start)
        notes = [f"title: {title}" for title in titles]
    delimiter = delimiter[:1] if delimiter else _delimiter(lines[start])
    if delimiter is None and (blanks := _parted_by_blanks(lines, start)):
        rows = blanks
    elif delimiter is None and re.search(r"\S(?:\s{2,})\S", lines[start]):
        rows = [(i + 1, re.split(r"\s{2,}", line.strip()))
                for i, line in enumerate(lines[start:], start) if line.strip()]  # fmt: skip
    else:
        rows = _quoted(text, start, delimiter or ",", where)
    rows, below = _without_notes_below(rows)
    notes += [f"skipped below the table: {text}" for text in below]
    _check_widths(rows, where, delimiter or ",")
    if len(rows) < 2:
        raise TableError(f"{where} has no rows: expected a header line and one row per result",
                         code="table.empty")  # fmt: skip
    return [(line, [cell.strip() for cell in row]) for line, row in rows], notes


def read_delimited(content: bytes, where: str) -> pd.DataFrame:
    """Read delimited text with one header line; the index is the line in the file.

    Raises
    ------
    TableError
        As `delimited_rows`.
    """
    text, _ = decode(content, where)
    (_, names), *body = delimited_rows(text, where)[0]
    lines = [line for line, _ in body]
    return pd.DataFrame([row for _, row in body], columns=names, index=lines, dtype=object)


def _ruled(text: str) -> list[Line]:
    """Read a table drawn with lines, as terminals show it; no rows where none is drawn.

    Cells are parted by uprights, or else lie below the dashes of the rule (``-----  ----``).
    """
    lines = UPRIGHT.sub("|", text).splitlines()
    rules = [i for i, line in enumerate(lines) if RULE.fullmatch(line) and DRAWN.search(line)]
    places = [i for i, line in enumerate(lines)
              if line.strip() and i not in set(rules) and not FOOTER.fullmatch(line)]  # fmt: skip
    if not rules or len(places) < 2 or rules[0] > places[1] or places[0] < rules[0] - 1:
        return []
    if all("|" in lines[i] for i in places):
        cells = [lines[i].strip().removeprefix("|").removesuffix("|").split("|") for i in places]
    else:
        spans = [found.span() for found in re.finditer(r"[-=═━─]+", lines[rules[0]])]
        if len(spans) < 2:
            return []
        # A cell goes as far as the next one begins.
        ends = [span[0] for span in spans[1:]]
        starts = [0, *ends]
        cells = [
            [lines[i][a:b] for a, b in zip(starts, [*ends, None], strict=True)] for i in places
        ]
    return [(i + 1, [cell.strip() for cell in row]) for i, row in zip(places, cells, strict=True)]


def _titles(lines: list[str], start: int) -> tuple[int, list[str]]:
    """Find the header below titles: lines without the separator of the line that follows."""
    titles: list[str] = []
    while True:
        following = [i for i in range(start + 1, len(lines)) if lines[i].strip()]
        if len(following) < 2 or len(titles) > 2:
            return start, titles
        delimiter = _delimiter(lines[following[0]])
        apart = following[0] > start + 1
        has = delimiter is not None and lines[start].count(delimiter) > 0
        if delimiter is None or (has and not apart) or len(lines[start].split()) < 2:
            return start, titles
        if has and lines[start].count(delimiter) >= lines[following[0]].count(delimiter):
            return start, titles
        titles.append(lines[start].strip().strip('"').rstrip(delimiter))
        start = following[0]


def _parted_by_blanks(lines: list[str], start: int) -> list[Line]:
    """Split at each blank outside quotes, where all lines then have as many cells; else nothing.

    As R writes it, the header may lack the name of the first column.
    """
    places = [i for i in range(start, len(lines)) if lines[i].strip()]
    try:
        cells = list(csv.reader((lines[i].strip() for i in places), delimiter=" ",
                                skipinitialspace=True, strict=True))  # fmt: skip
    except csv.Error:
        return []
    widths = {len(row) for row in cells[1:]}
    if len(cells) != len(places) or len(widths) != 1 or min(widths) < 2:
        return []
    if len(cells[0]) == min(widths) - 1:
        cells[0].insert(0, "")
    if len(cells[0]) != min(widths):
        return []
    return [(i + 1, row) for i, row in zip(places, cells, strict=True)]


def _without_notes_below(
    rows: list[Line],
) -> tuple[list[Line], list[str]]:
    """Leave out lines at the end that are no row: a sentence, a footnote."""
    rows, below = list(rows), []
    while len(rows) > 2 and 1 < len(rows[0][1]) != len(rows[-1][1]):
        text = " ".join(rows[-1][1])
        if len(rows[-1][1]) > 1 and not NOTE.match(text):
            break
        below.append(text[:60])
        rows.pop()
    return rows, below[::-1]


def _delimiter(header: str) -> str | None:
    bare = re.sub(r'"(?:[^"]|"")*"', "", header)
    counts = {delimiter: bare.count(delimiter) for delimiter in DELIMITERS}
    best = max(DELIMITERS, key=lambda delimiter: counts[delimiter])
    return best if counts[best] else None


def _quoted(text: str, start: int, delimiter: str, where: str) -> list[Line]:
    # Split as `splitlines` counts, so that a line number is one that an editor shows.
    lines = text.splitlines(keepends=True)[start:]
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        rows = [(start + reader.line_num, row) for row in reader if any(map(str.strip, row))]
    except csv.Error as error:
        raise TableError(
            f"{where}, line {start + reader.line_num}: invalid CSV ({error})", code="table.csv",
            line=start + reader.line_num,
        ) from error  # fmt: skip
    return rows


def _check_widths(rows: list[Line], where: str, delimiter: str) -> None:
    width = len(rows[0][1]) if rows else 0
    # A separator at the end of each line but the header's, as some programs write it, is no cell.
    for _, row in rows:
        while len(row) > width and not row[-1].strip():
            row.pop()
    if delimiter != "," and len(rows) > 1 and all(len(row) == width + 1 for _, row in rows[1:]):
        # As R writes names of rows: without a name above them.
        rows[0][1].insert(0, "")
        width += 1
    wrong = [(line, len(row)) for line, row in rows if len(row) != width]
    if wrong:
        line, found = wrong[0]
        others = f" ({len(wrong)} such lines)" if len(wrong) > 1 else ""
        raise TableError(
            f"{where}, line {line}: expected {width} cells as in the header, found {found}{others};"
            f" quote cells that contain '{delimiter}'",
            code="table.row_width", line=line, expected=width, found=found,
            lines=[line for line, _ in wrong],
        )  # fmt: skip


# What a row below the names has where it is of the header, too.
UNITS = frozenset({"", "%", "(%)", "[%]", "\N{UPWARDS ARROW}", "\N{DOWNWARDS ARROW}"})


class Grid(NamedTuple):
    """A table as it stands, and its format.

    `header` has one tuple per column: its texts in the header rows, from the top down. `body` has
    columns 0, 1, ...; cells are text, or numbers where the format has them, and the index says
    where a row stands in the file. `notes` are what was noticed in reading, `caption` stands above
    the table and may say what is measured.
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


def with_header(
    rows: list[Line], n_header: int | None, where: str, kind: str, notes: Sequence[str] = ()
) -> Grid:
    """Part header rows from the body."""
    if not rows:
        raise TableError(f"{where} has no rows", code="table.empty")
    cells = [row for _, row in rows]
    n, width = n_header or _count_header_rows(cells), len(cells[0])
    wrong = [line for line, row in rows if len(row) != width]
    if wrong:
        raise TableError(
            f"{where}, line {wrong[0]}: expected {width} cells as in the header",
            code="table.row_width", expected=width, line=wrong[0], lines=wrong,
        )  # fmt: skip
    lines = [line for line, _ in rows[n:]]
    body = pd.DataFrame(cells[n:], index=lines, columns=range(width), dtype=object)
    if body.empty:
        raise TableError(f"{where} has no rows: expected a header and one row per result",
                         code="table.empty")  # fmt: skip
    said = [f"{n} header rows"] if n > 1 else []
    return Grid(_header(cells[:n]), body, kind, [*notes, *said])


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
