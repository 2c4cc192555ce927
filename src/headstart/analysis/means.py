"""Models over datasets: means, pairwise tests, the best, ranks."""

from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from headstart.analysis.cells import Matrix
from headstart.analysis.correlations import ALL
from headstart.analysis.options import Options
from headstart.stats import holm, paired_t, rank_intervals, wilcoxon, within_means

__all__ = [
    "Versus",
    "model_means",
    "pairs_over_datasets",
    "ranks",
    "versus_best",
    "with_correction",
]

Floats = npt.NDArray[np.float64]


class Versus(NamedTuple):
    """Which model is best, and which are not distinguishable from it (None: no test)."""

    best: int
    not_different: tuple[bool | None, ...]


def versus_best(part: Matrix, options: Options) -> Versus:
    """Test each model's log odds against those of the best mean by the paired t-test."""
    best = int(part.scores.mean(axis=1).argmax())
    p = [paired_t(row, part.scores[best]).p_value for row in part.scores]
    return told_apart(best, p, options)


def told_apart(best: int, p_values: list[float], options: Options) -> Versus:
    """Hold p-values against the level; the best is not different from itself."""
    p = np.array(p_values)
    p[best] = np.nan
    if options.correction == "holm":
        p = holm(p)
    same = [None if np.isnan(value) else bool(value > 1 - options.level) for value in p]
    same[best] = True
    return Versus(best, tuple(same))


def model_means(
    part: Matrix, families: dict[str, str], setting: str, options: Options
) -> list[dict[str, Any]]:
    """Rows of the table `model_means`, from a complete table."""
    means = within_means(part.scores, options.error_bars, options.level)
    versus = versus_best(part, options)
    return [
        {
            "model": model,
            "family": families[model],
            "setting": setting,
            "upstream_accuracy": part.upstream[i],
            "mean": means.mean[i],
            "se": means.se[i],
            "low": means.low[i],
            "high": means.high[i],
            "error_bars": options.error_bars,
            "n_datasets": len(part.datasets),
            "best": i == versus.best,
            "not_different": versus.not_different[i],
        }
        for i, model in enumerate(part.models)
    ]


def pairs_over_datasets(part: Matrix, setting: str, options: Options) -> list[dict[str, Any]]:
    """Rows of the table `pairwise` for all datasets together: paired t-test and Wilcoxon's."""
    rows = []
    for test, run in (("paired_t", paired_t), ("wilcoxon", wilcoxon)):
        outcomes = [
            (model, other, run(part.scores[i], part.scores[j]))
            for (i, model), (j, other) in combinations(enumerate(part.models), 2)
        ]
        of_test = [
            {
                "setting": setting,
                "dataset": ALL,
                "model": model,
                "other": other,
                "test": test,
                **outcome._asdict(),
            }
            for model, other, outcome in outcomes
        ]
        rows += with_correction(of_test, options)
    return rows


def with_correction(rows: list[dict[str, Any]], options: Options) -> list[dict[str, Any]]:
    """Adjust the p-values of one family of tests, and say how."""
    p = np.array([row["p_value"] for row in rows])
    adjusted = holm(p) if options.correction == "holm" else p
    return [
        {**row, "p_adjusted": value, "correction": options.correction}
        for row, value in zip(rows, adjusted, strict=True)
    ]


def ranks(
    part: Matrix, families: dict[str, str], setting: str, options: Options
) -> list[dict[str, Any]]:
    """Rows of the table `ranks`, best first."""
    found = rank_intervals(part.scores, options.level)
    rows = [
        {
            "setting": setting,
            "model": model,
            "family": families[model],
            "mean": part.scores[i].mean(),
            "rank": found.rank[i],
            "low": found.low[i],
            "high": found.high[i],
        }
        for i, model in enumerate(part.models)
    ]
    return sorted(rows, key=lambda row: row["rank"])
