"""What figures read from the tables of an analysis: rows, lines, correlations, series."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from headstart.errors import AnalysisError
from headstart.figures.logit_axes import add_line, coordinates
from headstart.figures.style import DASHES, SHAPES, MarkerStyle, setting_styles
from headstart.figures.text_fitting import elided
from headstart.predictors import Predictor
from headstart.spec.display_names import in_order, setting_label

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
    """Return the rows of a table that a figure can draw.

    Parameters
    ----------
    tables
        Tables of an analysis by name.
    figure, table
        Their names.
    columns
        Required columns.
    known
        Columns among them that must be finite; other rows are dropped.
    hint
        What to do if no row is left.

    Raises
    ------
    AnalysisError
        There is no such table, a column is missing, or no row is left.
    """
    found = tables.get(table)
    needs, about = (
        f"figure '{figure}' needs the table '{table}'",
        {"figure": figure, "table": table},
    )
    if found is None:
        raise AnalysisError(
            f"{needs}, found only: {', '.join(sorted(tables)) or 'no table'}; pass all tables of "
            "an analysis", code="figure.table_missing", found=sorted(tables), **about,
        )  # fmt: skip
    if missing := [column for column in columns if column not in found.columns]:
        raise AnalysisError(
            f"{needs} with the columns {', '.join(missing)}, found only: "
            f"{', '.join(map(str, found.columns)) or 'none'}",
            code="figure.column_missing", missing=missing, **about,
        )  # fmt: skip
    if found.empty:
        raise AnalysisError(f"{needs}, which is empty: {hint}", code="figure.table_empty", **about)
    numbers = found[list(known)].to_numpy(dtype=float, na_value=np.nan)
    kept = found[np.isfinite(numbers).all(axis=1)]
    if kept.empty:
        raise AnalysisError(
            f"{needs} with values of {' and '.join(known)}, found in none of its {len(found)} "
            f"rows: {hint}", code="figure.values_missing", columns=list(known), **about,
        )  # fmt: skip
    return kept.reset_index(drop=True)


def optional(tables: Tables, table: str, columns: Sequence[str]) -> pd.DataFrame:
    """Return an optional table, empty if it or one of the columns is missing."""
    found = tables.get(table)
    if found is None or not set(columns) <= set(found.columns):
        return pd.DataFrame(columns=list(columns))
    return found


def flags(values: Iterable[Any]) -> NDArray[np.bool_]:
    """Return which values are true, (n,); unknown ones (None, NaN) are not."""
    return np.array([isinstance(value, bool | np.bool_) and bool(value) for value in values], bool)


def near_best(table: pd.DataFrame, panel: Sequence[str]) -> NDArray[np.bool_]:
    """Return which models are not significantly different from the best of their panel, (n,).

    Where no model was tested against the best, the best is not flagged either.

    Parameters
    ----------
    table
        With `best` and `not_different`; without them no model is flagged.
    panel
        Columns that are the same within a panel.
    """
    if not {"best", "not_different"} <= set(table.columns):
        return np.zeros(len(table), bool)
    tested = (table["not_different"].notna() & ~flags(table["best"])).to_numpy(dtype=bool)
    keys = [table[column].to_numpy() for column in panel]
    known = pd.Series(tested).groupby(keys).transform("any").to_numpy(dtype=bool)
    return np.asarray(flags(table["not_different"]) & known)


def lines(tables: Tables, predictor: Predictor) -> pd.DataFrame:
    """Return the least-squares lines with their bands, if any."""
    columns = ["setting", "group", predictor.column, "log_odds", "low", "high"]
    return optional(tables, "lines", columns)


def correlations(tables: Tables) -> pd.DataFrame:
    """Return the known Pearson correlations in log odds, if any."""
    columns = ["setting", "group", "statistic", "estimate", "low", "high"]
    found = optional(tables, "correlations", columns)
    return found[(found["statistic"] == "pearson_logit") & found["estimate"].notna()]


def draw_line(axes: Axes, tables: Tables, setting: str, group: str, predictor: Predictor) -> None:
    """Draw the line of a group of datasets, or of one dataset, with its band."""
    found = lines(tables, predictor)
    line = found[(found["setting"] == setting) & (found["group"] == group)]
    if len(line):
        x = coordinates(predictor, line[predictor.column])
        add_line(axes, x, *(line[column].astype(float) for column in ("log_odds", "low", "high")))


class Series(NamedTuple):
    """A line: its rows, its style, its label in the legend."""

    table: pd.DataFrame
    mark: MarkerStyle
    label: str


def series(table: pd.DataFrame) -> Iterator[Series]:
    """Yield the lines of a table with columns setting and model.

    Settings differ in colour; models, if there are several, in shape and dashes.
    """
    models = sorted(set(table["model"]))
    styles = setting_styles(in_order(table["setting"]))
    for setting, mark in styles.items():
        for index, model in enumerate(models):
            own = table[(table["setting"] == setting) & (table["model"] == model)]
            label = setting_label(setting)
            if len(models) > 1:
                label = f"{label}, {elided(model)}"
                mark = MarkerStyle(mark.colour, SHAPES[index % 10], DASHES[index % 4])
            if len(own):
                yield Series(own, mark, label)
