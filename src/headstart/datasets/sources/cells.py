"""The file of a table: names of columns, and cells as text."""

import csv
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from headstart.datasets.decode import kind_of_file
from headstart.datasets.naming import column_key, listed, shown
from headstart.errors import DatasetError
from headstart.files import storage_errors

__all__ = ["SUFFIXES", "Table", "cell_text"]

Kind = Literal["value", "list", "image"]

SEPARATORS = {".csv": ",", ".tsv": "\t"}
PARQUET = ".parquet"
SUFFIXES = (*SEPARATORS, PARQUET)
# What stands between cells in files that are called CSV, the usual first.
BETWEEN = (",", "\t", ";", "|")
# Of a file, to find out how it is written.
HEAD = 1 << 16
# The longest first: that of UTF-32 begins as that of UTF-16.
MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
SHOWN = 20


@dataclass(frozen=True)
class Table:
    """A CSV, TSV or Parquet file.

    Parameters
    ----------
    path
        Of the file.
    known
        Names of columns (as `column_key` gives them) by which the separator of a delimited file is
        recognised.
    """

    path: Path
    known: frozenset[str] = frozenset()

    @cached_property
    def header(self) -> dict[str, Kind]:
        """The names of the columns, and what their cells are: values, lists, or encoded images.

        Raises
        ------
        DatasetError
            A file of another kind.
        """
        if not self._is_parquet:
            return dict.fromkeys(self._frame.columns, "value")
        return {field.name: _kind(field.type) for field in self._schema}

    def columns(self, names: Sequence[str]) -> dict[str, list[Any]]:
        """Read cells as they are in the file: text of CSV and TSV, any type of Parquet.

        Raises
        ------
        DatasetError
            A file of another kind; one without rows; a column that is there twice.
        """
        self.check_once(names)
        if not self._is_parquet:
            cells = {name: self._frame[name].tolist() for name in names}
        else:
            import pyarrow.parquet as pq

            # An open file: Arrow takes no name that is not UTF-8.
            with self._unreadable(), self.path.open("rb") as file:
                read = pq.ParquetFile(file).read(columns=list(names))
                cells = {name: read.column(name).to_pylist() for name in names}
        if names and not cells[names[0]]:
            raise DatasetError(
                f"{self.path} has no rows: expected one per image", code="dataset.empty"
            )
        return cells

    def check_once(self, names: Sequence[str]) -> None:
        """Raise DatasetError for a column that is there twice."""
        written = [self._schema.names] if self._is_parquet else [self._dialect.names, self._frame]
        for name in names:
            if any(list(some).count(name) > 1 for some in written):
                raise DatasetError(
                    f"{self.path} has two columns '{shown(name)}': rename one",
                    code="dataset.column_twice",
                    found=name,
                )

    def texts(self, name: str) -> list[str]:
        """Read a column as text, "" where nothing is written."""
        cells = self.columns([name])[name]
        return [cell_text(self.path, name, row, cell) for row, cell in enumerate(cells)]

    def filled(self, name: str, what: str) -> list[str]:
        """Read a column as text, every cell of which has to be filled; `what` it holds."""
        return filled(self.path, name, self.columns([name])[name], what)

    def listed(self) -> str:
        """Return the names of the columns for a message, the first of many."""
        return listed(list(self.header), most=SHOWN)

    @property
    def _is_parquet(self) -> bool:
        return self.path.suffix.lower() == PARQUET

    @cached_property
    def _schema(self) -> Any:
        import pyarrow.parquet as pq

        with self._unreadable(), self.path.open("rb") as file:
            self._check_kind(file.read(HEAD))
            return pq.read_schema(file)

    @cached_property
    def _dialect(self) -> "_Dialect":
        with storage_errors(self.path, reading=True), self.path.open("rb") as file:
            head = file.read(HEAD)
        self._check_kind(head)
        return _dialect(head, SEPARATORS[self.path.suffix.lower()], self.known)

    @cached_property
    def _frame(self) -> Any:
        import pandas as pd

        dialect = self._dialect
        # Text as it is written: 'NA' is a country, '007' is not 7.
        with self._unreadable():
            frame = pd.read_csv(
                self.path,
                sep=dialect.separator,
                dtype=str,
                keep_default_na=False,
                index_col=False,
                encoding=dialect.encoding,
                skiprows=dialect.skipped,
            )
        if len(dialect.names) == len(frame.columns):
            frame.columns = pd.Index(dialect.names)
        return frame.rename(columns=lambda name: str(name).strip())

    def _check_kind(self, head: bytes) -> None:
        """Raise DatasetError for a download that failed, a pointer, an archive."""
        if kind := kind_of_file(head):
            raise DatasetError(
                f"{self.path} is no table but {kind}", code="dataset.unreadable", found=kind
            )

    @contextmanager
    def _unreadable(self) -> Iterator[None]:
        """Turn what pandas and pyarrow raise on a file of another kind into one line."""
        import pandas as pd
        import pyarrow as pa

        kind = self.path.suffix[1:].upper()
        try:
            with storage_errors(self.path, reading=True), warnings.catch_warnings():
                # That cells are lost is only a warning there.
                warnings.simplefilter("error", pd.errors.ParserWarning)
                yield
        except UnicodeError as error:
            raise DatasetError(
                f"{self.path} cannot be read as {kind}: its text is not UTF-8 ({error}): save it "
                "as UTF-8",
                code="dataset.unreadable",
            ) from error
        except (
            ValueError,
            pa.ArrowException,
            pd.errors.ParserWarning,
            RecursionError,
            OverflowError,
        ) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise DatasetError(
                f"{self.path} cannot be read as {kind}: {reason}", code="dataset.unreadable"
            ) from error


@dataclass(frozen=True)
class _Dialect:
    """How a delimited file is written: `skipped` lines, then the line of the columns' names."""

    encoding: str
    separator: str
    skipped: int
    names: tuple[str, ...]


def _dialect(head: bytes, usual: str, known: frozenset[str]) -> _Dialect:
    encoding = _encoding(head)
    lines = head.decode(encoding, errors="replace").splitlines()
    # Spreadsheets name the separator in a line of its own: sep=;
    if lines and lines[0].lower().startswith("sep=") and len(lines[0]) == len("sep=") + 1:
        separator = lines[0][-1]
        return _Dialect(encoding, separator, 1, _cells("\n".join(lines[1:]), separator))
    text = "\n".join(line for line in lines[:SHOWN] if line.strip())
    order = dict.fromkeys((usual, *BETWEEN))

    def rank(separator: str) -> tuple[int, bool]:
        names = _cells(text, separator)
        return len({column_key(name) for name in names} & known), len(names) > 1

    separator = max(order, key=rank)
    return _Dialect(encoding, separator, 0, _cells(text, separator))


def _cells(text: str, separator: str) -> tuple[str, ...]:
    """Take the first line apart."""
    try:
        found = next(csv.reader(text.splitlines(keepends=True), delimiter=separator), [])
    except csv.Error:
        found = []
    return tuple(name.strip() for name in found)


def _encoding(head: bytes) -> str:
    for mark, encoding in MARKS:
        if head.startswith(mark):
            return encoding
    if len(head) > 3 and b"\0" in head[:SHOWN]:
        even, odd = head[:HEAD:2].count(0), head[1:HEAD:2].count(0)
        if max(even, odd) > len(head) // 8:
            return "utf-16-be" if even > odd else "utf-16-le"
    return "utf-8-sig"


def _kind(kind: Any) -> Kind:
    import pyarrow as pa

    if any(is_list(kind) for is_list in (pa.types.is_list, pa.types.is_large_list)):
        return "list"
    if pa.types.is_fixed_size_list(kind):
        return "list"
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        return "image"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return "image"
    return "value"


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
