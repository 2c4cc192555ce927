"""What a figure takes from the tables of an analysis, and what it says where they lack it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from headstart.errors import AnalysisError

__all__ = ["Tables", "flags", "near_best", "optional", "rows"]

Tables = Mapping[str, pd.DataFrame]


def rows(
    tables: Tables,
    figure: str,
    table: str,
    columns: Sequence[str],
    known: Sequence[str] = (),
    hint: str = "the table 'missing' of the same analysis says why",
) -> pd.DataFrame:
    """Give the rows of a table that a figure can draw.

    Parameters
    ----------
    tables
        Tables of an analysis by name.
    figure, table
        Names of both.
    columns
        Columns that have to be there.
    known
        Columns among them whose numbers have to be finite; rows where one is not are left out.
    hint
        What to do where no row is left.

    Raises
    ------
    AnalysisError
        There is no such table, a column is missing, or no row is left.
    """
    found = tables.get(table)
    if found is None:
        raise AnalysisError(
            f"figure '{figure}' needs the table '{table}', found only: "
            f"{', '.join(sorted(tables)) or 'no table'}; pass all tables of an analysis"
        )
    if lacking := [column for column in columns if column not in found.columns]:
        raise AnalysisError(
            f"figure '{figure}' needs the columns {', '.join(lacking)} of the table '{table}', "
            f"found only: {', '.join(map(str, found.columns)) or 'none'}"
        )
    if found.empty:
        raise AnalysisError(f"figure '{figure}' needs the table '{table}', which is empty: {hint}")
    numbers = found[list(known)].to_numpy(dtype=float, na_value=np.nan)
    kept = found[np.isfinite(numbers).all(axis=1)]
    if kept.empty:
        raise AnalysisError(
            f"figure '{figure}' needs {' and '.join(known)} in the table '{table}', "
            f"found in none of its {len(found)} rows: {hint}"
        )
    return kept.reset_index(drop=True)


def optional(tables: Tables, table: str, columns: Sequence[str]) -> pd.DataFrame:
    """Give a table that a figure can do without; an empty one where it or a column is not there."""
    found = tables.get(table)
    if found is None or not set(columns) <= set(found.columns):
        return pd.DataFrame(columns=list(columns))
    return found


def flags(values: Iterable[Any]) -> NDArray[np.bool_]:
    """Turn true, false and unknown (None, NaN) into true or not, (n,)."""
    return np.array([isinstance(value, bool | np.bool_) and bool(value) for value in values], bool)


def near_best(table: pd.DataFrame, panel: Sequence[str]) -> NDArray[np.bool_]:
    """Say which models are not different from the best of their panel, (n,).

    The best is never different from itself: where no other model was tested, none is said to be.

    Parameters
    ----------
    table
        With `best` and `not_different`; without them nothing was tested.
    panel
        Columns that are the same within a panel.
    """
    if not {"best", "not_different"} <= set(table.columns):
        return np.zeros(len(table), bool)
    tested = (table["not_different"].notna() & ~flags(table["best"])).to_numpy(dtype=bool)
    keys = [table[column].to_numpy() for column in panel]
    known = pd.Series(tested).groupby(keys).transform("any").to_numpy(dtype=bool)
    return np.asarray(flags(table["not_different"]) & known)
