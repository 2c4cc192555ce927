"""Per-example predictions as compressed Parquet files, written whole, checked when read."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstart.errors import StoreError
from headstart.files import replaced, sha256_file, storage_errors
from headstart.spec import Prediction

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["read_predictions", "write_predictions"]


def write_predictions(path: Path, predictions: Prediction) -> str:
    """Write `path` whole or not at all; give its SHA-256.

    Columns: ``example``, ``label``, ``predicted`` (int64; lists of K where an image may show
    several classes), ``scores`` (lists of K float32).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    def column(values: npt.NDArray[Any]) -> pa.Array:
        """Make a column of an array: (n, K) is a list of K a row."""
        flat = pa.array(np.ascontiguousarray(values).ravel())
        lists = pa.FixedSizeListArray.from_arrays
        return flat if values.ndim == 1 else lists(flat, values.shape[1])

    table = pa.table(
        {
            "example": predictions.example,
            "label": column(predictions.label),
            "predicted": column(predictions.predicted),
            "scores": column(predictions.scores.astype(np.float32)),
        }
    )
    with replaced(path) as temporary:
        # An open file: Arrow takes no name that is not UTF-8.
        with temporary.open("wb") as file:
            pq.write_table(table, file, compression="zstd")
        return sha256_file(temporary)


def read_predictions(path: Path, sha256: str) -> Prediction:
    """Read a file that `write_predictions` wrote.

    Raises
    ------
    StoreError
        The file is missing, or its bytes are not those that were written.
    """
    import pyarrow.parquet as pq

    if not path.exists():
        raise StoreError(
            f"predictions {path} are missing: restore the file from a copy",
            code="store.predictions_missing",
            path=str(path),
        )
    if (found := sha256_file(path)) != sha256:
        raise StoreError(
            f"predictions {path} are damaged: expected SHA-256 {sha256[:12]}..., "
            f"found {found[:12]}...; restore the file from a copy",
            code="store.predictions_damaged",
            path=str(path),
        )
    # ParquetFile, not read_table: the latter takes folder names such as "a=b" for partition keys.
    with storage_errors(path, reading=True), path.open("rb") as file:
        table = pq.ParquetFile(file).read()
    columns = (table[name].combine_chunks() for name in ("example", "label", "scores"))
    return Prediction(*map(_array, columns))


def _array(column: "pa.Array") -> npt.NDArray[Any]:
    """(n,) or, where the column holds lists, (n, K)."""
    several = hasattr(column, "flatten")
    array: npt.NDArray[Any] = (column.flatten() if several else column).to_numpy()
    return array.reshape(len(column), -1) if several else array
