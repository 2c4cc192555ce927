"""The file of a table: names of columns, and cells as text."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headstart.errors import DatasetError
from headstart.files import storage_errors

__all__ = ["SUFFIXES", "cell_text", "filled", "read_columns", "read_header"]

SEPARATORS = {".csv": ",", ".tsv": "\t"}
PARQUET = ".parquet"
SUFFIXES = (*SEPARATORS, PARQUET)


def read_header(path: Path) -> dict[str, bool]:
    """Give the names of the columns, and whether their cells are lists.

    Raises
    ------
    DatasetError
        A file of another kind.
    """
    if path.suffix.lower() != PARQUET:
        return dict.fromkeys(_read_delimited(path, nrows=0).columns, False)
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _unreadable(path):
        schema = pq.read_schema(path)
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return {field.name: any(is_list(field.type) for is_list in lists) for field in schema}


def read_columns(path: Path, names: Sequence[str]) -> dict[str, list[Any]]:
    """Read cells as they are in the file: text of CSV and TSV, any type of Parquet.

    Raises
    ------
    DatasetError
        A file of another kind, or one without rows.
    """
    if path.suffix.lower() != PARQUET:
        frame = _read_delimited(path)
        cells = {name: frame[name].tolist() for name in names}
    else:
        import pyarrow.parquet as pq

        with _unreadable(path), pq.ParquetFile(path) as file:
            cells = file.read(columns=list(names)).to_pydict()
    if not cells[names[0]]:
        raise DatasetError(f"{path} has no rows: expected one an image")
    return cells


def cell_text(path: Path, column: str, row: int, value: Any) -> str:
    """Give a cell's text without the blanks around it; "" where there is nothing."""
    if value is None or value != value:  # NaN is not itself
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int | float):
        raise DatasetError(
            f"{path}: column '{column}' holds a value of type {type(value).__name__} in data row "
            f"{row + 1}: expected text or numbers"
        )
    return str(value).strip()


def filled(path: Path, column: str, cells: Sequence[Any], what: str) -> list[str]:
    """Give the text of a column, every cell of which has to be filled."""
    texts = [cell_text(path, column, row, cell) for row, cell in enumerate(cells)]
    if "" in texts:
        raise DatasetError(
            f"{path}: data row {texts.index('') + 1} has no {what} (column '{column}'; "
            f"{texts.count(''):,} of {len(texts):,} rows have none): fill it in or remove the row"
        )
    return texts


def _read_delimited(path: Path, nrows: int | None = None) -> Any:
    import pandas as pd

    # Text as it is written: 'NA' is a country, '007' is not 7.
    with _unreadable(path):
        frame = pd.read_csv(
            path,
            sep=SEPARATORS[path.suffix.lower()],
            dtype=str,
            keep_default_na=False,
            index_col=False,
            encoding="utf-8-sig",
            nrows=nrows,
        )
    return frame.rename(columns=str.strip)


@contextmanager
def _unreadable(path: Path) -> Iterator[None]:
    """Turn what pandas and pyarrow raise on a file of another kind into one line."""
    import pandas as pd
    import pyarrow as pa

    try:
        with storage_errors(path, reading=True), warnings.catch_warnings():
            # That cells are lost is only a warning there.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            yield
    except (ValueError, pa.ArrowException, pd.errors.ParserWarning) as error:
        kind = path.suffix[1:].upper()
        reason = str(error).strip().splitlines()[0]
        raise DatasetError(f"{path} cannot be read as {kind}: {reason}") from error
