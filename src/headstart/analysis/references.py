"""Accuracies from elsewhere, drawn as lines beside one's own."""

from pathlib import Path

import pandas as pd

from headstart.analysis.formats import read_grid
from headstart.analysis.grid import grid_of_frame
from headstart.analysis.layout import arrange
from headstart.analysis.options import ReadOptions, Unit
from headstart.analysis.table import tidy
from headstart.errors import TableError
from headstart.files import storage_errors

__all__ = ["read_references"]


def read_references(path: Path | str, unit: Unit | None = None) -> pd.DataFrame:
    """Read reference accuracies: the previous state of the art, say.

    Parameters
    ----------
    path
        A table (CSV, JSON, Excel, ...) with a column ``dataset``, and either ``accuracy`` and
        ``label``, or one column of accuracies per label, named by it. Cells may be empty.
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
        grid = read_grid(path.read_bytes(), str(path))
    frame = grid.body.set_axis([names[-1].strip() for names in grid.header], axis=1)
    if "dataset" not in frame or len(frame.columns) < 2 or not frame.columns.is_unique:
        raise TableError(
            f"{path}: expected a column dataset and columns of accuracies, "
            f"found {', '.join(frame.columns)}",
            code="table.references", found=list(frame.columns),
        )  # fmt: skip
    if "accuracy" in frame:
        label = frame.get("label", "reference")
        long = frame[["dataset", "accuracy"]].assign(label=label)
    else:
        long = frame.melt("dataset", var_name="label", value_name="accuracy")
    # One table of results, whose models are the labels: the same checks hold.
    mapping = {"model": "label", "setting": ":reference"}
    results = arrange(grid_of_frame(long), mapping, str(path), wide=False, dataset="").frame
    found = tidy(results, str(path), ReadOptions(unit)).frame
    return found.rename(columns={"model": "label"})[["dataset", "accuracy", "label"]]
