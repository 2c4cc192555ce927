"""Delimited text as people's programs write it: commas, semicolons, tabs; decimal commas; a BOM."""

import csv
import io
import re

import pandas as pd

from headstart.analysis.columns import COUNTS
from headstart.errors import TableError

__all__ = ["in_percent", "read_delimited", "to_numbers"]

DELIMITERS = (",", ";", "\t")
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")
THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:[.,]\d{3})+")
NOTHING = {"", "na", "n/a", "nan", "none", "null", "-", "–", "—"}  # noqa: RUF001


def read_delimited(content: bytes, where: str) -> pd.DataFrame:
    """Read delimited text, every cell a string as it stands; the index is the line in the file.

    The delimiter is the one of comma, semicolon and tab that the header line has most of.

    Raises
    ------
    TableError
        Not UTF-8 text, no rows, or rows with another number of cells than the header.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TableError(
            f"{where} is not UTF-8 text ({error.reason} at byte {error.start}): save it as CSV "
            "in UTF-8"
        ) from error
    header = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(DELIMITERS, key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise TableError(f"{where}, line {reader.line_num}: not a CSV ({error})") from error
    if len(rows) < 2:
        raise TableError(f"{where} has no rows: expected a header line and a line a result")
    (_, names), *body = rows
    for line, row in body:
        if len(row) != len(names):
            raise TableError(
                f"{where}, line {line}: expected {len(names)} cells as in the header, "
                f"found {len(row)}; quote cells that contain '{delimiter}'"
            )
    cells = [[cell.strip() for cell in row] for _, row in body]
    names = [name.strip() for name in names]
    return pd.DataFrame(cells, columns=names, index=[line for line, _ in body], dtype=object)


def to_numbers(column: pd.Series, where: str) -> pd.Series:
    """Turn a column to float64; what says that there is none (empty, NA, -) becomes NaN.

    A percent sign is dropped (`in_percent` sees it). A comma is the decimal sign where the column
    has no points; in a column of counts, commas or points may set thousands apart.

    Raises
    ------
    TableError
        A cell that is no number.
    """
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return column.astype("float64")
    texts = ["" if pd.isna(cell) else str(cell).strip().rstrip("%").strip() for cell in column]
    known = [text for text in texts if text.lower() not in NOTHING]
    texts = _with_points(texts, known, counts=column.name in COUNTS)
    values = []
    for row, text in zip(column.index, texts, strict=True):
        try:
            values.append(float("nan") if text.lower() in NOTHING else float(text))
        except ValueError as error:
            raise TableError(
                f"{where}, row {row}: expected a number in column '{column.name}', found '{text}'"
            ) from error
    return pd.Series(values, index=column.index, name=column.name, dtype="float64")


def in_percent(column: pd.Series) -> bool:
    """Whether a column of text says that it is in percent: a sign at every number."""
    texts = [str(cell).strip() for cell in column if not pd.isna(cell)]
    known = [text for text in texts if text.lower() not in NOTHING]
    return bool(known) and all(text.endswith("%") for text in known)


def _with_points(texts: list[str], known: list[str], counts: bool) -> list[str]:
    commas = [text for text in known if "," in text]
    apart = [text for text in known if "," in text or "." in text]
    if counts and apart and all(THOUSANDS.fullmatch(text) for text in apart):
        return [text.replace(",", "").replace(".", "") for text in texts]
    if (
        commas
        and all(DECIMAL_COMMA.fullmatch(text) for text in commas)
        and not any("." in t for t in known)
    ):
        return [text.replace(",", ".") for text in texts]
    return texts
