"""Delimited text as people's programs write it: any usual encoding, separator and quoting."""

import codecs
import csv
import gzip
import io
import re
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from headstart.errors import TableError

__all__ = ["Rows", "decode", "delimited_rows", "list_some", "read_delimited", "unpacked"]

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
SHOWN = 5


class Rows(NamedTuple):
    """Rows of text: the line of each in the file, its cells, and what was noticed in reading."""

    lines: list[int]
    cells: list[list[str]]
    notes: list[str]


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


def delimited_rows(content: bytes | str, where: str) -> Rows:
    """Split delimited text into rows of cells, each a string as it stands.

    The separator is the one of comma, semicolon, tab and bar that the header line has most of
    outside quotes; where it has none, two spaces or more part cells. Comments before the header
    (``# ...``) and Excel's ``sep=;`` are skipped.

    Raises
    ------
    TableError
        No rows, a quote that is never closed, or rows with another number of cells than the header.
    """
    text, notes = decode(content, where) if isinstance(content, bytes) else (content, [])
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
    delimiter = delimiter[:1] if delimiter else _delimiter(lines[start])
    if delimiter is None and re.search(r"\S(?:\s{2,})\S", lines[start]):
        rows = [(i + 1, re.split(r"\s{2,}", line.strip()))
                for i, line in enumerate(lines[start:], start) if line.strip()]  # fmt: skip
    else:
        rows = _quoted(text, start, delimiter or ",", where)
    _check_widths(rows, where, delimiter or ",")
    if len(rows) < 2:
        raise TableError(f"{where} has no rows: expected a header line and one row per result",
                         code="table.empty")  # fmt: skip
    return Rows([line for line, _ in rows], [[c.strip() for c in row] for _, row in rows], notes)


def read_delimited(content: bytes, where: str) -> pd.DataFrame:
    """Read delimited text with one header line; the index is the line in the file.

    Raises
    ------
    TableError
        As `delimited_rows`.
    """
    rows = delimited_rows(content, where)
    names, *body = rows.cells
    return pd.DataFrame(body, columns=names, index=rows.lines[1:], dtype=object)


def list_some(items: Sequence[object], most: int = SHOWN) -> str:
    """Join the first few of many for a message, and say how many there are."""
    shown = ", ".join(str(item) for item in items[:most])
    return shown + (f", ... ({len(items)} in all)" if len(items) > most else "")


def _delimiter(header: str) -> str | None:
    bare = re.sub(r'"(?:[^"]|"")*"', "", header)
    counts = {delimiter: bare.count(delimiter) for delimiter in DELIMITERS}
    best = max(DELIMITERS, key=lambda delimiter: counts[delimiter])
    return best if counts[best] else None


def _quoted(text: str, start: int, delimiter: str, where: str) -> list[tuple[int, list[str]]]:
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


def _check_widths(rows: list[tuple[int, list[str]]], where: str, delimiter: str) -> None:
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
