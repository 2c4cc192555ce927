"""One long table for other programs."""

from typing import Any

import pandas as pd

from headstart.report.subject import Subject

__all__ = ["csv_table"]

COLUMNS = [
    *("setting", "model", "row", "dataset", "value", "unit", "low", "high", "n_seeds", "seed_sd"),
    *("best", "not_different", "difference", "difference_low", "difference_high"),
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
        ``setting``, ``model``, ``row`` (``cell``, or for means over datasets, which have no
        ``dataset``, ``mean`` of the log odds and ``mean_accuracy``), ``dataset``, ``value``,
        ``unit`` (``proportion``, for a mean ``log odds``), ``low`` and ``high`` of its 95 %
        interval, ``n_seeds`` of a cell and their standard deviation in log odds, ``best`` of its
        dataset and setting, ``not_different`` significantly from that best (None where untested),
        and its ``difference`` from the best with the interval, in the unit of the row.
    """
    cells = analysis.cells.rename(columns={"accuracy": "value"}).assign(row="cell")
    means = analysis.model_means.rename(columns={"mean": "value"}).assign(row="mean")
    cells = cells.assign(unit="proportion")
    means = means.assign(unit="log odds", dataset=None, n_seeds=None, seed_sd=None)
    hundred = means.drop(columns="value").rename(columns={"accuracy": "value"}).assign(
        row="mean_accuracy", unit="proportion", low=None, high=None, difference=None,
        difference_low=None, difference_high=None,
    )  # fmt: skip
    parts = [part for part in (cells, means, hundred) if len(part)]
    if not parts:
        return pd.DataFrame(columns=COLUMNS)
    rows = [row for part in parts for row in part[COLUMNS].to_dict("records")]
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.assign(n_seeds=table.n_seeds.astype("Int64"))
