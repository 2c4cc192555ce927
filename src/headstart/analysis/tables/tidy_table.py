"""Tables in our columns -> validated ones: proportions, in range, free of contradictions.

Pure functions over DataFrames whose columns have our names
(`headstart.analysis.tables.column_names`).
"""

import re
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from headstart.analysis.tables.column_names import COUNTS, NUMBERS, PREDICTOR, REQUIRED
from headstart.errors import TableError
from headstart.predictors import UPSTREAM_ACCURACY, Predictor
from headstart.spec.formatting import first_few
from headstart.stats import accuracy_of

__all__ = ["ReadOptions", "Unit", "tidy"]

ERROR = re.compile(r"\b(?:error[ _-]?rate|error|err)\b", re.IGNORECASE)
PROPORTION, PERCENT = 1.0, 100.0
# Of what is no accuracy: its square can still be added up.
LARGEST = 1e100
Unit = Literal["percent", "proportion"]
Measure = Literal["accuracy", "error"]
Duplicates = Literal["refuse", "average"]


@dataclass(frozen=True)
class ReadOptions:
    """How tables are read where they do not say it themselves.

    Parameters
    ----------
    unit
        Unit of accuracies; settled from their values if None.
    wide
        Take tables for ones with a column per dataset, even where a column is called accuracy.
    measure
        What the numbers are: accuracies, or error rates (converted to accuracies). None:
        accuracies unless a header says otherwise; a caption that says otherwise is an error.
    spread
        What stands behind ``±``: ``"se"``, a standard error, or ``"sd:5"``, a standard deviation
        over 5 runs, whose standard error is that divided by the square root of 5.
    duplicates
        Rows that contradict each other on one cell: refuse them, or average them as repeated runs.
    predictor
        The column that is read as the predictor of transfer.
    """

    unit: Unit | None = None
    wide: bool = False
    measure: Measure | None = None
    spread: str = "se"
    duplicates: Duplicates = "refuse"
    predictor: Predictor = UPSTREAM_ACCURACY

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("unit", self.unit, (None, *get_args(Unit))),
            ("measure", self.measure, (None, *get_args(Measure))),
            ("duplicates", self.duplicates, get_args(Duplicates)),
        ):
            if value not in allowed:
                expected = " or ".join(str(one) for one in allowed if one)
                raise TableError(f"invalid {name} '{value}': expected {expected}",
                                 code="table.option", option=name, found=value)  # fmt: skip
        if self.spread != "se" and not re.fullmatch(r"sd:[1-9]\d{0,5}", self.spread):
            raise TableError(
                f"invalid spread '{self.spread}': expected se (standard errors) or sd:N (standard "
                "deviations over N runs), for example sd:5",
                code="table.option", option="spread", found=self.spread,
            )  # fmt: skip

    @property
    def runs(self) -> int:
        """Number of runs whose standard deviation is given; 1 for standard errors."""
        return int(self.spread.removeprefix("sd:")) if self.spread != "se" else 1


def tidy(
    frame: pd.DataFrame, where: str, options: ReadOptions | None = None
) -> tuple[pd.DataFrame, dict[str, Any], list[str]]:
    """Check a table and bring it to proportions; a row without accuracy is a missing cell.

    Parameters
    ----------
    frame
        Our columns, numbers as float64 (`headstart.analysis.tables.table_layout.arrange`).

    Returns
    -------
    tuple
        The table: model, dataset, setting (text), accuracy (proportion), and those optional
        columns that were there. Facts of it: `unit` ("percent", "proportion" or, where datasets
        differ, "percent and proportion"), `unit_rule`, `without_accuracy` (number of missing cells)
        and `unmeasured` (the models and datasets that have no other, "model ghost"). What was
        converted, a phrase each.

    Raises
    ------
    TableError
        A name is missing, a number is out of range, or units are mixed within a dataset.
    """
    options = options or ReadOptions()
    frame = frame.copy()
    _check_numbers(frame, where)
    for name in REQUIRED:
        frame[name] = _names(frame[name], where)
    frame = _errors_named(frame, options)
    by_log_odds = "accuracy" not in frame
    if by_log_odds:
        frame = _of_log_odds(frame)
        unit, rule = "proportion", "log odds given"
    else:
        frame, unit, rule = _with_unit(frame, "accuracy", where, options.unit)
    if "upstream_accuracy" in frame:
        frame, of_upstream, why = _with_unit(frame, "upstream_accuracy", where, options.unit)
        if not by_log_odds and frame["accuracy"].isna().all():
            unit = of_upstream
        elif not by_log_odds and of_upstream not in (unit, ""):
            rule += f"; upstream accuracies in {of_upstream} ({why})"
    if PREDICTOR in frame and options.predictor.scale.name == "proportion":
        frame, _, _ = _with_unit(frame, PREDICTOR, where, options.unit)
    frame = frame.drop(columns=f"{PREDICTOR}_percent", errors="ignore")
    frame, notes = _to_accuracies(frame)
    if "se" in frame and options.runs > 1:
        frame["se"] = frame["se"] / np.sqrt(options.runs)
    known = frame["accuracy"].notna()
    unmeasured = [f"{kind} {name}" for kind in ("model", "dataset")
                  for name in sorted(set(frame[kind]) - set(frame[kind][known]))]  # fmt: skip
    if unmeasured:
        notes.append(f"without any accuracy, and so left out: {', '.join(unmeasured)}")
    facts = {"unit": unit or "proportion", "unit_rule": rule,
             "without_accuracy": int((~known).sum()), "unmeasured": unmeasured}  # fmt: skip
    frame = frame[known].drop(columns="log_odds", errors="ignore")
    if frame.empty:
        raise TableError(f"{where}: no row has an accuracy", code="table.no_accuracy")
    return frame, facts, notes


def _names(column: pd.Series, where: str) -> pd.Series:
    text = column.astype(object).where(column.notna(), "").astype(str).str.strip()
    empty = text == ""
    if empty.any():
        rows = list(column.index[empty])
        count = f" ({len(rows)} such rows)" if len(rows) > 1 else ""
        raise TableError(
            f"{where}, row {rows[0]}: expected a name in column '{column.name}', found "
            f"nothing{count}",
            code="table.name_missing", column=column.name, rows=rows,
        )  # fmt: skip
    return text


def _check_numbers(frame: pd.DataFrame, where: str) -> None:
    """Hold columns to what their numbers can be; NaN is unknown and may be. All faults at once."""
    faults: list[tuple[Any, str, float, str]] = []
    for name in NUMBERS:
        if name not in frame:
            continue
        column = frame[name] = frame[name].astype("float64")
        known = column.dropna()
        if name in COUNTS:
            least = 0 if name == "seed" else 1
            what = f"whole number of at least {least} and below 2^53"
            holds = (known >= least) & (known % 1 == 0) & (known < 2**53)
        elif name == "se":
            what, holds = "standard error of at least 0", (known >= 0) & (known < np.inf)
        else:
            what, holds = "number between -1e100 and 1e100", known.abs() <= LARGEST
        faults += [(row, name, float(value), what) for row, value in known[~holds].items()]
    _refuse(faults, frame, where)


def _refuse(faults: list[tuple[Any, str, float, str]], frame: pd.DataFrame, where: str) -> None:
    """Raise for numbers that cannot be, all in one list: row, column, value, what was expected."""
    if not faults:
        return
    row, name, value, what = faults[0]
    of = frame.loc[[row]].iloc[0]
    place = f" ({of['model']}, {of['dataset']})" if "model" in of and "dataset" in of else ""
    others = [f"row {row}: {value:.6g}" for row, _, value, _ in faults[1:]]
    rest = f"; also {first_few(others)}" if others else ""
    raise TableError(
        f"{where}, row {row}{place}: expected {name} to be a {what}, found {value:.6g}{rest}",
        code="table.range", count=len(faults), expected=what,
        cells=[(row, name, value) for row, name, value, _ in faults],
    )  # fmt: skip


def _errors_named(frame: pd.DataFrame, options: ReadOptions) -> pd.DataFrame:
    """Mark which rows are error rates: by their column, an arrow, their metric or the option."""
    for name in ("accuracy", "upstream_accuracy"):
        error = name.replace("accuracy", "error")
        if name not in frame and error in frame:
            renamed = {error: name, f"{error}_percent": f"{name}_percent"}
            frame = frame.drop(columns=f"{name}_percent", errors="ignore").rename(columns=renamed)
            frame[f"{name}_is_error"] = True
    as_results = frame.pop("upstream_as_results") if "upstream_as_results" in frame else None
    if as_results is not None and options.measure == "error":
        # A column beside the results, called as a dataset is, holds what they hold.
        frame["upstream_accuracy_is_error"] = True
    if "accuracy" in frame:
        is_error = frame.get("accuracy_is_error", False) | pd.Series(
            options.measure == "error", index=frame.index
        )
        if "is_error" in frame:
            is_error |= frame["is_error"].astype(bool)
        if "metric" in frame:
            metric = frame["metric"].astype(object).where(frame["metric"].notna(), "").astype(str)
            named = metric.str.contains(ERROR)
            is_error |= named
            frame.loc[named, "metric"] = metric[named].str.replace(ERROR, "accuracy", regex=True)
        frame["accuracy_is_error"] = is_error
    return frame.drop(columns=["is_error", "error", "upstream_error"], errors="ignore")


def _to_accuracies(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Turn error rates (proportions) to accuracies, and drop what marked them."""
    notes = []
    for name, what in (("accuracy", "error rates"), ("upstream_accuracy", "upstream error rates")):
        marks = frame.pop(f"{name}_is_error") if f"{name}_is_error" in frame else None
        if marks is not None and marks.any():
            frame[name] = frame[name].where(~marks, 1 - frame[name])
            notes.append(f"{int(marks.sum())} {what} converted to accuracies (1 - error)")
    return frame.drop(columns=["error_percent", "upstream_error_percent"], errors="ignore"), notes


def _with_unit(
    frame: pd.DataFrame, name: str, where: str, unit: Unit | None
) -> tuple[pd.DataFrame, str, str]:
    """Bring a column to proportions: the frame, the unit it had, and the rule that settled it.

    All at most 1 are proportions, all over 1 percent; zeros are the same in both, and a percent
    sign says what its cell is. Where neither holds, each dataset is settled apart.
    """
    values, signs = frame[name], f"{name}_percent"
    signed = np.zeros(len(frame), dtype=bool)
    if signs in frame:
        signed = frame.pop(signs).to_numpy(dtype=bool)
    # What no unit allows is reported before the unit is asked for.
    top = 1.0 if unit == "proportion" and not signed.any() else 100.0
    outside = (values < 0) | (values > top)
    text = f"number between 0 and {top:g} ({unit or 'percent'})"
    _refuse([(row, name, float(v), text) for row, v in values[outside].items()], frame, where)
    by = frame["dataset"] if name == "accuracy" else frame["setting"]
    factor, units, rule = _factors(values, signed, by, name, where, unit)
    frame = frame.assign(**{name: values / factor})
    if name == "accuracy" and "se" in frame:
        frame["se"] = frame["se"] / factor
    if name in ("upstream_accuracy", PREDICTOR):
        # Its log odds are on the axis, and no test-set size is known for it.
        edge = (frame[name] <= 0) | (frame[name] >= 1)
        text = f"number strictly between 0 and {100 if units == 'percent' else 1} ({units})"
        _refuse([(row, name, float(v), text) for row, v in values[edge].items()], frame, where)
    elif (over := frame[name] > 1).any():
        text = f"number between 0 and 1 ({units})"
        _refuse([(row, name, float(v), text) for row, v in values[over].items()], frame, where)
    return frame, units, rule


def _factors(
    values: pd.Series,
    signed: npt.NDArray[np.bool_],
    by: pd.Series,
    name: str,
    where: str,
    unit: Unit | None,
) -> tuple[npt.NDArray[np.float64], str, str]:
    """Return what each value is divided by, the unit of all, and the rule."""
    factor = np.where(signed, PERCENT, PROPORTION)
    if unit is not None:
        factor = np.where(signed | (unit == "percent"), PERCENT, PROPORTION)
        return factor, unit, "stated"
    array = values.to_numpy(dtype=np.float64)
    open_ = ~signed & np.isfinite(array) & (array != 0)
    known = np.isfinite(array).any()
    if not open_.any():
        rule = "percent signs" if signed.any() else "all at most 1"
        return factor, ("percent" if signed.any() else "proportion") if known else "", rule
    small = array <= 1
    if not small[open_].any():
        said = "percent signs" if signed.any() else "all over 1"
        return np.full(len(array), PERCENT), "percent", said
    if small[open_].all() and not signed.any():
        return factor, "proportion", "all at most 1"
    groups, labels = pd.factorize(by)
    proportion, percent = (np.zeros(len(labels), dtype=bool) for _ in range(2))
    np.logical_or.at(proportion, groups[open_ & small], True)
    np.logical_or.at(percent, groups[(open_ & ~small) | (signed & (array != 0))], True)
    if len(labels) == 1 or (proportion & percent).any():
        of = np.flatnonzero(proportion & percent)[0]
        rows = [values[(groups == of) & open_ & small].index[0],
                values[(groups == of) & ((open_ & ~small) | signed)].index[0]]  # fmt: skip
        found: list[Any] = [float(values[row]) for row in rows]
        shown = [f"{value:g}" for value in found]
        # A small one is percent by its sign.
        if signed[values.index.get_loc(rows[1])]:
            found[1] = shown[1] = f"{shown[1]}%"
        raise TableError(
            f"{where}: column '{name}' mixes percent and proportions ({by.name} {labels[of]}): row "
            f"{rows[0]} has {shown[0]}, row {rows[1]} has {shown[1]}; write them in one "
            "unit, or pass --unit percent if all are percent",
            code="table.unit_mixed", column=name, rows=rows, values=found, group=str(labels[of]),
        )  # fmt: skip
    factor = np.where(percent[groups] | signed, PERCENT, PROPORTION)
    few = [str(label) for label in labels[proportion]]
    return factor, "percent and proportion", f"by {by.name}: proportions for {first_few(few)}"


def _of_log_odds(frame: pd.DataFrame) -> pd.DataFrame:
    """Take the accuracy from the log odds; a standard error there is one of log odds, too."""
    accuracy = accuracy_of(frame["log_odds"])
    # d accuracy / d log odds
    se = {"se": frame["se"] * accuracy * (1 - accuracy)} if "se" in frame else {}
    return frame.assign(accuracy=accuracy, **se)
