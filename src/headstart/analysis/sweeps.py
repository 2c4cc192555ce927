"""Tables with a further factor: training configurations, steps, examples per class."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from headstart.analysis.cells import cells_of, complete, matrix
from headstart.analysis.columns import SWEEPS
from headstart.analysis.options import Options
from headstart.stats import within_means

__all__ = ["Sweeps", "split_sweeps"]

# Joins a model's name and its level for a while; stands in no name.
JOINT = "\x1f"


class Sweeps(NamedTuple):
    """What is left for the tables without that factor, and the tables with it, as rows."""

    frame: pd.DataFrame
    ablation: list[dict[str, Any]]
    convergence: list[dict[str, Any]]
    dataset_size: list[dict[str, Any]]
    notes: list[tuple[str, str]]


def split_sweeps(frame: pd.DataFrame, options: Options) -> Sweeps:
    """Analyse `configuration`, `steps` and `examples_per_class`, where they have several levels.

    The other tables then use each model's last level (the last configuration in the order of the
    table; the most steps; the most examples), which is said in the notes.
    """
    rows: dict[str, list[dict[str, Any]]] = {"ablation": [], "convergence": [], "dataset_size": []}
    notes = []
    for factor, table in zip(SWEEPS, rows, strict=True):
        if factor not in frame or frame[factor].nunique() < 2:
            frame = frame.drop(columns=factor, errors="ignore")
            continue
        swept = frame[frame[factor].notna()]
        rows[table] = (
            _dataset_size(swept) if table == "dataset_size" else _means(swept, factor, options)
        )
        frame = _last_level(frame, factor)
        notes.append(
            (
                f"other levels of {factor}, in tables but {table}",
                f"a cell has one number: each model's last {factor} is used there",
            )
        )
    return Sweeps(frame, **rows, notes=notes)


def _order(column: pd.Series) -> dict[Any, int]:
    """Number the levels: numbers by size, names as they come."""
    levels = list(pd.unique(column.dropna()))
    if pd.api.types.is_numeric_dtype(column):
        levels = sorted(levels)
    return {level: i for i, level in enumerate(levels)}


def _last_level(frame: pd.DataFrame, factor: str) -> pd.DataFrame:
    place = frame[factor].map(_order(frame[factor])).fillna(-1)
    last = place.groupby([frame["setting"], frame["model"]]).transform("max")
    return frame[place == last].drop(columns=factor)


def _means(frame: pd.DataFrame, factor: str, options: Options) -> list[dict[str, Any]]:
    """Average the datasets of each model and level, over a complete sub-table of each setting."""
    order = _order(frame[factor])
    place = frame[factor].map(order).astype(int)
    levels = list(order)
    joined = frame.assign(model=frame["model"] + JOINT + place.astype(str))
    cells = cells_of(joined.drop(columns=list(SWEEPS), errors="ignore"))
    rows = []
    for setting in pd.unique(cells["setting"]):
        part, _ = complete(matrix(cells, setting))
        if not part.models:
            continue
        means = within_means(part.scores, options.error_bars, options.level)
        for i, name in enumerate(part.models):
            model, level = name.split(JOINT)
            row = {"setting": setting, "model": model, "mean": means.mean[i], "se": means.se[i],
                   "n_datasets": len(part.datasets)}  # fmt: skip
            if factor == "configuration":
                row |= {"configuration": levels[int(level)], "position": int(level),
                        "upstream_accuracy": part.upstream[i]}  # fmt: skip
            else:
                row |= {"steps": levels[int(level)], "low": means.low[i], "high": means.high[i]}
            rows.append(row)
    return rows


def _dataset_size(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Average the random subsets (seeds) of each size, on the log-odds scale."""
    rows = []
    for size, of_size in frame.groupby("examples_per_class"):
        cells = cells_of(of_size.drop(columns=list(SWEEPS), errors="ignore"))
        for cell in cells.to_dict("records"):
            row = {name: cell[name] for name in ("setting", "model", "dataset", "n_seeds")}
            se = cell["seed_sd"] / np.sqrt(cell["n_seeds"])
            rows.append({**row, "examples_per_class": size, "mean": cell["log_odds"], "se": se})
    return rows
