"""Compare two sources of results: shared cells, and what only one of them has."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from headstart.analysis.cells import AnalysisOptions
from headstart.analysis.comparisons import paired_on_examples
from headstart.analysis.tables.joined_tables import EVERYTHING as ALL
from headstart.analysis.tables.joined_tables import ResultsTable
from headstart.stats import crossed_mean, independent_difference

__all__ = ["compare_sources"]

CELL = ["setting", "model", "dataset"]
Rows = list[dict[str, Any]]


def compare_sources(
    source: ResultsTable,
    other: ResultsTable,
    cells: pd.DataFrame,
    others: pd.DataFrame,
    options: AnalysisOptions,
) -> dict[str, Rows]:
    """Rows of the tables `compared`, `compared_means` and `unshared`.

    A difference is that of `source` less that of `other`.
    The interval of a difference in accuracy is for other test images. Where both sources have the
    predictions of one network on the same images it is that of paired proportions
    (`headstart.stats.mcnemar`); else that of independent test sets, from the intervals of the two
    accuracies (`headstart.stats.independent_difference`), which is too wide for one test set.
    The interval of a mean difference in log odds is for other datasets, and of all models together
    for other models and datasets (`headstart.stats.crossed_mean`); those of the single models hold
    together if `options.corrected`.

    Parameters
    ----------
    source, other
        Names as in `source` (`headstart.analysis.tables.joined_tables.align`).
    cells, others
        Their tables `cells`.
    """
    both = cells.merge(others, on=CELL, suffixes=("", "_other"))
    rows = {name: dict(iter(one.frame.groupby(CELL, sort=False))) for name, one in
            (("source", source), ("other", other))}  # fmt: skip
    compared = []
    for cell in both.to_dict("records"):
        place = tuple(cell[name] for name in CELL)
        compared.append(
            {
                **{name: cell[name] for name in CELL},
                "accuracy": cell["accuracy"],
                "other_accuracy": cell["accuracy_other"],
                "difference": cell["accuracy"] - cell["accuracy_other"],
                "log_odds": cell["log_odds"] - cell["log_odds_other"],
                **_interval(
                    cell, source, other, rows["source"][place], rows["other"][place], options
                ),
                "n_test": cell["n_test"],
                "other_n_test": cell["n_test_other"],
            }
        )
    means = [row for setting in pd.unique(both["setting"])
             for row in _means(pd.DataFrame(compared), setting, options)]  # fmt: skip
    unshared = [
        {"source": names[0].name, "kind": kind, "name": name}
        for names in ((source, other), (other, source))
        for kind in CELL
        for name in pd.unique(names[0].frame[kind])
        if name not in set(names[1].frame[kind])
    ]
    return {"compared": compared, "compared_means": means, "unshared": unshared}


def _interval(
    cell: dict[str, Any],
    source: ResultsTable,
    other: ResultsTable,
    rows: pd.DataFrame,
    other_rows: pd.DataFrame,
    options: AnalysisOptions,
) -> dict[str, Any]:
    tested = paired_on_examples(
        (rows, source.predictions), (other_rows, other.predictions), options.level
    )
    if tested is not None:
        return {"low": tested.low, "high": tested.high, "interval": "paired"}
    low, high = independent_difference(
        *((cell[f"accuracy{of}"], cell[f"low{of}"], cell[f"high{of}"]) for of in ("", "_other"))
    )
    return {"low": low, "high": high, "interval": "independent" if np.isfinite(low) else None}


def _means(compared: pd.DataFrame, setting: str, options: AnalysisOptions) -> Iterator[Any]:
    """Yield the mean difference of all models, and of each model with several datasets."""
    part = compared[compared["setting"] == setting]
    table = part.pivot(index="model", columns="dataset", values="log_odds")
    plain = part.pivot(index="model", columns="dataset", values="difference")
    models = [name for name in pd.unique(part["model"]) if table.loc[name].notna().sum() > 1]
    single = 1 - (1 - options.level) / (max(len(models), 1) if options.corrected else 1)
    for model in [ALL, *models] if len(table) > 1 else models or [ALL]:
        odds, accuracy = (
            one.dropna(axis=1, how="all") if model == ALL else one.loc[[model]].dropna(axis=1)
            for one in (table, plain)
        )
        found = crossed_mean(odds, options.level if model == ALL else single)
        cells = accuracy.to_numpy()
        cells = cells[np.isfinite(cells)]
        yield {
            "setting": setting,
            "model": model,
            "mean": found.mean,
            "low": found.low,
            "high": found.high,
            "accuracy": crossed_mean(accuracy).mean,
            "wins": int((cells > 0).sum()),
            "ties": int((cells == 0).sum()),
            "n_models": len(odds),
            "n_datasets": odds.shape[1],
        }
