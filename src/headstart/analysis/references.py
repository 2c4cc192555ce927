"""Accuracies from elsewhere, drawn as lines beside one's own."""

from pathlib import Path

import pandas as pd

from headstart.analysis.columns import rename
from headstart.analysis.delimited import read_delimited, to_numbers
from headstart.analysis.table import Unit, tidy
from headstart.errors import TableError
from headstart.files import storage_errors

__all__ = ["read_references"]


def read_references(path: Path | str, unit: Unit | None = None) -> pd.DataFrame:
    """Read reference accuracies: the previous state of the art, say.

    Parameters
    ----------
    path
        A CSV with a column ``dataset``, and either ``accuracy`` and ``label``, or a column of
        accuracies a label, named by it. Cells may be empty.
    unit
        What the accuracies are given in; settled by their size where not stated.

    Returns
    -------
    pandas.DataFrame
        dataset, accuracy (proportion), label: the option `references` of the figure ``settings``.

    Raises
    ------
    TableError
        No column ``dataset`` or no accuracies, or accuracies that cannot be.
    """
    path = Path(path)
    with storage_errors(path, reading=True):
        frame = read_delimited(path.read_bytes(), str(path))
    if "dataset" not in frame or len(frame.columns) < 2:
        raise TableError(
            f"{path}: expected a column dataset and columns of accuracies, "
            f"found {', '.join(frame.columns)}"
        )
    if "accuracy" in frame:
        label = frame.get("label", "reference")
        long = frame[["dataset", "accuracy"]].assign(label=label)
    else:
        long = frame.melt("dataset", var_name="label", value_name="accuracy")
    long["accuracy"] = to_numbers(long["accuracy"], str(path))
    # One table of results, whose models are the labels: the same checks hold.
    results = rename(long, {"model": "label", "setting": ":reference"}, str(path))
    found = tidy(results, str(path), unit).frame
    return found.rename(columns={"model": "label"})[["dataset", "accuracy", "label"]]
