"""The file of a user's table (CSV, TSV, Parquet or JSON): columns and cells as text."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from headstart.datasets.decode import kind_of_file
from headstart.datasets.naming import column_key, join_names, shorten
from headstart.errors import DatasetError
from headstart.files import storage_errors, text_encoding
from headstart.shown_text import first_line

__all__ = ["FLAGS", "SUFFIXES", "Table", "cell_text", "filled"]

Kind = Literal["value", "list", "image"]

SEPARATORS = {".csv": ",", ".tsv": "\t"}
PARQUET, JSON = ".parquet", (".json", ".jsonl")
SUFFIXES = (*SEPARATORS, PARQUET, *JSON)
# What stands between cells in files that are called CSV, the usual first.
SEPARATORS_TRIED = (",", "\t", ";", "|")
FLAGS: Mapping[str, bool] = MappingProxyType(
    dict.fromkeys(("1", "1.0", "true", "yes"), True)
    | dict.fromkeys(("0", "0.0", "false", "no"), False)
)
# Of a file, to find out how it is written.
HEAD = 1 << 16
SHOWN = 20
# No separator, nor a blank.
END = "\x04"


@dataclass(frozen=True)
class Table:
    """A CSV, TSV, Parquet or JSON file; DatasetError where it is another.

    The separator of a delimited file is recognised by the names of columns, of which `known` has
    likely ones, as `column_key` gives them.
    """

    path: Path
    known: frozenset[str] = frozenset()

    @cached_property
    def header(self) -> dict[str, Kind]:
        """The names of the columns, and what their cells are: values, lists, or encoded images."""
        if self._is_parquet:
            return {field.name: _kind(field.type) for field in self._schema}
        return {name: _kind_of_cells(cells) for name, cells in self._columns.items()}

    def cells(self, name: str) -> list[Any]:
        """Read a column as it is in the file: text of CSV and TSV, any type of Parquet and JSON.

        DatasetError for a file without rows, and for a column that is there twice.
        """
        self.check_once([name])
        if self._is_parquet:
            import pyarrow.parquet as pq

            # An open file: Arrow takes no name that is not UTF-8.
            with self._unreadable(), self.path.open("rb") as file:
                column = pq.ParquetFile(file).read(columns=[name]).column(name)
            cells: list[Any] = column.to_pylist()
        else:
            cells = self._columns[name]
        if not cells:
            raise DatasetError(
                f"{self.path} has no rows: expected one per image", code="dataset.empty"
            )
        return cells

    def check_once(self, names: Sequence[str]) -> None:
        """Raise DatasetError for a column that is there twice."""
        written = self._schema.names if self._is_parquet else self._names
        for name in names:
            if written.count(name) > 1:
                raise DatasetError(
                    f"{self.path} has two columns '{shorten(name)}': rename one",
                    code="dataset.column_twice",
                    found=name,
                )

    def texts(self, name: str) -> list[str]:
        """Read a column as text, "" where nothing is written."""
        return [cell_text(self.path, name, row, cell) for row, cell in enumerate(self.cells(name))]

    def filled(self, name: str, what: str) -> list[str]:
        """Read a column as text, every cell of which has to be filled; `what` it holds."""
        return filled(self.path, name, self.cells(name), what)

    def flags(self, name: str) -> list[bool]:
        """Read a column of 1 and 0; DatasetError for other cells."""
        texts = [text.lower() for text in self.texts(name)]
        wrong = next((text for text in texts if text not in FLAGS), None)
        if wrong is not None:
            raise DatasetError(
                f"{self.path}: column '{name}' holds '{shorten(wrong)}' in data row "
                f"{texts.index(wrong) + 1}: expected 1 or 0 for each image and class",
                code="dataset.cell_type",
                found=wrong,
            )
        return [FLAGS[text] for text in texts]

    def values(self, name: str) -> set[str]:
        """Return what is written in a column, in small letters."""
        return {str(cell).strip().lower() for cell in self.cells(name)}

    def find(self, use: str, options: Mapping[str, str], guesses: Sequence[str] = ()) -> str | None:
        """Return the column that option `use` names, else the first that is called as a guess."""
        if use not in options:
            keys = {column_key(name): name for name in reversed(self.header)}
            return next((keys[guess] for guess in guesses if guess in keys), None)
        self.require(options[use], use)
        return options[use]

    def require(self, name: str, use: str) -> None:
        """Raise DatasetError unless there is a column of this name, which option `use` gave."""
        if name not in self.header:
            raise DatasetError(
                f"{self.path} has no column '{name}' (asked for by {use}={name}): it has "
                f"{self.listed()}",
                code="dataset.column_unknown",
                found=name,
            )

    def listed(self) -> str:
        """Return the names of the columns for a message, the first of many."""
        return join_names(list(self.header), most=SHOWN)

    @property
    def _is_parquet(self) -> bool:
        return self.path.suffix.lower() == PARQUET

    @property
    def _is_json(self) -> bool:
        return self.path.suffix.lower() in JSON

    @cached_property
    def _schema(self) -> Any:
        import pyarrow.parquet as pq

        with self._unreadable(), self.path.open("rb") as file:
            self._check_kind(file.read(HEAD))
            return pq.read_schema(file)

    @property
    def _names(self) -> list[str]:
        return self._content[0]

    @property
    def _columns(self) -> dict[str, list[Any]]:
        return self._content[1]

    @cached_property
    def _content(self) -> tuple[list[str], dict[str, list[Any]]]:
        """The names of the columns as they are written, and the cells of each column."""
        with self._unreadable():
            with self.path.open("rb") as file:
                head = file.read(HEAD)
            self._check_kind(head)
            return self._read_json(head) if self._is_json else self._read_delimited(head)

    def _read_json(self, head: bytes) -> tuple[list[str], dict[str, list[Any]]]:
        """Read a JSON file; what an object lacks is None."""
        text = self.path.read_bytes().decode(text_encoding(head))
        rows = _json_rows(text, lines=self.path.suffix.lower() == ".jsonl")
        names = list(dict.fromkeys(name for row in rows for name in row))
        columns = {name: [row.get(name) for row in rows] for name in names}
        for cells in columns.values():
            if _kind_of_cells(cells) == "list":
                cells[:] = [one if isinstance(one, list | None) else [one] for one in cells]
        return names, columns

    def _read_delimited(self, head: bytes) -> tuple[list[str], dict[str, list[Any]]]:
        """Read text as it is written: 'NA' is a country, '007' is not 7."""
        encoding = text_encoding(head)
        text, usual = head.decode(encoding, errors="replace"), SEPARATORS[self.path.suffix.lower()]
        separator, skipped = _separator(text, usual, self.known)
        with self.path.open(encoding=encoding, newline="") as file:
            # A last row of its own shows that no cell goes on to the end.
            lines = chain(islice(file, skipped, None), [END])
            cells = csv.reader(lines, delimiter=separator)
            # No lines that are blank.
            rows = [row for row in cells if len(row) > 1 or "".join(row).strip()]
        if rows.pop() != [END]:
            raise ValueError(f"a quotation mark in data row {len(rows)} is not closed")
        if not rows:
            raise ValueError("it has no line of columns")
        names = [name.strip() for name in rows.pop(0)]
        for number, row in enumerate(rows, 1):
            # An empty cell at the end of each row is a separator too many.
            if any(row[len(names) :]):
                raise DatasetError(
                    f"{self.path}: data row {number} has {len(row)} cells, and the header "
                    f"names {len(names)} columns: put cells that contain '{separator}' in "
                    "quotation marks, or name all columns",
                    code="dataset.row_too_long",
                    found=number,
                )
            row += [""] * (len(names) - len(row))
        return names, {name: [row[i] for row in rows] for i, name in enumerate(names)}

    def _check_kind(self, head: bytes) -> None:
        """Raise DatasetError for a download that failed, a pointer, an archive."""
        kind = kind_of_file(head)
        if kind and not (self._is_json and kind.startswith("JSON")):
            raise DatasetError(
                f"{self.path} is no table but {kind}", code="dataset.unreadable", found=kind
            )

    @contextmanager
    def _unreadable(self) -> Iterator[None]:
        """Turn what csv, json and pyarrow raise on a file of another kind into one line."""
        import pyarrow as pa

        kind = self.path.suffix[1:].upper()
        try:
            with storage_errors(self.path, reading=True):
                yield
        except UnicodeError as error:
            raise DatasetError(
                f"{self.path} cannot be read as {kind}: its text is not UTF-8 ({error}): save it "
                "as UTF-8",
                code="dataset.unreadable",
            ) from error
        except (ValueError, csv.Error, pa.ArrowException, RecursionError, OverflowError) as error:
            reason = first_line(error) if self.path.stat().st_size else "it is empty (0 bytes)"
            raise DatasetError(
                f"{self.path} cannot be read as {kind}: {reason}", code="dataset.unreadable"
            ) from error


def _separator(head: str, usual: str, known: frozenset[str]) -> tuple[str, int]:
    """Find what stands between cells, and how many lines to skip before those of the table."""
    lines = head.splitlines()
    # Spreadsheets name the separator in a line of its own: sep=;
    if lines and lines[0].lower().startswith("sep=") and len(lines[0]) == len("sep=") + 1:
        return lines[0][-1], 1
    text = [f"{line}\n" for line in lines[:SHOWN] if line.strip()]

    def rank(separator: str) -> tuple[int, bool]:
        try:
            names = next(csv.reader(text, delimiter=separator), [])
        except csv.Error:
            names = []
        return len({column_key(name) for name in names} & known), len(names) > 1

    return max(dict.fromkeys((usual, *SEPARATORS_TRIED)), key=rank), 0


def _json_rows(text: str, *, lines: bool) -> list[dict[str, Any]]:
    """Read one object per row: a list of objects, one object per line, or one of path -> label.

    Raises
    ------
    ValueError
        Text that is none of these.
    """
    found: Any = None
    if not lines:
        try:
            found = json.loads(text)
        except json.JSONDecodeError as error:
            # Lines of JSON are often called .json.
            if not error.msg.startswith("Extra data"):
                raise
    if found is None:
        found = [_json_line(line, i) for i, line in enumerate(text.split("\n"), 1) if line.strip()]
    if isinstance(found, dict) and not any(isinstance(one, dict) for one in found.values()):
        plain = [one for one in found.values() if not isinstance(one, list)]
        found = [{"path": k, "label": one} for k, one in found.items()] if plain else found
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        names = f" with {join_names(list(found))}" if isinstance(found, dict) else ""
        raise ValueError(
            'expected objects, one per image ({"path": "1.jpg", "label": "cat"}), or one object '
            f"of paths and labels; found {type(found).__name__}{names}"
        )
    return found


def _json_line(line: str, number: int) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {number}: {error.msg}") from error


def _kind_of_cells(cells: Sequence[Any]) -> Kind:
    return "list" if any(isinstance(cell, list) for cell in cells) else "value"


def _kind(kind: Any) -> Kind:
    from headstart.datasets.parquet_dataset import holds_bytes, is_list

    return "list" if is_list(kind) else "image" if holds_bytes(kind) else "value"


def cell_text(path: Path, column: str, row: int, value: Any) -> str:
    """Return a cell's text without the blanks around it; "" where there is nothing."""
    if value is None or value != value:  # NaN is not itself
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int | float):
        raise DatasetError(
            f"{path}: column '{column}' holds a value of type {type(value).__name__} in data row "
            f"{row + 1}: expected text or numbers",
            code="dataset.cell_type",
            found=type(value).__name__,
        )
    return str(value).strip()


def filled(path: Path, column: str, cells: Sequence[Any], what: str) -> list[str]:
    """Return the text of a column, every cell of which has to be filled."""
    texts = [cell_text(path, column, row, cell) for row, cell in enumerate(cells)]
    if "" in texts:
        raise DatasetError(
            f"{path}: data row {texts.index('') + 1} has no {what} (column '{column}'; "
            f"{texts.count(''):,} of {len(texts):,} rows have none): fill it in or remove the row",
            code="dataset.cell_empty",
            found=texts.index("") + 1,
        )
    return texts
