"""Predictions per example: compressed Parquet files, written whole, checked when read.

They lie beside a SQLite database; those of a database on a server need a place of their own.
"""

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstart.errors import StoreError
from headstart.files import replaced, sha256_file, storage_errors, writable_folder
from headstart.spec import Prediction

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["PredictionFolder", "read_predictions", "write_predictions"]

PLACE = "HEADSTART_ARTIFACTS"


class PredictionFolder:
    """Where the predictions of a store lie.

    Parameters
    ----------
    folder
        None if nobody said: results can be read, and their predictions cannot.
    store
        The database, for messages.
    """

    def __init__(self, folder: Path | None, store: str) -> None:
        self._given, self._store = folder, store

    @classmethod
    def of_server(cls, place: Path | str | None, store: str) -> "PredictionFolder":
        """Return the folder for a database on a server: `place`, else in $HEADSTART_ARTIFACTS."""
        if place is None and (root := os.environ.get(PLACE)):
            place = Path(root) / "predictions"
        return cls(Path(place).expanduser() if place else None, store)

    @property
    def is_known(self) -> bool:
        """Whether anybody said where they lie."""
        return self._given is not None

    def prepare(self) -> None:
        """Make the folder, and prove that it can be written."""
        writable_folder(self._folder)

    def put(self, key: str, predictions: Prediction) -> tuple[str, str]:
        """Write the predictions of a trial; return the file's name and SHA-256.

        No two names are the same: a worker that comes back late overwrites nothing.
        """
        self.prepare()
        name = f"{key}-{secrets.token_hex(4)}.parquet"
        return name, write_predictions(self._folder / name, predictions)

    def get(self, name: str, sha256: str) -> Prediction:
        """Read the predictions of a file, checked against its SHA-256."""
        return read_predictions(self._folder / name, sha256)

    def remove(self, name: str) -> None:
        """Remove a file that no result names."""
        (self._folder / name).unlink(missing_ok=True)

    def names(self) -> set[str]:
        """Return the names of all files of predictions."""
        folder = self._given
        if folder is None or not folder.is_dir():
            return set()
        with storage_errors(folder, reading=True):
            return {path.name for path in folder.iterdir() if path.suffix == ".parquet"}

    @property
    def _folder(self) -> Path:
        if self._given is None:
            raise StoreError(
                f"{self._store} holds no predictions: set {PLACE} to a folder, or a URL such as "
                "s3://bucket/name, that all machines can reach",
                code="store.no_predictions_place",
            )
        return self._given


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
