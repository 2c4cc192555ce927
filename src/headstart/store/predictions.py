"""Per-example predictions as compressed Parquet files, written whole, checked when read."""

from pathlib import Path

import numpy as np

from headstart.errors import StoreError
from headstart.files import replaced, sha256_file
from headstart.spec import Prediction

__all__ = ["read_predictions", "write_predictions"]


def write_predictions(path: Path, predictions: Prediction) -> str:
    """Write `path` whole or not at all; give its SHA-256.

    Columns: ``example``, ``label``, ``predicted`` (int64), ``scores`` (a list of K float32).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    scores = np.ascontiguousarray(predictions.scores, dtype=np.float32)
    table = pa.table(
        {
            "example": predictions.example,
            "label": predictions.label,
            "predicted": predictions.predicted,
            "scores": pa.FixedSizeListArray.from_arrays(pa.array(scores.ravel()), scores.shape[1]),
        }
    )
    with replaced(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
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
        raise StoreError(f"predictions {path} are missing: restore the file from a copy")
    if (found := sha256_file(path)) != sha256:
        raise StoreError(
            f"predictions {path} are damaged: expected SHA-256 {sha256[:12]}..., "
            f"found {found[:12]}...; restore the file from a copy"
        )
    # ParquetFile, not read_table: the latter takes folder names such as "a=b" for partition keys.
    table = pq.ParquetFile(path).read()
    scores = table["scores"].combine_chunks()
    return Prediction(
        example=table["example"].to_numpy(),
        label=table["label"].to_numpy(),
        scores=scores.flatten().to_numpy().reshape(len(scores), -1),
    )
