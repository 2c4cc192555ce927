"""Compare models and settings: over datasets, and on the same test images."""

from collections.abc import Callable, Collection, Mapping
from itertools import combinations, permutations
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from headstart.analysis.cells import (
    AnalysisOptions,
    Matrix,
    Row,
    Rows,
    is_binomial,
    missing,
    row,
    unconnected,
)
from headstart.analysis.correlations import FEWEST_MODELS
from headstart.analysis.tables.joined_tables import EVERYTHING as ALL
from headstart.spec import Prediction
from headstart.spec.formatting import count
from headstart.stats import (
    FEWEST_DATASETS,
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
    wilson_limits,
    within_means,
)

__all__ = [
    "MOST_MODELS_IN_PAIRS",
    "Verdict",
    "compare_settings",
    "independent_verdicts",
    "over_datasets",
    "paired_on_examples",
    "pairs_on_examples",
    "shared",
]

Read = Callable[[], Prediction]
# (setting, dataset, model).
Place = tuple[str, str, str]
# Pairs grow with the square: of more models they are written only when asked for.
MOST_MODELS_IN_PAIRS = 100
# A permutation of mAP orders all scores anew; one of an accuracy is a binomial draw.
MAP_PERMUTATIONS = 1_000
# Scores, log odds, that are nearer than this are equal.
SAME = 1e-9


def over_datasets(
    part: Matrix, families: Mapping[str, str], setting: str, options: AnalysisOptions
) -> Rows:
    """Yield rows of `model_means`, `ranks`, `pairwise` and `mixed` of one setting, the best first.

    All but the mixed model are of one additive fit to the cells, and of one set of simultaneous
    intervals (`headstart.stats.compare_models`). Models and datasets all have a cell.
    """
    if why := unconnected(part):
        yield missing(f"model means, ranks and mixed model ({setting})", why)
        return
    fit = additive_fit(part.scores, part.weight)
    found = compare_models(fit, options.level, options.corrected)
    within = within_means(part.scores, options.error_bars, options.level, part.weight)
    _, accuracy = part.means()
    values, same = part.values, found.not_different()
    n = np.isfinite(part.scores).sum(axis=1)
    # The best is not different from itself: no difference, and no interval.
    low, high = (np.where(found.best, np.nan, end) for end in (found.low, found.high))
    for i in sorted(range(len(part.models)), key=lambda i: (found.rank[i], part.models[i])):
        model: dict[str, Any] = {
            "setting": setting, "model": part.models[i], "family": families[part.models[i]],
            "mean": within.mean[i], "accuracy": accuracy[i],
        }  # fmt: skip
        yield row("ranks", **model, rank=found.rank[i], low=found.rank_low[i],
                  high=found.rank_high[i])  # fmt: skip
        yield row(
            "model_means",
            **model,
            predictor=values[i],
            se=within.se[i],
            low=within.low[i],
            high=within.high[i],
            error_bars=options.error_bars,
            n_datasets=int(n[i]),
            of_datasets=len(part.datasets),
            best=bool(found.best[i]),
            not_different=same[i],
            difference=found.difference[i],
            difference_low=low[i],
            difference_high=high[i],
            odds_ratio=np.exp(found.difference[i]),
            odds_ratio_low=np.exp(low[i]),
            odds_ratio_high=np.exp(high[i]),
            p_adjusted=found.p_value[i],
            correction=options.correction,
        )
    yield from _what_is_not_compared(part, setting)
    yield from _pairs(part, setting, options)
    yield from _mixed(part, setting, options)


def _what_is_not_compared(part: Matrix, setting: str) -> Rows:
    """Yield why some models, or all, are not compared with the best."""
    what = f"significance of differences between mean log odds ({setting})"
    n_datasets = len(part.datasets)
    if len(part.models) < 2 or n_datasets < 2:
        return
    if n_datasets < FEWEST_DATASETS:
        yield missing(
            what,
            f"{count(n_datasets, 'dataset')}; at least {FEWEST_DATASETS} are needed: the variance "
            "of fewer differences is too uncertain",
        )
        return
    there = np.isfinite(part.scores)
    best = additive_fit(part.scores, part.weight).mean.argmax()
    few = int(((there & there[best]).sum(axis=1) < FEWEST_DATASETS).sum())
    if few:
        yield missing(
            what,
            f"models that share fewer than {FEWEST_DATASETS} datasets with the best: {few} of "
            f"{len(part.models)}",
        )


def _pairs(part: Matrix, setting: str, options: AnalysisOptions) -> Rows:
    """Compare each pair over shared datasets: moderated paired t-test, and Wilcoxon's."""
    n = len(part.models)
    if n > MOST_MODELS_IN_PAIRS and not options.pairs:
        yield missing(
            f"pairs of models over datasets ({setting})",
            f"{n:,} models make {n * (n - 1) // 2:,} pairs; over {MOST_MODELS_IN_PAIRS} models "
            "they are written only with --pairs",
        )
        return
    common = {"setting": setting, "dataset": ALL, "correction": options.correction}
    found = all_pairs(additive_fit(part.scores, part.weight), options.level, options.corrected)
    for pair in zip(*(column.tolist() for column in found), strict=True):
        i, j, difference, low, high, p, adjusted, n_shared = pair
        if n_shared >= FEWEST_DATASETS:
            yield row(
                "pairwise",
                **common,
                model=part.models[i],
                other=part.models[j],
                test="paired_t",
                difference=difference,
                low=low,
                high=high,
                p_value=p,
                p_adjusted=adjusted,
                n=n_shared,
            )
    n_tests = len(found.first) if options.corrected else 1
    for i, j in combinations(range(n), 2):
        both = np.isfinite(part.scores[i]) & np.isfinite(part.scores[j])
        if both.sum() >= FEWEST_DATASETS:
            test = wilcoxon(part.scores[i, both], part.scores[j, both])
            yield row(
                "pairwise",
                **common,
                model=part.models[i],
                other=part.models[j],
                test="wilcoxon",
                **test._asdict(),
                p_adjusted=min(1.0, n_tests * test.p_value),
            )


def _mixed(full: Matrix, setting: str, options: AnalysisOptions) -> Rows:
    """Fit the mixed model to all cells whose predictor is known, if each model has one value."""
    if len(full.datasets) < 2 or np.isfinite(full.values).sum() < FEWEST_MODELS:
        return
    what, known = f"mixed model ({setting})", full.predictable()
    if known.differs_by_dataset:
        yield missing(what, f"{options.predictor.label} differs by dataset")
        return
    try:
        fitted = mixed_model(known.scores, known.x, options.level)
    except (ValueError, np.linalg.LinAlgError) as error:
        yield missing(what, str(error))
        return
    yield row(
        "mixed",
        setting=setting,
        **fitted._asdict(),
        n_models=len(known.models),
        n_datasets=len(known.datasets),
        n_cells=known.n_cells,
    )
    if not fitted.random_slopes:
        yield missing(
            f"random slopes of the {what}",
            "too few cells for a slope per dataset: the interval is for these datasets",
        )


def compare_settings(matrices: Mapping[str, Matrix], options: AnalysisOptions) -> Rows:
    """Yield rows of the table `settings`: every ordered pair of settings.

    `wins` of `cells` counts the models and datasets for which the first has the higher accuracy,
    of all that both were measured on; `difference` is the mean difference in log odds over these
    cells, in which every model and every dataset weighs the same. Its interval is for other models
    and other datasets (`headstart.stats.crossed_mean`); of which there is one, that one is held
    fixed, and with one of each there is none.
    """
    for setting, other in permutations(matrices, 2):
        first, second = shared(matrices[setting], matrices[other])
        part = first._replace(scores=first.scores - second.scores).measured()
        difference = part.scores
        if not part.n_cells:
            continue
        if why := unconnected(part):
            yield missing(f"mean difference of {setting} and {other}", why)
        found = crossed_mean([] if why else difference, options.level)
        yield row(
            "settings",
            setting=setting,
            other=other,
            wins=int((difference > 0).sum()),
            ties=int((difference == 0).sum()),
            cells=part.n_cells,
            difference=found.mean,
            low=found.low,
            high=found.high,
            n_models=len(part.models),
            n_datasets=len(part.datasets),
        )


def shared(first: Matrix, second: Matrix) -> tuple[Matrix, Matrix]:
    """Take the models and datasets that both have, in the same order."""
    models, datasets = set(second.models), set(second.datasets)
    names = [m for m in first.models if m in models], [d for d in first.datasets if d in datasets]
    return first.only(*names), second.only(*names)


class Verdict(NamedTuple):
    """How a model stands to the best of its dataset, in accuracy on its test images.

    `not_different` is None where there is no test; the interval of the `difference` (the model's
    accuracy less the best's) is NaN where the test has none. The `test` is "mcnemar" or
    "permutation" on the same images, or "independent". Fields are columns of the table `cells`.
    """

    not_different: bool | None
    difference: float = np.nan
    difference_low: float = np.nan
    difference_high: float = np.nan
    p_adjusted: float = np.nan
    test: str | None = None


def pairs_on_examples(
    frame: pd.DataFrame, predictions: Mapping[str, Read], options: AnalysisOptions
) -> tuple[list[Row], dict[Place, Verdict]]:
    """Compare models on each dataset of each setting, where their predictions are stored.

    Top-1 accuracy: the permutation test and, for one seed, the exact McNemar test with the interval
    of the difference. Mean per-class accuracy: the permutation test, each image weighted by its
    class. Multi-label: permutation of mAP. With several seeds a permutation swaps all predictions
    of an image at once. In the table, p-values and intervals are corrected for the number of pairs
    on that dataset; against the best, for the number of other models, which is enough: the model
    that is truly best is excluded only if one of these tests errs.

    Returns rows of the table `pairwise`, and how each model stands to the best there.
    """
    rows: list[Row] = []
    same: dict[Place, Verdict] = {}
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
        found = _tests(models, options)
        for test, outcomes in found.items():
            n_tests = len(outcomes) if options.corrected else 1
            rows += [
                row(
                    "pairwise",
                    setting=setting,
                    dataset=dataset,
                    model=model,
                    other=other,
                    test=test,
                    **outcome._asdict(),
                    p_adjusted=min(1.0, n_tests * outcome.p_value),
                    correction=options.correction,
                )
                for (model, other), outcome in outcomes.items()
            ]
        verdicts = _verdicts(models, found, options)
        same |= {(setting, dataset, model): verdict for model, verdict in verdicts.items()}
    return rows, same


class _Predictions:
    """One model's predictions on one dataset, by seed, and the metric."""

    def __init__(self, rows: pd.DataFrame, predictions: Mapping[str, Read]) -> None:
        seeds = rows["seed"] if "seed" in rows else [0] * len(rows)
        self.by_seed = {
            seed: predictions[key]() for seed, key in zip(seeds, rows["key"], strict=True)
        }
        self.first = next(iter(self.by_seed.values()))
        self.metric = str(rows["metric"].iloc[0])
        # As the cells are: the best there is the best here.
        self.score = float(np.mean(log_odds(rows["accuracy"], rows.get("n_test", np.nan))))

    @property
    def binary(self) -> bool:
        """Whether an image is right or wrong, once: what McNemar's test counts."""
        return self.metric == "top-1" and len(self.by_seed) == 1

    def comparable(self, other: "_Predictions") -> bool:
        """Whether both were tested on the same images with the same seeds and metric."""
        return (
            self.metric == other.metric
            and self.by_seed.keys() == other.by_seed.keys()
            and all(
                np.array_equal(p.example, other.by_seed[seed].example)
                and np.array_equal(p.label, other.by_seed[seed].label)
                for seed, p in self.by_seed.items()
            )
        )

    def mcnemar(self, other: "_Predictions", level: float) -> PairedTest:
        """Test the accuracies of two that are `binary` and `comparable`."""
        return mcnemar(_right(self.first), _right(other.first), level)


def _right(prediction: Prediction) -> npt.NDArray[np.bool_]:
    return np.asarray(prediction.predicted == prediction.label)


def _tests(
    models: Mapping[str, _Predictions], options: AnalysisOptions
) -> dict[str, dict[tuple[str, str], PairedTest]]:
    """Test -> pair of models -> outcome, of pairs that were tested on the same images."""
    found: dict[str, dict[tuple[str, str], PairedTest]] = {"permutation": {}}
    n_pairs = len(models) * (len(models) - 1) // 2 if options.corrected else 1
    for (name, one), (other_name, other) in combinations(models.items(), 2):
        if not one.comparable(other):
            continue
        pair = (name, other_name)
        # A generator per pair: its draws do not depend on which other models there are.
        random = np.random.default_rng(options.seed)
        if one.first.label.ndim == 1:
            found["permutation"][pair] = sign_flip_test(
                _contributions(one, other), options.resamples, random
            )
            if one.binary:
                exact = one.mcnemar(other, 1 - (1 - options.level) / n_pairs)
                found.setdefault("mcnemar", {})[pair] = exact
        # An image is swapped in all seeds at once, which have to have the same.
        elif all(np.array_equal(one.first.example, p.example) for p in one.by_seed.values()):
            scores, other_scores = (
                np.stack([p.scores for p in of.by_seed.values()]) for of in (one, other)
            )
            permutations = min(options.resamples, MAP_PERMUTATIONS)
            found["permutation"][pair] = map_swap_test(
                scores, other_scores, one.first.label, permutations, random
            )
    return found


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


def paired_on_examples(
    first: tuple[pd.DataFrame, Mapping[str, Read]],
    other: tuple[pd.DataFrame, Mapping[str, Read]],
    level: float,
) -> PairedTest | None:
    """Test the results of one cell in two sources on the same images.

    By its rows, and how to read the predictions of each. None where they are of other images,
    without predictions, or more than one top-1 accuracy.
    """
    if not all("key" in rows and rows["key"].isin(read).all() for rows, read in (first, other)):
        return None
    one, two = (_Predictions(rows, read) for rows, read in (first, other))
    return one.mcnemar(two, level) if one.binary and two.binary and one.comparable(two) else None


def _verdicts(
    models: Mapping[str, _Predictions],
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
            if tested is not None and model.binary:
                tested = models[best].mcnemar(model, 1 - (1 - options.level) / n_tests)
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
    cells: pd.DataFrame, on_images: Collection[Place], options: AnalysisOptions
) -> dict[Place, Verdict]:
    """Hold each model against the best of its dataset by the sizes of their test sets alone.

    For accuracies without predictions: the interval of the difference of two independent
    proportions (`headstart.stats.independent_difference` of two Wilson intervals). Of two results
    on one test set it is too wide: the test is conservative. Only single accuracies whose test
    images are counted are tested: neither means over seeds, nor other metrics than top-1. Datasets
    of what is compared `on_images` are left to that test.
    """
    verdicts: dict[Place, Verdict] = {}
    done = {place[:2] for place in on_images}
    counted = (cells["n_seeds"] == 1) & (cells["n_test"] > 0) & cells["metric"].map(is_binomial)
    for (setting, dataset), group in cells.groupby(["setting", "dataset"], sort=False):
        if (setting, dataset) in done:
            continue
        n_tests = max(len(group) - 1, 1) if options.corrected else 1
        top = group["log_odds"].max() - SAME
        group = group[counted[group.index]]
        ends = wilson_limits(
            group["accuracy"], group["n_test"] // 1, 1 - (1 - options.level) / n_tests
        )
        sized = list(zip(group["accuracy"], *ends, strict=True))
        best = [one for one, score in zip(sized, group["log_odds"], strict=True) if score >= top]
        if not best or len(group) < 2:
            continue
        for model, score, own in zip(group["model"], group["log_odds"], sized, strict=True):
            place = setting, dataset, model
            if score >= top:
                verdicts[place] = Verdict(True)
                continue
            # Of several equal bests, the one with the widest interval: the smallest test set.
            low, high = max(
                (independent_difference(own, one) for one in best), key=lambda x: x[1] - x[0]
            )
            verdicts[place] = Verdict(
                low <= 0 <= high, own[0] - best[0][0], low, high, test="independent"
            )
    return verdicts
