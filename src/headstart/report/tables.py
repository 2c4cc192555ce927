"""One long table for other programs."""

from typing import Any

import pandas as pd

from headstart.report.subject import Subject

__all__ = ["csv_table"]

COLUMNS = [
    *("setting", "model", "row", "dataset", "value", "unit", "low", "high", "n_seeds", "seed_sd"),
    *("best", "not_distinguishable"),
]


def csv_table(analysis: Subject) -> Any:
    """Give every accuracy and every mean in one long table.

    Parameters
    ----------
    analysis
        The tidy tables of an analysis.

    Returns
    -------
    DataFrame
        ``setting``, ``model``, ``row`` (``cell``, or ``mean`` for the mean over datasets, which has
        no ``dataset``), ``dataset``, ``value``, ``unit`` (``proportion``, for a mean ``log odds``),
        ``low`` and ``high`` of its 95 % interval, ``n_seeds`` of a cell and their standard
        deviation in log odds, ``best`` of its dataset and setting, ``not_distinguishable`` from
        that best (None where untested).
    """
    cells = analysis.cells.rename(columns={"accuracy": "value"}).assign(row="cell")
    means = analysis.model_means.rename(columns={"mean": "value"}).assign(row="mean")
    cells = cells.assign(unit="proportion")
    means = means.assign(unit="log odds", dataset=None, n_seeds=None, seed_sd=None)
    parts = [part for part in (cells, means) if len(part)]
    if not parts:
        return pd.DataFrame(columns=COLUMNS)
    parts = [part.rename(columns={"not_different": "not_distinguishable"}) for part in parts]
    rows = [row for part in parts for row in part[COLUMNS].to_dict("records")]
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.assign(n_seeds=table.n_seeds.astype("Int64"))
