"""Pairs of models on the same test images, from stored predictions."""

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from headstart.analysis.options import Options
from headstart.spec import Prediction
from headstart.stats import PairedTest, log_odds, map_swap_test, mcnemar, sign_flip_test

__all__ = ["Verdict", "pairs_on_examples"]

Read = Callable[[], Prediction]
# A permutation of mAP orders all scores anew; one of an accuracy is a binomial draw.
MAP_PERMUTATIONS = 1_000
# Scores, log odds, that are nearer than this are equal.
SAME = 1e-9


class Verdict(NamedTuple):
    """How a model stands to the best of its dataset, in accuracy on the same images.

    `not_different` is None where there is no test; the interval of the `difference` (the model's
    accuracy less the best's) is NaN where the test has none.
    """

    not_different: bool | None
    difference: float = np.nan
    low: float = np.nan
    high: float = np.nan
    p_adjusted: float = np.nan


def pairs_on_examples(
    frame: pd.DataFrame, predictions: Mapping[str, Read], options: Options
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
    models: dict[str, _Predictions], options: Options
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
    first: _Predictions, second: _Predictions, options: Options, random: np.random.Generator
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
    options: Options,
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
        for best in bests:
            tested = found.get("mcnemar", found["permutation"]).get((best, name))
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
        verdicts[name] = Verdict(p > 1 - options.level, *ends, p)
    return verdicts
