"""What each change of the upstream training goes with: consecutive configurations, cell by cell."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import logit

from headstart.analysis.cells import Dropped, Matrix, cells_of, matrix, unconnected
from headstart.analysis.options import Options
from headstart.stats import crossed_mean

__all__ = ["UPSTREAM", "effects"]

# Stands where a setting does, in rows on the upstream accuracy itself.
UPSTREAM = "upstream"


class Change(NamedTuple):
    """From one configuration to the next: (models, datasets) differences, NaN where missing.

    For the upstream accuracy, which knows no dataset, there is one column and `n_datasets` is 0.
    """

    setting: str
    before: Any
    after: Any
    differences: npt.NDArray[np.float64]
    n_datasets: int
    dropped: list[Dropped]
    why_not: str = ""


def effects(
    frame: pd.DataFrame, levels: list[Any], options: Options
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[tuple[str, str]]]:
    """Rows of the tables `effects` and `dropped`, of results with several configurations; notes.

    The mean difference in log odds between a configuration and the one before it among those that
    the setting has, paired by model and dataset, over the cells that both have, in which every
    model and every dataset weighs the same; and the same of the upstream accuracy, paired by model.
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
    for change in (*_of_transfer(cells), *_of_upstream(cells)):
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


def _of_upstream(cells: Mapping[Any, pd.DataFrame]) -> Iterator[Change]:
    # One number a model: where settings say differently, their mean, as in the figure.
    known = {at: of.groupby("model")["upstream_accuracy"].mean() for at, of in cells.items()}
    for before, after in pairwise(level for level, of in known.items() if of.notna().any()):
        both = logit(known[after]).sub(logit(known[before]))
        dropped = [Dropped("model", str(name), 1) for name in both.index[both.isna()]]
        yield Change(UPSTREAM, before, after, both.dropna().to_numpy()[:, None], 0, dropped)


def _row(change: Change, options: Options) -> dict[str, Any]:
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
