"""Compare models and settings: over datasets, and on the same test images."""

from collections.abc import Callable, Collection, Mapping
from itertools import combinations, permutations
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from headstart.analysis.cells import AnalysisOptions, Matrix, is_binomial, unconnected
from headstart.analysis.tables.joined_tables import EVERYTHING as ALL
from headstart.spec import Prediction
from headstart.spec.formatting import count
from headstart.stats import (
    FEWEST_DATASETS,
    Comparisons,
    PairedTest,
    additive_fit,
    all_pairs,
    compare_models,
    crossed_mean,
    independent_difference,
    log_odds,
    map_swap_test,
    mcnemar,
    mixed_model,
    sign_flip_test,
    wilcoxon,
    wilson_interval,
    within_means,
)

__all__ = [
    "MOST_MODELS_IN_PAIRS",
    "Verdict",
    "compare_settings",
    "independent_verdicts",
    "mixed",
    "over_datasets",
    "paired_on_examples",
    "pairs_on_examples",
    "shared",
    "why_no_comparison",
    "why_no_pairs",
]

Floats = npt.NDArray[np.float64]
Rows = list[dict[str, Any]]
# Pairs grow with the square: of more models they are written only when asked for.
MOST_MODELS_IN_PAIRS = 100


def over_datasets(
    part: Matrix, families: dict[str, str], setting: str, options: AnalysisOptions
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


def _means(part: Matrix, found: Comparisons, setting: str, options: AnalysisOptions) -> Rows:
    within = within_means(part.scores, options.error_bars, options.level, part.weight)
    _, accuracy = part.means()
    values = part.values
    same = found.not_different()
    n = np.isfinite(part.scores).sum(axis=1)
    # The best is not different from itself: no difference, and no interval.
    low, high = (np.where(found.best, np.nan, end) for end in (found.low, found.high))
    return [
        {
            "model": model,
            "setting": setting,
            "predictor": values[i],
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
            f"{count(n_datasets, 'dataset')}; at least {FEWEST_DATASETS} are needed: the variance "
            "of fewer differences is too uncertain"
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


def why_no_pairs(part: Matrix, options: AnalysisOptions) -> str:
    """State why the pairs of models over datasets are not written; empty if they are."""
    if options.pairs or len(part.models) <= MOST_MODELS_IN_PAIRS:
        return ""
    n = len(part.models)
    return (
        f"{n:,} models make {n * (n - 1) // 2:,} pairs; over {MOST_MODELS_IN_PAIRS} models they "
        "are written only with --pairs"
    )


def _pairs(part: Matrix, setting: str, options: AnalysisOptions) -> Rows:
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
    part: Matrix, i: int, j: int, setting: str, test: str, options: AnalysisOptions
) -> dict[str, Any]:
    return {
        "setting": setting,
        "dataset": ALL,
        "model": part.models[i],
        "other": part.models[j],
        "test": test,
        "correction": options.correction,
    }


def mixed(
    full: Matrix, setting: str, options: AnalysisOptions
) -> tuple[dict[str, Any] | None, str]:
    """Fit the mixed model to all cells whose predictor is known, if each model has one value.

    Returns
    -------
    tuple
        The row of the table `mixed` and "", or None and why there is none.
    """
    known = full.predictable()
    if known.differs_by_dataset:
        return None, f"{options.predictor.label} differs by dataset"
    try:
        fitted = mixed_model(known.scores, known.x, options.level)
    except (ValueError, np.linalg.LinAlgError) as error:
        return None, str(error)
    return {
        "setting": setting,
        **fitted._asdict(),
        "n_models": len(known.models),
        "n_datasets": len(known.datasets),
        "n_cells": known.n_cells,
    }, ""


def compare_settings(
    matrices: dict[str, Matrix], options: AnalysisOptions
) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """Rows of the table `settings` (every ordered pair of settings), and what is not given and why.

    `wins` of `cells` counts the models and datasets for which the first has the higher accuracy,
    of all that both were measured on; `difference` is the mean difference in log odds over these
    cells, in which every model and every dataset weighs the same. Its interval is for other models
    and other datasets (`headstart.stats.crossed_mean`); of which there is one, that one is held
    fixed, and with one of each there is none.
    """
    rows, notes = [], []
    for setting, other in permutations(matrices, 2):
        row, why = _compare(setting, other, matrices, options)
        rows += [row] if row else []
        notes += [(f"mean difference of {setting} and {other}", why)] if why else []
    return rows, notes


def _compare(
    setting: str, other: str, matrices: dict[str, Matrix], options: AnalysisOptions
) -> tuple[dict[str, Any], str]:
    first, second = shared(matrices[setting], matrices[other])
    part = first._replace(scores=first.scores - second.scores).measured()
    difference, both = part.scores, np.isfinite(part.scores)
    if not both.any():
        return {}, ""
    why = unconnected(part)
    found = crossed_mean([] if why else difference, options.level)
    row = {
        "setting": setting,
        "other": other,
        "wins": int((difference[both] > 0).sum()),
        "ties": int((difference[both] == 0).sum()),
        "cells": int(both.sum()),
        "difference": found.mean,
        "low": found.low,
        "high": found.high,
        "n_models": len(part.models),
        "n_datasets": len(part.datasets),
    }
    return row, why


def shared(first: Matrix, second: Matrix) -> tuple[Matrix, Matrix]:
    """Take the models and datasets that both have, in the same order."""
    models, datasets = set(second.models), set(second.datasets)
    names = [m for m in first.models if m in models], [d for d in first.datasets if d in datasets]
    return first.only(*names), second.only(*names)


Read = Callable[[], Prediction]
# A permutation of mAP orders all scores anew; one of an accuracy is a binomial draw.
MAP_PERMUTATIONS = 1_000
# Scores, log odds, that are nearer than this are equal.
SAME = 1e-9


class Verdict(NamedTuple):
    """How a model stands to the best of its dataset, in accuracy on its test images.

    `not_different` is None where there is no test; the interval of the `difference` (the model's
    accuracy less the best's) is NaN where the test has none. The `test` is "mcnemar" or
    "permutation" on the same images, or "independent".
    """

    not_different: bool | None
    difference: float = np.nan
    low: float = np.nan
    high: float = np.nan
    p_adjusted: float = np.nan
    test: str | None = None


def pairs_on_examples(
    frame: pd.DataFrame, predictions: Mapping[str, Read], options: AnalysisOptions
) -> tuple[list[dict[str, Any]], dict[tuple[str, str, str], Verdict]]:
    """Compare models on each dataset of each setting, where their predictions are stored.

    Top-1 accuracy: the permutation test and, for one seed, the exact McNemar test with the interval
    of the difference. Mean per-class accuracy: the permutation test, each image weighted by its
    class. Multi-label: permutation of mAP. With several seeds a permutation swaps all predictions
    of an image at once. In the table, p-values and intervals are corrected for the number of pairs
    on that dataset; against the best, for the number of other models, which is enough: the model
    that is truly best is excluded only if one of these tests errs.

    Returns
    -------
    tuple
        Rows of the table `pairwise`, and for each (setting, dataset, model) how it stands to the
        best there.
    """
    rows: list[dict[str, Any]] = []
    same: dict[tuple[str, str, str], Verdict] = {}
    if not predictions or "key" not in frame:
        return rows, same
    stored = frame[frame["key"].isin(predictions)]
    for (setting, dataset), cells in stored.groupby(["setting", "dataset"], sort=False):
        models = {
            model: _Predictions(of_model, predictions)
            for model, of_model in cells.groupby("model", sort=False)
        }
        if len(models) < 2:
            continue
        # The better first: the sign of a difference must not depend on names or on the table.
        models = dict(sorted(models.items(), key=lambda item: -item[1].score))
        found = _all_pairs(models, options)
        for test, outcomes in found.items():
            n_tests = len(outcomes) if options.corrected else 1
            rows += [
                {
                    "setting": setting,
                    "dataset": dataset,
                    "model": model,
                    "other": other,
                    "test": test,
                    **outcome._asdict(),
                    "p_adjusted": min(1.0, n_tests * outcome.p_value),
                    "correction": options.correction,
                }
                for (model, other), outcome in outcomes.items()
            ]
        for model, verdict in _verdicts(models, found, options).items():
            same[setting, dataset, model] = verdict
    return rows, same


class _Predictions:
    """One model's predictions on one dataset: a Prediction a seed, and the metric."""

    def __init__(self, rows: pd.DataFrame, predictions: Mapping[str, Read]) -> None:
        seeds = rows["seed"] if "seed" in rows else pd.Series(0, index=rows.index)
        self.by_seed = {
            seed: predictions[key]() for seed, key in zip(seeds, rows["key"], strict=True)
        }
        self.metric = str(rows["metric"].iloc[0])
        n_test = rows.get("n_test", np.nan)
        # As the cells are: the best there is the best here.
        self.score = float(np.mean(log_odds(rows["accuracy"], n_test)))


def _all_pairs(
    models: dict[str, _Predictions], options: AnalysisOptions
) -> dict[str, dict[tuple[str, str], PairedTest]]:
    """Test -> pair of models -> outcome, of pairs that were tested on the same images."""
    found: dict[str, dict[tuple[str, str], PairedTest]] = {"permutation": {}}
    n_pairs = len(models) * (len(models) - 1) // 2 if options.corrected else 1
    for (name, first), (other, second) in combinations(models.items(), 2):
        if not _comparable(first, second):
            continue
        pair = (name, other)
        # A generator per pair: its draws do not depend on which other models there are.
        random = np.random.default_rng(options.seed)
        if next(iter(first.by_seed.values())).label.ndim == 2:
            if not _same_images(first):
                continue
            found["permutation"][pair] = _swap_maps(first, second, options, random)
            continue
        found["permutation"][pair] = sign_flip_test(
            _contributions(first, second), options.resamples, random
        )
        if _binary(first):
            exact = _exact(first, second, 1 - (1 - options.level) / n_pairs)
            found.setdefault("mcnemar", {})[pair] = exact
    return found


def _binary(model: _Predictions) -> bool:
    """Whether an image is right or wrong, once: what McNemar's test counts."""
    return model.metric == "top-1" and len(model.by_seed) == 1


def _exact(first: _Predictions, second: _Predictions, level: float) -> PairedTest:
    one, two = (next(iter(p.by_seed.values())) for p in (first, second))
    return mcnemar(_right(one), _right(two), level)


def _comparable(first: _Predictions, second: _Predictions) -> bool:
    """Whether both were tested on the same images with the same seeds and metric."""
    return (
        first.metric == second.metric
        and first.by_seed.keys() == second.by_seed.keys()
        and all(
            np.array_equal(p.example, second.by_seed[seed].example)
            and np.array_equal(p.label, second.by_seed[seed].label)
            for seed, p in first.by_seed.items()
        )
    )


def _same_images(model: _Predictions) -> bool:
    """Whether all seeds were tested on the same images."""
    one, *others = model.by_seed.values()
    return all(np.array_equal(one.example, other.example) for other in others)


def paired_on_examples(
    first: tuple[pd.DataFrame, Mapping[str, Read]],
    other: tuple[pd.DataFrame, Mapping[str, Read]],
    level: float,
) -> PairedTest | None:
    """Test the results of one cell in two sources on the same images.

    Parameters
    ----------
    first, other
        The rows of the cell, and how to read the predictions of each.

    Returns
    -------
    PairedTest or None
        None where they are of other images, without predictions, or more than one top-1 accuracy.
    """
    if not all("key" in rows and rows["key"].isin(read).all() for rows, read in (first, other)):
        return None
    one, two = (_Predictions(rows, read) for rows, read in (first, other))
    if not (_binary(one) and _binary(two) and _comparable(one, two)):
        return None
    return _exact(one, two, level)


def _right(prediction: Prediction) -> npt.NDArray[np.bool_]:
    return np.asarray(prediction.predicted == prediction.label)


def _contributions(first: _Predictions, second: _Predictions) -> npt.NDArray[np.float64]:
    """(images,) what each image adds to the difference of the mean metrics over seeds.

    A right answer counts 1/n towards top-1, and 1/(K n_k) towards the mean per-class accuracy of K
    classes with n_k images; both divided by the number of seeds.
    """
    parts = []
    for seed, one in first.by_seed.items():
        label = one.label
        if first.metric == "top-1":
            weight = np.full(len(label), 1 / len(label))
        else:
            count = np.bincount(label)
            weight = 1 / (count[label] * np.count_nonzero(count))
        difference = _right(one).astype(float) - _right(second.by_seed[seed])
        parts.append(pd.Series(weight * difference / len(first.by_seed), index=one.example))
    return np.asarray(pd.concat(parts).groupby(level=0).sum(), dtype=np.float64)


def _swap_maps(
    first: _Predictions, second: _Predictions, options: AnalysisOptions, random: np.random.Generator
) -> PairedTest:
    """Compare mAP, averaged over seeds: an image is swapped in all of them at once."""
    seeds = list(first.by_seed)
    scores, other_scores = (
        np.stack([one.by_seed[seed].scores for seed in seeds]) for one in (first, second)
    )
    labels = first.by_seed[seeds[0]].label
    permutations = min(options.resamples, MAP_PERMUTATIONS)
    return map_swap_test(scores, other_scores, labels, permutations, random)


def _verdicts(
    models: dict[str, _Predictions],
    found: dict[str, dict[tuple[str, str], PairedTest]],
    options: AnalysisOptions,
) -> dict[str, Verdict]:
    """Hold each model against the best; of several equal bests, against the one nearest to it."""
    top = max(one.score for one in models.values())
    bests = [name for name, one in models.items() if one.score >= top - SAME]
    n_tests = len(models) - 1 if options.corrected else 1
    verdicts = {}
    for name, model in models.items():
        if name in bests:
            verdicts[name] = Verdict(True)
            continue
        outcomes = []
        test = "mcnemar" if "mcnemar" in found else "permutation"
        for best in bests:
            tested = found[test].get((best, name))
            if tested is not None and _binary(model):
                tested = _exact(models[best], model, 1 - (1 - options.level) / n_tests)
            outcomes += [tested] if tested is not None else []
        if not outcomes:
            verdicts[name] = Verdict(None)
            continue
        nearest = max(outcomes, key=lambda outcome: outcome.p_value)
        p = min(1.0, n_tests * nearest.p_value)
        # Turned round: the model less the best.
        ends = -nearest.difference, -nearest.high, -nearest.low
        verdicts[name] = Verdict(p > 1 - options.level, *ends, p, test)
    return verdicts


def independent_verdicts(
    cells: pd.DataFrame, on_images: Collection[tuple[str, str, str]], options: AnalysisOptions
) -> dict[tuple[str, str, str], Verdict]:
    """Hold each model against the best of its dataset by the sizes of their test sets alone.

    For accuracies without predictions: the interval of the difference of two independent
    proportions (`headstart.stats.independent_difference` of two Wilson intervals). Of two results
    on one test set it is too wide: the test is conservative. Only single accuracies whose test
    images are counted are tested: neither means over seeds, nor other metrics than top-1.

    Parameters
    ----------
    cells
        One row per model, dataset and setting (`headstart.analysis.cells.cells_of`).
    on_images
        (setting, dataset, model) of what is compared on the same images: their datasets are left
        to that test.

    Returns
    -------
    dict
        For (setting, dataset, model) how it stands to the best there; nothing where its test set,
        or that of the best, is not counted.
    """
    verdicts: dict[tuple[str, str, str], Verdict] = {}
    done = {place[:2] for place in on_images}
    counted = (cells["n_seeds"] == 1) & (cells["n_test"] > 0) & cells["metric"].map(is_binomial)
    for (setting, dataset), group in cells.groupby(["setting", "dataset"], sort=False):
        if (setting, dataset) in done:
            continue
        best = group["log_odds"] >= group["log_odds"].max() - SAME
        n_tests = max(len(group) - 1, 1) if options.corrected else 1
        level = 1 - (1 - options.level) / n_tests
        ends = {
            row.Index: _with_wilson(row.accuracy, int(row.n_test), level)
            for row in group[counted[group.index]].itertuples()
        }
        bests = [ends[i] for i in group.index[best] if i in ends]
        if not bests or len(ends) < 2:
            continue
        for i, own in ends.items():
            place = setting, dataset, group.at[i, "model"]
            if best[i]:
                verdicts[place] = Verdict(True)
                continue
            # Of several equal bests, the one with the widest interval: the smallest test set.
            low, high = max(
                (independent_difference(own, one) for one in bests), key=lambda x: x[1] - x[0]
            )
            verdicts[place] = Verdict(
                low <= 0 <= high, own[0] - bests[0][0], low, high, test="independent"
            )
    return verdicts


def _with_wilson(accuracy: float, n: int, level: float) -> tuple[float, float, float]:
    found = wilson_interval(accuracy, n, level)
    return accuracy, found.low, found.high
