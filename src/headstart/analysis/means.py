"""Models over datasets: means, who is not significantly different from the best, ranks, pairs."""

from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import logit

from headstart.analysis.agree import EVERYTHING as ALL
from headstart.analysis.cells import Matrix
from headstart.analysis.options import Options
from headstart.stats import (
    FEWEST_DATASETS,
    Comparisons,
    additive_fit,
    all_pairs,
    compare_models,
    mixed_model,
    wilcoxon,
    within_means,
)

__all__ = ["MOST_MODELS_IN_PAIRS", "mixed", "over_datasets", "why_no_comparison", "why_no_pairs"]

Floats = npt.NDArray[np.float64]
Rows = list[dict[str, Any]]
# Pairs grow with the square: of more models they are written only when asked for.
MOST_MODELS_IN_PAIRS = 100


def over_datasets(
    part: Matrix, families: dict[str, str], setting: str, options: Options
) -> dict[str, Rows]:
    """Rows of the tables `model_means`, `ranks` and `pairwise` of one setting, the best first.

    All are of one additive fit to the cells, and of one set of simultaneous intervals
    (`headstart.stats.compare_models`).

    Parameters
    ----------
    part
        Models and datasets that all have a cell and are connected.
    """
    fit = additive_fit(part.scores, part.weight)
    found = compare_models(fit, options.level, options.corrected)
    means = _means(part, found, setting, options)
    order = sorted(range(len(part.models)), key=lambda i: (found.rank[i], part.models[i]))
    ranks = [
        {
            "setting": setting,
            "model": part.models[i],
            "family": families[part.models[i]],
            "mean": fit.mean[i],
            "accuracy": means[i]["accuracy"],
            "rank": found.rank[i],
            "low": found.rank_low[i],
            "high": found.rank_high[i],
        }
        for i in order
    ]
    with_family = [means[i] | {"family": families[part.models[i]]} for i in order]
    pairs = [] if why_no_pairs(part, options) else _pairs(part, setting, options)
    return {"model_means": with_family, "ranks": ranks, "pairwise": pairs}


def _means(part: Matrix, found: Comparisons, setting: str, options: Options) -> Rows:
    within = within_means(part.scores, options.error_bars, options.level, part.weight)
    _, accuracy = part.means()
    same = found.not_different()
    n = np.isfinite(part.scores).sum(axis=1)
    # The best is not different from itself: no difference, and no interval.
    low, high = (np.where(found.best, np.nan, end) for end in (found.low, found.high))
    return [
        {
            "model": model,
            "setting": setting,
            "upstream_accuracy": part.upstream[i],
            "mean": within.mean[i],
            "accuracy": accuracy[i],
            "se": within.se[i],
            "low": within.low[i],
            "high": within.high[i],
            "error_bars": options.error_bars,
            "n_datasets": int(n[i]),
            "of_datasets": len(part.datasets),
            "best": bool(found.best[i]),
            "not_different": same[i],
            "difference": found.difference[i],
            "difference_low": low[i],
            "difference_high": high[i],
            "odds_ratio": np.exp(found.difference[i]),
            "odds_ratio_low": np.exp(low[i]),
            "odds_ratio_high": np.exp(high[i]),
            "p_adjusted": found.p_value[i],
            "correction": options.correction,
        }
        for i, model in enumerate(part.models)
    ]


def why_no_comparison(part: Matrix) -> str:
    """State why some models, or all, are not compared with the best; empty if all are."""
    n_datasets = len(part.datasets)
    if len(part.models) < 2 or n_datasets < 2:
        return ""
    if n_datasets < FEWEST_DATASETS:
        return (
            f"{n_datasets} datasets; at least {FEWEST_DATASETS} are needed: the variance of fewer "
            "differences is too uncertain"
        )
    there = np.isfinite(part.scores)
    best = additive_fit(part.scores, part.weight).mean.argmax()
    few = int(((there & there[best]).sum(axis=1) < FEWEST_DATASETS).sum())
    if not few:
        return ""
    return (
        f"models that share fewer than {FEWEST_DATASETS} datasets with the best: {few} of "
        f"{len(part.models)}"
    )


def why_no_pairs(part: Matrix, options: Options) -> str:
    """State why the pairs of models over datasets are not written; empty if they are."""
    if options.pairs or len(part.models) <= MOST_MODELS_IN_PAIRS:
        return ""
    n = len(part.models)
    return (
        f"{n:,} models make {n * (n - 1) // 2:,} pairs; over {MOST_MODELS_IN_PAIRS} models they "
        "are written only with --pairs"
    )


def _pairs(part: Matrix, setting: str, options: Options) -> Rows:
    """Each pair over the datasets that both have: moderated paired t-test, and Wilcoxon's."""
    found = all_pairs(additive_fit(part.scores, part.weight), options.level, options.corrected)
    columns = zip(*(column.tolist() for column in found), strict=True)
    rows = [
        _pair(part, i, j, setting, "paired_t", options)
        | {
            "difference": difference,
            "low": low,
            "high": high,
            "p_value": p,
            "p_adjusted": adjusted,
            "n": n,
        }
        for i, j, difference, low, high, p, adjusted, n in columns
        if n >= FEWEST_DATASETS
    ]
    n_tests = len(found.first) if options.corrected else 1
    for i, j in combinations(range(len(part.models)), 2):
        both = np.isfinite(part.scores[i]) & np.isfinite(part.scores[j])
        if both.sum() >= FEWEST_DATASETS:
            test = wilcoxon(part.scores[i, both], part.scores[j, both])._asdict()
            adjusted = min(1.0, n_tests * test["p_value"])
            rows.append(
                _pair(part, i, j, setting, "wilcoxon", options) | test | {"p_adjusted": adjusted}
            )
    return rows


def _pair(
    part: Matrix, i: int, j: int, setting: str, test: str, options: Options
) -> dict[str, Any]:
    return {
        "setting": setting,
        "dataset": ALL,
        "model": part.models[i],
        "other": part.models[j],
        "test": test,
        "correction": options.correction,
    }


def mixed(full: Matrix, setting: str, options: Options) -> tuple[dict[str, Any] | None, str]:
    """Fit the mixed model to all cells whose model has an upstream accuracy.

    Returns
    -------
    tuple
        The row of the table `mixed` and "", or None and why there is none.
    """
    known = full.take(np.flatnonzero(np.isfinite(full.upstream)), range(len(full.datasets)))
    known = known.measured()
    try:
        fitted = mixed_model(known.scores, logit(known.upstream), options.level)
    except (ValueError, np.linalg.LinAlgError) as error:
        return None, str(error)
    return {
        "setting": setting,
        **fitted._asdict(),
        "n_models": len(known.models),
        "n_datasets": len(known.datasets),
        "n_cells": known.n_cells,
    }, ""
