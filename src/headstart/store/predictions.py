"""Predictions per example: compressed Parquet files, written whole, checked when read.

They lie beside a SQLite database; those of a database on a server need a place of their own.
"""

import hashlib
import os
import secrets
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstart.artifacts import ArtifactFolder
from headstart.errors import StorageError, StoreError
from headstart.files import replaced, storage_errors
from headstart.spec import Prediction

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["PredictionFolder", "read_predictions", "write_predictions"]

PLACE = "HEADSTART_ARTIFACTS"
SUFFIX = ".parquet"


class PredictionFolder:
    """Where the predictions of a store lie.

    Parameters
    ----------
    place
        A folder or a URL; that of $HEADSTART_ARTIFACTS unless given. Without either, results can be
        read, and their predictions cannot.
    store
        The database, for messages.
    """

    def __init__(self, place: Path | str | None, store: str) -> None:
        root = os.environ.get(PLACE)
        self._store, self._given = store, None
        if place is not None:
            self._given = ArtifactFolder(place)
        elif root:
            self._given = ArtifactFolder(root).within("predictions")

    @property
    def shown(self) -> str:
        """The place for a person."""
        return str(self._given) if self._given else f"{PLACE}, which is not set"

    def check_writable(self) -> None:
        """Prove that a file can be written."""
        self._folder.check_writable()

    def put(self, key: str, predictions: Prediction) -> tuple[str, str]:
        """Write the predictions of a trial; return the file's name and SHA-256.

        No two names are the same: a worker that comes back late overwrites nothing.
        """
        if self._folder.local:
            name = _new_name(key)
            path = self._folder.local / name
            with storage_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
            return name, write_predictions(path, predictions)
        with TemporaryDirectory() as folder:
            file = Path(folder) / "predictions"
            sha256 = write_predictions(file, predictions)
            return self.put_file(key, file), sha256

    def put_file(self, key: str, file: Path) -> str:
        """Copy a file of predictions of a trial; return its new name."""
        name = _new_name(key)
        self._folder.put(name, file)
        return name

    def get(self, name: str, sha256: str) -> Prediction:
        """Read the predictions of a file, checked against its SHA-256.

        Raises
        ------
        StoreError
            The file is missing, or its bytes are not those that were written.
        """
        return read_predictions(self.file(name, sha256))

    def file(self, name: str, sha256: str) -> Path:
        """Return a local file with the content of a file, checked against its SHA-256."""
        try:
            return self._folder.get(name, sha256)
        except StorageError as error:
            if error.code == "storage.absent":
                raise StoreError(
                    f"predictions {name} in {self._folder} are missing: restore the file from a "
                    "copy",
                    code="store.predictions_missing",
                    name=name,
                ) from error
            if error.code == "storage.damaged":
                raise StoreError(
                    f"predictions {name} in {self._folder} are damaged: restore the file from a "
                    "copy",
                    code="store.predictions_damaged",
                    name=name,
                ) from error
            raise

    def remove(self, name: str) -> None:
        """Remove a file that no result names."""
        self._folder.delete(name)

    def names(self) -> set[str]:
        """Return the names of all files of predictions."""
        found = self._given.names() if self._given else ()
        return {name for name in found if name.endswith(SUFFIX)}

    @property
    def _folder(self) -> ArtifactFolder:
        if self._given is None:
            raise StoreError(
                f"{self._store} has no place for predictions: set {PLACE} to a folder or a URL, "
                "s3://bucket/name, that all machines reach",
                code="store.no_predictions_place",
            )
        return self._given


def _new_name(key: str) -> str:
    return f"{key}-{secrets.token_hex(4)}{SUFFIX}"


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
    # In memory first: a file is written in many parts, and would be read again for its digest.
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    content = sink.getvalue()
    with replaced(path) as temporary:
        temporary.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def read_predictions(path: Path) -> Prediction:
    """Read a file that `write_predictions` wrote."""
    import pyarrow.parquet as pq

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
