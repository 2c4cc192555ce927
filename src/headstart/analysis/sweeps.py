"""Tables with one more factor: training configurations, steps, examples per class."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from headstart.analysis.cells import AnalysisOptions, Dropped, Matrix, cells_of, matrix, unconnected
from headstart.analysis.convergence import chance_notes, reached, speedups
from headstart.analysis.tables.column_names import SWEEPS
from headstart.predictors import Scale
from headstart.stats import crossed_mean, within_means

__all__ = ["UPSTREAM", "split_sweeps"]

# Joins a model's name and its level for a while; stands in no name.
JOINT = "\x1f"
SIZE = "examples_per_class"
STEPS = "steps"
# What a name that says its place begins with: "S1: ...", "2: ...".
NUMBERED = re.compile(r"[A-Za-z]?(\d+):")


class Sweeps(NamedTuple):
    """What is left for the tables without that factor, and the tables with it, as rows."""

    frame: pd.DataFrame
    ablation: list[dict[str, Any]]
    effects: list[dict[str, Any]]
    convergence: list[dict[str, Any]]
    reached: list[dict[str, Any]]
    speedup: list[dict[str, Any]]
    dataset_size: list[dict[str, Any]]
    dropped: list[dict[str, Any]]
    notes: list[tuple[str, str]]


def split_sweeps(frame: pd.DataFrame, options: AnalysisOptions) -> Sweeps:
    """Analyse `configuration`, `steps` and `examples_per_class`, where they have several levels.

    Elsewhere a cell has one number: that of the row without a level where there is one (the main
    study beside a sweep), else of the number of steps that most cells of its setting have (again
    the main study), else of its last level (the last configuration in the order of the table; the
    most steps; the most examples), which is said in the notes. A table of one factor takes the
    other factors so, too.
    """
    tables = dict(zip(SWEEPS, ("ablation", "convergence", "dataset_size"), strict=True))
    swept = [factor for factor in SWEEPS if factor in frame and _n_levels(frame, factor) > 1]
    frame = frame.drop(columns=[f for f in SWEEPS if f in frame and f not in swept])
    rows: dict[str, list[dict[str, Any]]] = {table: [] for table in tables.values()}
    rows |= {table: [] for table in ("effects", "reached", "speedup", "dropped")}
    notes = []
    for factor in swept:
        others = [other for other in swept if other != factor]
        own = _single(frame[frame[factor].notna()], others, [factor])
        if factor == STEPS:
            # Beside a main study, whose cells have one number of steps.
            own = own[own.groupby(["setting", "model", "dataset"])[STEPS].transform("nunique") > 1]
        table = tables[factor]
        if factor == SIZE:
            rows[table] = _dataset_size(own)
        else:
            rows[table], why = _means(own, factor, options)
            notes += [(f"{table} ({setting})", reason) for setting, reason in why]
        if factor == STEPS:
            rows |= {"reached": reached(own), "speedup": speedups(own, options)}
            notes += chance_notes(rows["reached"])
        if factor == "configuration":
            rows["effects"], rows["dropped"], why = effects(own, list(_order(own, factor)), options)
            notes += [*_alone(rows["effects"]), *why]
        cell = [frame[name] for name in ("setting", "model", "dataset")]
        if frame[factor].isna().groupby(cell).any().all():
            # The main study beside it has every cell.
            continue
        what = f"other levels of {factor}, in tables but {table}"
        which = (
            "the steps of most cells, else its last" if factor == STEPS else f"its last {factor}"
        )
        notes.append((what, f"a cell has one number: {which} is used there"))
    return Sweeps(_single(frame, swept, []), **rows, notes=notes)


def _alone(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """State of which effects there is no interval."""
    why = "there is one model and one dataset: an interval needs two of one of them"
    alone = [str(row["setting"]) for row in rows if not row["sampled"]]
    return [(f"intervals of effects ({setting})", why) for setting in dict.fromkeys(alone)]


def _n_levels(frame: pd.DataFrame, factor: str) -> int:
    """Count the levels of the setting that has most; none at all is one, too.

    Settings that differ in their one number of steps are no sweep.
    """
    return int(frame.groupby("setting")[factor].nunique(dropna=False).max())


def _order(frame: pd.DataFrame, factor: str) -> dict[Any, int]:
    """Number the levels: numbers by size, names in the order in which each model has them.

    So a first model that lacks the first level changes nothing. Where models contradict each
    other, names are in the order of the table. Names that are numbered all (``S1: ...``) are in
    the order of their numbers: rows of a store are in the order in which trials ended.
    """
    column = frame[factor].dropna()
    levels = list(pd.unique(column))
    if pd.api.types.is_numeric_dtype(column):
        return {level: i for i, level in enumerate(sorted(levels))}
    numbers = {level: int(found[1]) for level in levels if (found := NUMBERED.match(str(level)))}
    if len(set(numbers.values())) == len(levels):
        return {level: i for i, level in enumerate(sorted(levels, key=numbers.__getitem__))}
    before: dict[Any, set[Any]] = {level: set() for level in levels}
    for _, own in column.groupby(frame["model"], sort=False):
        for first, second in pairwise(pd.unique(own)):
            before[second].add(first)
    with suppress(CycleError):
        levels = list(TopologicalSorter(before).static_order())
    return {level: i for i, level in enumerate(levels)}


def _single(frame: pd.DataFrame, factors: list[str], kept: list[str]) -> pd.DataFrame:
    """Leave each cell (and level of the factors kept) one level of the other factors."""
    for factor in factors:
        order = _order(frame, factor)
        # A row without a level comes after all levels: it is the main result.
        place = frame[factor].map(order).fillna(len(order) + 1).astype(int)
        if factor == STEPS:
            place = place.where(frame[factor] != _usual(frame), len(order))
        cell = [frame[name] for name in ("setting", "model", "dataset", *kept)]
        last = place.groupby(cell).transform("max")
        frame = frame[place == last].drop(columns=factor)
    return frame


def _usual(frame: pd.DataFrame) -> pd.Series:
    """Assign each row the number of steps that most cells of its setting have."""
    cells = frame[["setting", "model", "dataset", STEPS]].drop_duplicates()
    counts = cells.groupby(["setting", STEPS]).size().reset_index(name="cells")
    usual = counts.sort_values(["cells", STEPS]).groupby("setting")[STEPS].last()
    return frame["setting"].map(usual)


def _means(
    frame: pd.DataFrame, factor: str, options: AnalysisOptions
) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """Average the datasets of each model and level, adjusted for missing cells.

    Also returns settings whose cells do not allow it, and why.
    """
    order = _order(frame, factor)
    place = frame[factor].map(order).astype(int)
    levels = list(order)
    joined = frame.assign(model=frame["model"] + JOINT + place.astype(str))
    cells = cells_of(joined.drop(columns=factor))
    rows, notes = [], []
    for setting in pd.unique(cells["setting"]):
        part = matrix(cells, setting, options.predictor.scale).measured()
        if why := unconnected(part):
            notes.append((setting, why.replace(JOINT, " at level ")))
            continue
        n_datasets = np.isfinite(part.scores).sum(axis=1)
        values = part.values
        means = within_means(part.scores, options.error_bars, options.level)
        by_name = []
        for i, name in enumerate(part.models):
            model, _, at = name.partition(JOINT)
            by_name.append((model, int(at), i))
        for model, level, i in sorted(by_name):
            row = {"setting": setting, "model": model, "mean": means.mean[i], "se": means.se[i],
                   "n_datasets": int(n_datasets[i])}  # fmt: skip
            if factor == "configuration":
                row |= {"configuration": levels[level], "position": level,
                        "predictor": values[i]}  # fmt: skip
            else:
                row |= {"steps": levels[level], "low": means.low[i], "high": means.high[i]}
            rows.append(row)
    return rows, notes


def _dataset_size(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Average the random subsets (seeds) of each size, on the log-odds scale."""
    rows = []
    for size, of_size in frame.groupby(SIZE):
        cells = cells_of(of_size.drop(columns=SIZE))
        for cell in cells.to_dict("records"):
            row = {name: cell[name] for name in ("setting", "model", "dataset", "n_seeds")}
            se = cell["seed_sd"] / np.sqrt(cell["n_seeds"])
            rows.append({**row, "examples_per_class": size, "mean": cell["log_odds"], "se": se})
    return rows


# Stands where a setting does, in rows on the predictor itself.
UPSTREAM = "upstream"


class Change(NamedTuple):
    """From one configuration to the next: (models, datasets) differences, NaN where missing.

    For the predictor itself there is one column and `n_datasets` is 0.
    """

    setting: str
    before: Any
    after: Any
    differences: npt.NDArray[np.float64]
    n_datasets: int
    dropped: list[Dropped]
    why_not: str = ""


def effects(
    frame: pd.DataFrame, levels: list[Any], options: AnalysisOptions
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[tuple[str, str]]]:
    """Rows of the tables `effects` and `dropped`, of results with several configurations; notes.

    The mean difference in log odds between a configuration and the one before it among those that
    the setting has, paired by model and dataset, over the cells that both have, in which every
    model and every dataset weighs the same; and the same of the predictor, paired by model.
    The interval is for other models and other datasets
    (`headstart.stats.crossed_mean`); of which there is one, that one is held fixed, and `sampled`
    says for what the interval is.

    Parameters
    ----------
    frame
        One row per result, each with a `configuration`.
    levels
        The configurations in order.
    """
    cells = {
        level: cells_of(frame[frame["configuration"] == level].drop(columns="configuration"))
        for level in levels
    }
    rows, dropped, notes = [], [], []
    for change in (*_of_transfer(cells), *_of_predictor(cells, options.predictor.scale)):
        where = {"setting": change.setting, "table": f"effects: {change.after}"}
        dropped += [{**where, **one._asdict()} for one in change.dropped]
        if change.why_not:
            what = f"the effect of {change.after} against {change.before} ({change.setting})"
            notes.append((what, change.why_not))
        elif change.differences.size:
            rows.append({"position": levels.index(change.after), **_row(change, options)})
    return rows, dropped, notes


def _of_transfer(cells: Mapping[Any, pd.DataFrame]) -> Iterator[Change]:
    for setting in pd.unique(pd.concat(cells.values())["setting"]):
        own = {level: of[of["setting"] == setting] for level, of in cells.items()}
        for before, after in pairwise(level for level, of in own.items() if len(of)):
            whole = _difference(own[before], own[after], setting)
            part, dropped = whole.measured(), whole.unmeasured()
            why = unconnected(part)
            yield Change(setting, before, after, part.scores, len(part.datasets), dropped, why)


def _difference(before: pd.DataFrame, after: pd.DataFrame, setting: str) -> Matrix:
    """Match cells; one that either configuration lacks is missing."""
    cell = ["setting", "model", "dataset"]
    both = after.merge(before, on=cell, how="outer", suffixes=("", "_before"))
    return matrix(both.assign(log_odds=both["log_odds"] - both["log_odds_before"]), setting)


def _of_predictor(cells: Mapping[Any, pd.DataFrame], scale: Scale) -> Iterator[Change]:
    # One number per model: where settings differ, their mean, as in the figure.
    values = {at: of.groupby("model")["predictor"].mean() for at, of in cells.items()}
    known = {at: pd.Series(scale.coordinates(of), of.index) for at, of in values.items()}
    for before, after in pairwise(level for level, of in known.items() if of.notna().any()):
        both = known[after].sub(known[before])
        dropped = [Dropped("model", str(name), 1) for name in both.index[both.isna()]]
        yield Change(UPSTREAM, before, after, both.dropna().to_numpy()[:, None], 0, dropped)


def _row(change: Change, options: AnalysisOptions) -> dict[str, Any]:
    found = crossed_mean(change.differences, options.level)
    n_models, n_datasets = len(change.differences), change.n_datasets
    several = {"models": n_models > 1, "datasets": n_datasets > 1}
    return {
        "setting": change.setting,
        "before": change.before,
        "after": change.after,
        "effect": found.mean,
        **{name: getattr(found, name) for name in ("se", "df", "low", "high")},
        "sampled": " and ".join(name for name, holds in several.items() if holds),
        "n_models": n_models,
        "n_datasets": n_datasets,
    }
