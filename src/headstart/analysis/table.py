"""A table of results as it came -> one that can be trusted: numbers, one unit.

Pure functions over DataFrames whose columns have our names (`headstart.analysis.columns`); what
contradicts itself is found by `headstart.analysis.agree`.
"""

from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from headstart.analysis.columns import COUNTS, NUMBERS, REQUIRED
from headstart.analysis.delimited import in_percent, to_numbers
from headstart.errors import TableError
from headstart.stats import accuracy_of

__all__ = ["Tidy", "Unit", "tell_apart", "tidy"]

Unit = Literal["percent", "proportion"]
PROPORTIONS = ("accuracy", "upstream_accuracy")
# What tells results of one name apart.
QUALIFIERS = (
    ("setting", "protocol"),
    ("setting", "precision"),
    ("dataset", "content"),
    ("dataset", "limit"),
)


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
        Whatever cannot be: a name missing, a text for a number, a number out of range, units mixed.
    """
    frame = frame.copy()
    signed = {name for name in PROPORTIONS if name in frame and in_percent(frame[name])}
    for name in NUMBERS:
        if name in frame:
            frame[name] = to_numbers(frame[name], where)
            _check_number(frame[name], where)
    for name in REQUIRED:
        frame[name] = _names(frame[name], where)
    by_log_odds = "accuracy" not in frame
    given = frame.assign(accuracy=np.nan) if by_log_odds else frame
    # What no unit allows is told before the unit is asked for.
    _check_range(given, where, unit or "percent", edges=False)
    unit, rule = _settle_unit(given, where, unit, signed)
    _check_range(given, where, unit, edges=True)
    frame = _to_proportions(given, unit)
    if by_log_odds:
        frame, unit, rule = _of_log_odds(frame), "proportion", "log odds given"
    elif unit == "percent" and "se" in frame:
        frame["se"] = frame["se"] / 100
    missing = int(frame["accuracy"].isna().sum())
    frame = frame[frame["accuracy"].notna()].drop(columns="log_odds", errors="ignore")
    if frame.empty:
        raise TableError(f"{where}: no row has an accuracy")
    return Tidy(frame, unit, rule, missing)


def tell_apart(frame: pd.DataFrame) -> pd.DataFrame:
    """Put what tells results of one name apart into the name, and drop the columns that say it.

    A setting that came with several protocols or precisions becomes several settings, as
    ``linear (simclr2020)``; a dataset that came with several limits several datasets. So does one
    whose content is not the same everywhere: a folder that got more images, two of one name.
    """
    frame = frame.copy()
    for name, by in QUALIFIERS:
        if by not in frame:
            continue
        said = frame[by].map(lambda value, by=by: _qualifier(by, value))
        if by == "protocol" and "steps" in frame:
            said = said.map(_without_steps)
        # A table that does not say the content may be of any, and no limit is all images.
        known = said.where(frame[by].notna()) if by == "content" else said
        several = known.groupby(frame[name]).transform("nunique") > 1
        frame.loc[several, name] = frame[name] + " (" + said + ")"
        frame = frame.drop(columns=by)
    return frame


def _without_steps(protocol: str) -> str:
    """Take steps out of what a protocol departs in: they are a factor of their own.

    Examples
    --------
    >>> _without_steps("quick (decays, steps)"), _without_steps("quick (steps)")
    ('quick (decays)', 'quick')
    """
    name, _, departs = protocol.removesuffix(")").partition(" (")
    others = [option for option in departs.split(", ") if option not in ("", "steps")]
    return f"{name} ({', '.join(others)})" if others else name


def _qualifier(by: str, value: object) -> str:
    if by == "limit":
        return "all images" if pd.isna(value) else f"limit {value:g}"
    return "unnamed" if pd.isna(value) else str(value)


def _names(column: pd.Series, where: str) -> pd.Series:
    empty = column.isna() | (column.astype(str).str.strip() == "")
    if empty.any():
        raise TableError(
            f"{where}, row {column.index[empty][0]}: expected a name in column '{column.name}', "
            "found nothing"
        )
    return column.astype(str).str.strip()


def _check_number(column: pd.Series, where: str) -> None:
    """Hold a column to what its numbers can be; NaN is unknown and may be."""
    known = column.dropna()
    wanted = {"": known.abs() < np.inf}
    if column.name in COUNTS:
        least = 0 if column.name == "seed" else 1
        wanted = {f"whole number of at least {least}": (known >= least) & (known % 1 == 0)}
        wanted |= {"number that images can have": known < 2**53}
    elif column.name == "se":
        wanted = {"standard error of at least 0": (known >= 0) & (known < np.inf)}
    for what, holds in wanted.items():
        if not holds.all():
            row = known.index[~holds][0]
            raise TableError(
                f"{where}, row {row}: expected a {what or 'finite number'} in column "
                f"'{column.name}', found {known[~holds].iloc[0]:g}"
            )


def _settle_unit(
    frame: pd.DataFrame, where: str, unit: Unit | None, signed: set[str]
) -> tuple[Unit, str]:
    """Say what the accuracies are: all at most 1 means proportions, all over 1 percent.

    Zeros are the same in both, and a percent sign says what its column is. What is neither is a
    mixture unless the unit is stated.
    """
    if unit:
        return unit, "stated"
    units: dict[str, Unit] = {}
    for name in PROPORTIONS:
        values = frame[name].dropna() if name in frame else pd.Series(dtype="float64")
        values = values[values != 0]
        if values.empty:
            continue
        small = values <= 1
        if small.any() and not small.all() and name not in signed:
            raise TableError(
                f"{where}: column '{name}' mixes percent and proportions: row "
                f"{values.index[small][0]} has {values[small].iloc[0]:g}, row "
                f"{values.index[~small][0]} has {values[~small].iloc[0]:g}; write them in one "
                "unit, or say --unit percent if all are percent"
            )
        units[name] = "proportion" if small.all() and name not in signed else "percent"
    if len(set(units.values())) > 1:
        raise TableError(
            f"{where}: columns mix percent and proportions: "
            + ", ".join(f"'{name}' has {kind}" for name, kind in units.items())
            + "; write them in one unit"
        )
    found: Unit = next(iter(units.values()), "proportion")
    if signed:
        return found, "percent signs"
    return found, "all over 1" if found == "percent" else "all at most 1"


def _check_range(frame: pd.DataFrame, where: str, unit: Unit, *, edges: bool) -> None:
    """Hold accuracies to 0 and 100 % (or 1); with `edges`, upstream accuracies strictly.

    The log odds of an upstream accuracy are on the axis, and no test-set size is known for it.
    """
    top = 100 if unit == "percent" else 1
    for name in PROPORTIONS:
        if name not in frame:
            continue
        values = frame[name]
        outside = (values < 0) | (values > top)
        if name == "upstream_accuracy" and edges:
            outside |= (values == 0) | (values == top)
        if outside.any():
            row, between = _first(frame, outside), "between"
            if name == "upstream_accuracy":
                between = "strictly between"
            raise TableError(
                f"{where}, row {row.name} ({row['model']}, {row['dataset']}): "
                f"expected {name} {between} 0 and {top} ({unit}), found {row[name]:g}"
            )


def _first(frame: pd.DataFrame, which: pd.Series) -> pd.Series:
    return frame[which.to_numpy()].iloc[0]


def _to_proportions(frame: pd.DataFrame, unit: Unit) -> pd.DataFrame:
    names = [name for name in PROPORTIONS if name in frame and unit == "percent"]
    return frame.assign(**{name: frame[name] / 100 for name in names})


def _of_log_odds(frame: pd.DataFrame) -> pd.DataFrame:
    """Take the accuracy from the log odds; a standard error there is one of log odds, too."""
    accuracy = accuracy_of(frame["log_odds"])
    frame = frame.assign(accuracy=accuracy)
    if "se" in frame:
        # d accuracy / d log odds
        frame["se"] = frame["se"] * accuracy * (1 - accuracy)
    return frame
