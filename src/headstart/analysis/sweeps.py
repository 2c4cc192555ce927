"""Tables with a further factor: training configurations, steps, examples per class."""

import re
from contextlib import suppress
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from headstart.analysis.cells import cells_of, matrix, unconnected
from headstart.analysis.columns import SWEEPS
from headstart.analysis.effects import effects
from headstart.analysis.options import Options
from headstart.analysis.speed import chance_notes, reached, speedups
from headstart.stats import within_means

__all__ = ["Sweeps", "split_sweeps"]

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


def split_sweeps(frame: pd.DataFrame, options: Options) -> Sweeps:
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
    frame: pd.DataFrame, factor: str, options: Options
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
        part = matrix(cells, setting).measured()
        if why := unconnected(part):
            notes.append((setting, why.replace(JOINT, " at level ")))
            continue
        n_datasets = np.isfinite(part.scores).sum(axis=1)
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
                        "upstream_accuracy": part.upstream[i]}  # fmt: skip
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
