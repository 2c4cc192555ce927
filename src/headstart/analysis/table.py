"""A table of results as it came -> one that can be trusted: numbers, one unit, no contradiction.

Pure functions over DataFrames whose columns have our names (`headstart.analysis.columns`).
"""

from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from headstart.analysis.columns import NUMBERS, REQUIRED, SWEEPS
from headstart.analysis.delimited import to_numbers
from headstart.errors import TableError
from headstart.stats import accuracy_of

__all__ = ["Tidy", "Unit", "merge_agreeing", "tell_apart", "tidy"]

Unit = Literal["percent", "proportion"]
CELL = (*REQUIRED, *SWEEPS, "seed")
# Two spellings of one number differ by less.
SAME = 1e-9


class Tidy(NamedTuple):
    """The table with accuracies as proportions; the unit it had, and how that was settled."""

    frame: pd.DataFrame
    unit: Unit
    rule: str
    without_accuracy: int


def tidy(frame: pd.DataFrame, where: str, unit: Unit | None = None) -> Tidy:
    """Check a table and bring it to proportions; a row without accuracy is a missing cell.

    Columns of the outcome: model, dataset, setting (text), accuracy (proportion), and those
    optional ones that were there.

    Raises
    ------
    TableError
        Whatever cannot be: a name missing, a text for a number, an accuracy out of range, units
        mixed, a model with two upstream accuracies, cells that disagree.
    """
    frame = frame.copy()
    for name in NUMBERS:
        if name in frame:
            frame[name] = to_numbers(frame[name], where)
            _check_finite(frame, name, where)
    for name in REQUIRED:
        frame[name] = _names(frame[name], where)
    if "accuracy" not in frame:
        frame = _upstream_alone(frame, where, unit)
        unit, rule = "proportion", "log odds given"
    else:
        unit, rule = _settle_unit(frame, where, unit)
        _check_range(frame, where, unit)
        frame = _to_proportions(frame, unit)
    missing = int(frame["accuracy"].isna().sum())
    frame = frame[frame["accuracy"].notna()].drop(columns="log_odds", errors="ignore")
    if frame.empty:
        raise TableError(f"{where}: no row has an accuracy")
    return Tidy(frame, unit, rule, missing)


def tell_apart(frame: pd.DataFrame) -> pd.DataFrame:
    """Put what tells results of one name apart into the name, and drop the columns that say it.

    A setting that came with several protocols or precisions becomes several settings, as
    ``linear (simclr2020)``; a dataset that came with several limits several datasets.
    """
    frame = frame.copy()
    for name, by in (("setting", "protocol"), ("setting", "precision"), ("dataset", "limit")):
        if by not in frame:
            continue
        said = frame[by].map(lambda value, by=by: _qualifier(by, value))
        several = said.groupby(frame[name]).transform("nunique") > 1
        frame.loc[several, name] = frame[name] + " (" + said + ")"
        frame = frame.drop(columns=by)
    return frame


def merge_agreeing(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    """Keep one row of those that say the same of one cell.

    Raises
    ------
    TableError
        Rows that say otherwise of one cell, or of one model's upstream accuracy.
    """
    key = [name for name in CELL if name in frame]
    for cell, rows in frame.groupby(key, sort=False, dropna=False):
        if len(rows) > 1 and np.ptp(rows["accuracy"]) > SAME:
            what = ", ".join(f"{k} {v}" for k, v in zip(key, cell, strict=True) if not pd.isna(v))
            raise TableError(
                f"{where}: {len(rows)} rows disagree on {what}: accuracies "
                f"{_list(100 * rows['accuracy'])} %, rows {_list(rows.index)}; keep one, or tell "
                "them apart by a column seed"
            )
    frame = frame.drop_duplicates(key)
    if "upstream_accuracy" in frame:
        _check_one_upstream(frame, where)
    return frame.reset_index(drop=True)


def _qualifier(by: str, value: object) -> str:
    if by == "limit":
        return "all images" if pd.isna(value) else f"limit {value:g}"
    return "unnamed" if pd.isna(value) else str(value)


def _check_one_upstream(frame: pd.DataFrame, where: str) -> None:
    of = ["model", "configuration"] if "configuration" in frame else ["model"]
    for model, values in frame.groupby(of, sort=False, dropna=False)["upstream_accuracy"]:
        known = values.dropna()
        if len(known) and np.ptp(known) > SAME:
            raise TableError(
                f"{where}: model {', '.join(map(str, model))} has several upstream accuracies: "
                f"{_list(100 * known.unique())} %; give it one, or each its own name"
            )


def _names(column: pd.Series, where: str) -> pd.Series:
    empty = column.isna() | (column.astype(str).str.strip() == "")
    if empty.any():
        raise TableError(
            f"{where}, row {column.index[empty][0]}: expected a name in column '{column.name}', "
            "found nothing"
        )
    return column.astype(str).str.strip()


def _check_finite(frame: pd.DataFrame, name: str, where: str) -> None:
    infinite = np.isinf(frame[name])
    if infinite.any():
        raise TableError(
            f"{where}, row {frame.index[infinite][0]}: expected a finite number in column "
            f"'{name}', found {frame.loc[infinite, name].iloc[0]}"
        )


def _settle_unit(frame: pd.DataFrame, where: str, unit: Unit | None) -> tuple[Unit, str]:
    """Say what the accuracies are: all at most 1 means proportions, all over 1 percent.

    Zeros are the same in both. What is neither is a mixture unless the unit is stated.
    """
    if unit:
        return unit, "stated"
    units: dict[str, Unit] = {}
    for name in ("accuracy", "upstream_accuracy"):
        values = frame[name].dropna() if name in frame else pd.Series(dtype="float64")
        values = values[values != 0]
        if values.empty:
            continue
        small = values <= 1
        if small.any() and not small.all():
            raise TableError(
                f"{where}: column '{name}' mixes percent and proportions: row "
                f"{values.index[small][0]} has {values[small].iloc[0]:g}, row "
                f"{values.index[~small][0]} has {values[~small].iloc[0]:g}; write them in one "
                "unit, or say --unit percent if all are percent"
            )
        units[name] = "proportion" if small.all() else "percent"
    if len(set(units.values())) > 1:
        raise TableError(
            f"{where}: columns mix percent and proportions: "
            + ", ".join(f"'{name}' has {kind}" for name, kind in units.items())
            + "; write them in one unit"
        )
    found: Unit = next(iter(units.values()), "proportion")
    return found, "all over 1" if found == "percent" else "all at most 1"


def _check_range(frame: pd.DataFrame, where: str, unit: Unit) -> None:
    top = 100 if unit == "percent" else 1
    for name in ("accuracy", "upstream_accuracy"):
        if name not in frame:
            continue
        values = frame[name]
        outside = (values < 0) | (values > top)
        if name == "upstream_accuracy":
            # Its log odds are on the axis, and no test-set size is known for it.
            outside |= (values == 0) | (values == top)
        if outside.any():
            row = frame.index[outside][0]
            between = "strictly between" if name == "upstream_accuracy" else "between"
            raise TableError(
                f"{where}, row {row} ({frame.loc[row, 'model']}, {frame.loc[row, 'dataset']}): "
                f"expected {name} {between} 0 and {top} ({unit}), found {values[row]:g}"
            )


def _to_proportions(frame: pd.DataFrame, unit: Unit) -> pd.DataFrame:
    if unit == "percent":
        for name in ("accuracy", "upstream_accuracy", "se"):
            if name in frame:
                frame[name] = frame[name] / 100
    return frame


def _upstream_alone(frame: pd.DataFrame, where: str, unit: Unit | None) -> pd.DataFrame:
    """Bring the upstream accuracy of a table of log odds to a proportion; accuracies are one."""
    given = frame.assign(accuracy=np.nan)
    unit, _ = _settle_unit(given, where, unit)
    _check_range(given, where, unit)
    converted = _to_proportions(given, unit)
    return converted.assign(accuracy=accuracy_of(frame["log_odds"]))


def _list(values: object) -> str:
    shown = [f"{v:g}" if isinstance(v, float) else str(v) for v in list(values)[:4]]  # type: ignore[call-overload]
    return " and ".join(shown)
