"""What figures read from the tables of an analysis: rows, lines, correlations, series."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from headstart.errors import AnalysisError
from headstart.figures.logit_axes import add_line, log_odds
from headstart.figures.style import DASHES, SHAPES, Mark, setting_marks
from headstart.figures.text import elided
from headstart.spec.labels import in_order, setting_label

__all__ = [
    "Series",
    "Tables",
    "correlations",
    "draw_line",
    "flags",
    "lines",
    "near_best",
    "optional",
    "rows",
    "series",
]

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


def lines(tables: Tables) -> pd.DataFrame:
    """Least-squares lines with their bands, where there are any."""
    columns = ["setting", "group", "upstream_accuracy", "log_odds", "low", "high"]
    return optional(tables, "lines", columns)


def correlations(tables: Tables) -> pd.DataFrame:
    """Known Pearson correlations, both sides in log odds, where there are any."""
    columns = ["setting", "group", "statistic", "estimate", "low", "high"]
    found = optional(tables, "correlations", columns)
    return found[(found["statistic"] == "pearson_logit") & found["estimate"].notna()]


def draw_line(axes: Axes, tables: Tables, setting: str, group: str) -> None:
    """Draw the line of a group of datasets, or of one dataset, with its band."""
    found = lines(tables)
    line = found[(found["setting"] == setting) & (found["group"] == group)]
    if len(line):
        x = log_odds(line["upstream_accuracy"])
        add_line(axes, x, *(line[column].astype(float) for column in ("log_odds", "low", "high")))


class Series(NamedTuple):
    """A line: its rows, how it looks, what the legend calls it."""

    table: pd.DataFrame
    mark: Mark
    label: str


def series(table: pd.DataFrame) -> Iterator[Series]:
    """Part a table with columns setting and model into lines.

    A setting has a colour; with several models, these have shapes and dashes.
    """
    models = sorted(set(table["model"]))
    looks = setting_marks(in_order(table["setting"]))
    for setting, mark in looks.items():
        for index, model in enumerate(models):
            own = table[(table["setting"] == setting) & (table["model"] == model)]
            label = setting_label(setting)
            if len(models) > 1:
                label = f"{label}, {elided(model)}"
                mark = Mark(mark.colour, SHAPES[index % 10], DASHES[index % 4])
            if len(own):
                yield Series(own, mark, label)
