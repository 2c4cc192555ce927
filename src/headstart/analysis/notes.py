"""What an analysis could not compute and why, and remarks on the numbers it gives."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from headstart.analysis.cells import Matrix, at_edge, edge_distances
from headstart.analysis.correlations import FEWEST_FOR_INTERVAL, FEWEST_MODELS
from headstart.analysis.prediction import FEWEST_FOR_PREDICTION
from headstart.analysis.tables.joined_tables import ResultsTable
from headstart.predictors import UPSTREAM_ACCURACY, Predictor
from headstart.spec.formatting import count, first_few, setting_label

__all__ = ["notes_on", "remarks_on"]

Note = tuple[str, str]
# A correlation that differs from 1 by less is exact.
EXACT = 1e-12
# So many names of a list are printed.
SOME = 4
# From so many on, it is said that most are not significantly different.
MANY_MODELS = 10


def notes_on(
    tables: Mapping[str, pd.DataFrame],
    full: Mapping[str, Matrix],
    source: ResultsTable,
    predictor: Predictor,
) -> list[Note]:
    """State of each part that is not there, or not for all, what it would need."""
    notes = _on_cells(source) + _on_predictions(source)
    notes += _on_predictor(tables["cells"], predictor)
    notes += _on_mixtures(source.frame, predictor)
    any_value = bool(tables["cells"]["predictor"].notna().any())
    for setting, one in full.items():
        notes += _on_setting(setting, one, predictor, any_value)
    notes += _on_estimates(tables)
    if len(full) < 2:
        notes.append(("comparison of settings", "there is only one setting"))
    elif tables["settings"].empty:
        why = "no model was measured on the same dataset in two settings"
        notes.append(("comparison of settings", why))
    if not tables["pairwise"]["dataset"].ne("all").any():
        notes.append(("pairwise tests per dataset", _why_no_examples(source)))
    return list(dict.fromkeys(notes))


def remarks_on(
    tables: Mapping[str, pd.DataFrame],
    frame: pd.DataFrame,
    full: Mapping[str, Matrix],
    predictor: Predictor,
) -> list[Note]:
    """Rows of the table `notes`: how numbers were treated, and where intervals mislead."""
    notes = _on_edges(frame)
    for setting, one in full.items():
        notes += _on_weights(setting, one)
        notes += _on_large_family(setting, one)
        notes += _on_far_values(setting, one, predictor)
    notes += _on_wide_intervals(tables["model_means"])
    return list(dict.fromkeys(notes))


def _on_wide_intervals(means: pd.DataFrame) -> list[Note]:
    """Warn where the datasets are too few to tell most models from the best."""
    notes = []
    for setting, rows in means.groupby("setting", sort=False):
        compared = rows[~rows["best"].astype(bool) & rows["not_different"].notna()]
        same = int(compared["not_different"].astype(bool).sum())
        if len(compared) >= MANY_MODELS and 2 * same > len(compared):
            n = int(rows["of_datasets"].iloc[0])
            notes.append((
                f"{same:,} of {len(compared):,} models are not significantly different from the "
                f"best ({setting_label(setting)})",
                f"{n} datasets say little about so many models: a wide interval is no evidence "
                "that models are equal",
            ))  # fmt: skip
    return notes


def _on_weights(setting: str, one: Matrix) -> list[Note]:
    """Name what datasets weigh, the heaviest first."""
    if one.weight is None:
        return []
    share = one.weight / one.weight.sum()
    order = np.argsort(-share, kind="stable")
    names = [f"{one.datasets[j]} {share[j]:.1%}".replace("%", " %") for j in order]
    return [(
        f"means over datasets are weighted by the number of test images ({setting_label(setting)})",
        first_few(names),
    )]  # fmt: skip


def _on_edges(frame: pd.DataFrame) -> list[Note]:
    """Count and name accuracies of exactly 0 or 100 %, and what they are taken for."""
    edge = at_edge(frame)
    if not edge.any():
        return []
    sized = frame["n_test"] > 0 if "n_test" in frame else pd.Series(False, index=frame.index)
    counted, guessed = frame[edge & sized], frame[edge & ~sized]
    notes = []
    if len(counted):
        notes.append((
            f"{len(counted)} of {len(frame)} accuracies are exactly 0 or 100 %",
            f"taken as (k + 0.5) / (n + 1) of k right answers of n test images: {_cells(counted)}",
        ))  # fmt: skip
    if len(guessed):
        distance = (100 * edge_distances(frame)[guessed.index]).groupby(guessed["dataset"]).first()
        how = ", ".join(f"{dataset} {value:.3g}" for dataset, value in distance.head(SOME).items())
        more = ", ..." if len(distance) > SOME else ""
        notes.append((
            f"{len(guessed)} of {len(frame)} accuracies are exactly 0 or 100 % and their test-set "
            "sizes are missing (add a column n_test)",
            "taken as half a unit of the last digit from there, of unrounded numbers half the "
            f"smallest distance of the others, in points: {how}{more}: {_cells(guessed)}",
        ))  # fmt: skip
    return notes


def _cells(rows: pd.DataFrame) -> str:
    """Name some cells."""
    return first_few([f"{row.model} on {row.dataset} ({setting_label(row.setting)})"
                      for row in rows.itertuples()])  # fmt: skip


def _on_large_family(setting: str, one: Matrix) -> list[Note]:
    """Warn of intervals over families where one family holds most models.

    By the effective number of families, (sum of sizes)^2 / sum of squared sizes (Kish 1965).
    """
    known = one.family[np.isfinite(one.values)]
    if not len(known):
        return []
    sizes = np.unique(known, return_counts=True)[1]
    if len(sizes) < FEWEST_FOR_INTERVAL or sizes.max() <= len(known) / 2:
        return []
    effective = sizes.sum() ** 2 / (sizes**2).sum()
    return [(
        f"intervals over families ({setting_label(setting)}) are unreliable",
        f"one family holds {sizes.max()} of {len(known)} models, so that the {len(sizes)} families "
        f"count as {effective:.1f}: set families of your own in a column family",
    )]  # fmt: skip


def _on_far_values(setting: str, one: Matrix, predictor: Predictor) -> list[Note]:
    """Name models whose predictor is far from all others: lines and r depend on them.

    Beyond three interquartile ranges from the quartiles, on its scale (Tukey 1977, "far out").
    """
    known = np.isfinite(one.values)
    if known.sum() < FEWEST_FOR_INTERVAL:
        return []
    values, x = one.values, one.x
    low, high = np.quantile(x[known], [0.25, 0.75])
    far = np.flatnonzero(known & ((x < low - 3 * (high - low)) | (x > high + 3 * (high - low))))
    if not len(far):
        return []
    names = [f"{one.models[i]} {predictor.scale.text(values[i])}" for i in far]
    return [(
        f"{predictor.label} of {len(far)} of {known.sum()} models is far from all others "
        f"({setting_label(setting)})",
        f"correlations, lines and predictions depend on them: {first_few(names)}",
    )]  # fmt: skip


def _on_cells(source: ResultsTable) -> list[Note]:
    return [
        (
            f"{fact['without_accuracy']} {'cell' if fact['without_accuracy'] == 1 else 'cells'} of "
            f"{fact['name']}",
            "no accuracy given: missing",
        )
        for fact in source.facts
        if fact.get("without_accuracy")
    ] + [
        (name, f"no row of {fact['name']} has an accuracy for it: left out everywhere")
        for fact in source.facts
        for name in fact.get("unmeasured", [])
    ]


def _on_predictions(source: ResultsTable) -> list[Note]:
    return [
        (
            f"tests on the same images of {lacking} of {fact['rows']} results of {fact['name']}",
            f"their predictions are missing: restore the folder {fact['predictions']}",
        )
        for fact in source.facts
        if (lacking := fact.get("without_predictions"))
    ]


def _on_mixtures(frame: pd.DataFrame, predictor: Predictor) -> list[Note]:
    """Name what is averaged or compared although it is not of one kind."""
    notes = []
    if "metric" in frame:
        kinds = frame.groupby("dataset", sort=False)["metric"].nunique()
        for dataset in kinds[kinds > 1].index:
            why = "it has several metrics: its accuracies are not of one kind"
            notes.append((f"a fair comparison on {dataset}", why))
    if "upstream_name" in frame and predictor.column == UPSTREAM_ACCURACY.column:
        names = frame["upstream_name"].dropna().unique()
        if len(names) > 1:
            why = f"upstream accuracies are of several kinds: {', '.join(map(str, names))}"
            notes.append(("one upstream accuracy for all models", why))
    return notes


def _on_predictor(cells: pd.DataFrame, predictor: Predictor) -> list[Note]:
    of_model = cells.groupby("model", sort=False)["predictor"].first()
    unknown = list(of_model[of_model.isna()].index)
    if len(unknown) == len(of_model):
        why = (
            f"no {predictor.label} is known: {predictor.hint} (for another name: "
            f"--columns {predictor.column}=NAME)"
        )
        return [(what, why) for what in ("correlations", "mixed model", "prediction")]
    if unknown:
        why = f"no {predictor.label} is known for: " + ", ".join(unknown)
        return [("some models in correlations, mixed model and prediction", why)]
    return []


def _on_setting(setting: str, one: Matrix, predictor: Predictor, any_value: bool) -> list[Note]:
    notes = []
    if len(one.models) < 2:
        notes.append((f"comparisons of models ({setting})", "there is only one model"))
    if len(one.datasets) < 2:
        why = "there is only one dataset"
        notes.append((f"error bars over datasets ({setting})", why))
    known = one.values[np.isfinite(one.values)]
    if not len(known) and not any_value:
        return notes
    if not len(known):
        return [*notes, (f"correlations ({setting})", f"{predictor.label} is unknown there")]
    if len(known) < FEWEST_MODELS:
        models = count(len(known), "model")
        why = f"{models} with known {predictor.label}; at least {FEWEST_MODELS} are needed"
        notes.append((f"correlations ({setting})", why))
    elif np.ptp(known) == 0:
        why = f"{predictor.label} is the same for all models"
        notes += [(f"{what} ({setting})", why) for what in ("correlations", "prediction")]
    elif len(known) < FEWEST_FOR_INTERVAL:
        why = f"{count(len(known), 'model')}; at least {FEWEST_FOR_INTERVAL} are needed"
        notes.append((f"intervals of correlations ({setting})", why))
    if len(known) < FEWEST_FOR_PREDICTION:
        why = f"{count(len(known), 'model')}; at least {FEWEST_FOR_PREDICTION} are needed"
        notes.append(("prediction", why))
    return notes + _on_families(setting, one) + _on_constant_scores(setting, one)


def _on_estimates(tables: Mapping[str, pd.DataFrame]) -> list[Note]:
    """Name single estimates that could not be had where others of their kind could."""
    rows = tables["correlations"]
    flat = rows[
        rows["estimate"].notna() & rows["low"].isna() & (rows["n_models"] >= FEWEST_FOR_INTERVAL)
    ]
    notes = []
    for (setting, statistic), of in flat.groupby(["setting", "statistic"], sort=False):
        exact = of["estimate"].abs().gt(1 - EXACT).all()
        why = (
            "the relation is exact: the spread of other models is unknown"
            if exact
            else "without one of the models, accuracies do not vary"
        )
        notes.append((f"interval of {statistic} ({setting}): {', '.join(of['group'])}", why))
    few = tables["model_sets"].query("n_models < @FEWEST_FOR_INTERVAL")
    why = f"shared models: fewer than {FEWEST_FOR_INTERVAL}, which an interval needs"
    notes += [(f"intervals of the two model sets ({s})", why) for s in few["setting"]]
    return notes


def _on_families(setting: str, one: Matrix) -> list[Note]:
    known = one.family[np.isfinite(one.values)]
    families = len(np.unique(known))
    if families == len(known):
        why = "each model is a family of its own"
    elif families < FEWEST_FOR_INTERVAL:
        found = "1 family" if families == 1 else f"{families} families"
        why = f"{found} of models; at least {FEWEST_FOR_INTERVAL} are needed"
    else:
        return []
    return [(f"family-clustered intervals ({setting})", why)]


def _on_constant_scores(setting: str, one: Matrix) -> list[Note]:
    return [
        (f"correlation on {name} ({setting})", "all models have the same accuracy")
        for name, scores in zip(one.datasets, one.scores.T, strict=True)
        if len(scores) > 1 and np.isfinite(scores).all() and np.ptp(scores) == 0
    ]


def _why_no_examples(source: ResultsTable) -> str:
    if source.predictions:
        return "no two models were tested on the same images of a dataset in one setting"
    return "no per-example predictions: analyze a results store, or add --predictions"
