"""What an analysis could not compute and why, and remarks on the numbers it gives."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from headstart.analysis.cells import Matrix, Row, Rows, at_edge, edge_distances, missing, row
from headstart.analysis.correlations import FEWEST_FOR_INTERVAL, FEWEST_MODELS
from headstart.analysis.prediction import FEWEST_FOR_PREDICTION
from headstart.analysis.tables.joined_tables import ResultsTable
from headstart.predictors import UPSTREAM_ACCURACY, Predictor
from headstart.spec.formatting import count, first_few, setting_label

__all__ = ["notes_on", "remarks_on"]

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
) -> Rows:
    """Yield rows of the table `missing`: what parts need that are not there, or not for all."""
    yield from _on_source(source, predictor)
    yield from _on_unknown_predictors(tables["cells"], predictor)
    known = tables["cells"]["predictor"].notna().any()
    for setting, one in full.items():
        if len(one.models) < 2:
            yield missing(f"comparisons of models ({setting})", "there is only one model")
        if len(one.datasets) < 2:
            yield missing(f"error bars over datasets ({setting})", "there is only one dataset")
        if known:
            yield from _on_predictor(setting, one, predictor)
    yield from _on_intervals(tables)
    if len(full) < 2:
        yield missing("comparison of settings", "there is only one setting")
    elif tables["settings"].empty:
        why = "no model was measured on the same dataset in two settings"
        yield missing("comparison of settings", why)
    if not tables["pairwise"]["dataset"].ne("all").any():
        why = "no per-example predictions: analyze a results store, or add --predictions"
        if source.predictions:
            why = "no two models were tested on the same images of a dataset in one setting"
        yield missing("pairwise tests per dataset", why)


def _on_unknown_predictors(cells: pd.DataFrame, predictor: Predictor) -> Rows:
    of_model = cells.groupby("model", sort=False)["predictor"].first()
    unknown = list(of_model[of_model.isna()].index)
    if len(unknown) == len(of_model):
        for what in ("correlations", "mixed model", "prediction"):
            yield missing(
                what,
                f"no {predictor.label} is known: {predictor.hint} (for another name: "
                f"--columns {predictor.column}=NAME)",
            )
    elif unknown:
        yield missing(
            "some models in correlations, mixed model and prediction",
            f"no {predictor.label} is known for: " + ", ".join(unknown),
        )


def _on_source(source: ResultsTable, predictor: Predictor) -> Rows:
    """Name cells without accuracies and predictions, and what is not of one kind."""
    for fact in source.facts:
        name = fact["name"]
        if lacking := fact.get("without_accuracy"):
            yield missing(f"{count(lacking, 'cell')} of {name}", "no accuracy given: missing")
        for one in fact.get("unmeasured", ()):
            yield missing(one, f"no row of {name} has an accuracy for it: left out everywhere")
        if lacking := fact.get("without_predictions"):
            yield missing(
                f"tests on the same images of {lacking} of {fact['rows']} results of {name}",
                f"their predictions are missing: restore the folder {fact['predictions']}",
            )
    frame = source.frame
    if "metric" in frame:
        kinds = frame.groupby("dataset", sort=False)["metric"].nunique()
        for dataset in kinds[kinds > 1].index:
            why = "it has several metrics: its accuracies are not of one kind"
            yield missing(f"a fair comparison on {dataset}", why)
    if "upstream_name" in frame and predictor.column == UPSTREAM_ACCURACY.column:
        names = frame["upstream_name"].dropna().unique()
        if len(names) > 1:
            why = f"upstream accuracies are of several kinds: {', '.join(map(str, names))}"
            yield missing("one upstream accuracy for all models", why)


def _on_predictor(setting: str, one: Matrix, predictor: Predictor) -> Rows:
    """Name what needs more models whose predictor is known, or other values of it."""
    there = np.isfinite(one.values)
    known, n = one.values[there], int(there.sum())
    if not n:
        yield missing(f"correlations ({setting})", f"{predictor.label} is unknown there")
        return
    models = count(n, "model")
    if n < FEWEST_MODELS:
        why = f"{models} with known {predictor.label}; at least {FEWEST_MODELS} are needed"
        yield missing(f"correlations ({setting})", why)
    elif np.ptp(known) == 0:
        for what in ("correlations", "prediction"):
            yield missing(f"{what} ({setting})", f"{predictor.label} is the same for all models")
    elif n < FEWEST_FOR_INTERVAL:
        why = f"{models}; at least {FEWEST_FOR_INTERVAL} are needed"
        yield missing(f"intervals of correlations ({setting})", why)
    if n < FEWEST_FOR_PREDICTION:
        yield missing("prediction", f"{models}; at least {FEWEST_FOR_PREDICTION} are needed")
    yield from _on_families(setting, one)
    for name, scores in zip(one.datasets, one.scores.T, strict=True):
        if len(scores) > 1 and np.isfinite(scores).all() and np.ptp(scores) == 0:
            why = "all models have the same accuracy"
            yield missing(f"correlation on {name} ({setting})", why)


def _on_families(setting: str, one: Matrix) -> Rows:
    known = one.family[np.isfinite(one.values)]
    what, families = f"family-clustered intervals ({setting})", len(np.unique(known))
    if families == len(known):
        yield missing(what, "each model is a family of its own")
    elif families < FEWEST_FOR_INTERVAL:
        found = "1 family" if families == 1 else f"{families} families"
        yield missing(what, f"{found} of models; at least {FEWEST_FOR_INTERVAL} are needed")


def _on_intervals(tables: Mapping[str, pd.DataFrame]) -> Rows:
    """Name single intervals that could not be had where others of their kind could."""
    rows = tables["correlations"]
    flat = rows[
        rows["estimate"].notna() & rows["low"].isna() & (rows["n_models"] >= FEWEST_FOR_INTERVAL)
    ]
    for (setting, statistic), of in flat.groupby(["setting", "statistic"], sort=False):
        why = "without one of the models, accuracies do not vary"
        if of["estimate"].abs().gt(1 - EXACT).all():
            why = "the relation is exact: the spread of other models is unknown"
        yield missing(f"interval of {statistic} ({setting}): {', '.join(of['group'])}", why)
    few = tables["model_sets"].query("n_models < @FEWEST_FOR_INTERVAL")
    for setting in few["setting"]:
        why = f"shared models: fewer than {FEWEST_FOR_INTERVAL}, which an interval needs"
        yield missing(f"intervals of the two model sets ({setting})", why)


def remarks_on(
    tables: Mapping[str, pd.DataFrame],
    frame: pd.DataFrame,
    full: Mapping[str, Matrix],
    predictor: Predictor,
) -> Rows:
    """Yield rows of the table `notes`: how numbers were treated, and where intervals mislead."""
    yield from _on_edges(frame)
    for setting, one in full.items():
        label = setting_label(setting)
        if one.weight is not None:
            share = one.weight / one.weight.sum()
            names = [f"{one.datasets[j]} {share[j]:.1%}".replace("%", " %")
                     for j in np.argsort(-share, kind="stable")]  # fmt: skip
            what = f"means over datasets are weighted by the number of test images ({label})"
            yield _remark(what, first_few(names))
        yield from _on_large_family(label, one)
        yield from _on_far_values(label, one, predictor)
    # The datasets may be too few to tell most models from the best.
    for setting, rows in tables["model_means"].groupby("setting", sort=False):
        compared = rows[~rows["best"].astype(bool) & rows["not_different"].notna()]
        same = int(compared["not_different"].astype(bool).sum())
        if len(compared) >= MANY_MODELS and 2 * same > len(compared):
            yield _remark(
                f"{same:,} of {len(compared):,} models are not significantly different from the "
                f"best ({setting_label(setting)})",
                f"{rows['of_datasets'].iloc[0]} datasets say little about so many models: a wide "
                "interval is no evidence that models are equal",
            )


def _remark(about: str, note: str) -> Row:
    return row("notes", about=about, note=note)


def _on_edges(frame: pd.DataFrame) -> Iterator[Row]:
    """Count and name accuracies of exactly 0 or 100 %, and what they are taken for."""
    edge = at_edge(frame)
    if not edge.any():
        return
    names = (frame["model"] + " on " + frame["dataset"] + " ("
             + frame["setting"].map(setting_label) + ")")  # fmt: skip
    sized = frame["n_test"] > 0 if "n_test" in frame else pd.Series(False, index=frame.index)
    counted, guessed = edge & sized, edge & ~sized
    if counted.any():
        yield _remark(
            f"{counted.sum()} of {len(frame)} accuracies are exactly 0 or 100 %",
            "taken as (k + 0.5) / (n + 1) of k right answers of n test images: "
            + first_few(names[counted].tolist()),
        )
    if guessed.any():
        distance = (100 * edge_distances(frame)[guessed]).groupby(frame["dataset"]).first()
        how = ", ".join(f"{dataset} {value:.3g}" for dataset, value in distance.head(SOME).items())
        more = ", ..." if len(distance) > SOME else ""
        yield _remark(
            f"{guessed.sum()} of {len(frame)} accuracies are exactly 0 or 100 % and their test-set "
            "sizes are missing (add a column n_test)",
            "taken as half a unit of the last digit from there, of unrounded numbers half the "
            f"smallest distance of the others, in points: {how}{more}: "
            + first_few(names[guessed].tolist()),
        )


def _on_large_family(label: str, one: Matrix) -> Rows:
    """Warn of intervals over families where one family holds most models.

    By the effective number of families, (sum of sizes)^2 / sum of squared sizes (Kish 1965).
    """
    known = one.family[np.isfinite(one.values)]
    sizes = np.unique(known, return_counts=True)[1]
    if len(sizes) < FEWEST_FOR_INTERVAL or sizes.max() <= len(known) / 2:
        return
    effective = sizes.sum() ** 2 / (sizes**2).sum()
    yield _remark(
        f"intervals over families ({label}) are unreliable",
        f"one family holds {sizes.max()} of {len(known)} models, so that the {len(sizes)} families "
        f"count as {effective:.1f}: set families of your own in a column family",
    )


def _on_far_values(label: str, one: Matrix, predictor: Predictor) -> Rows:
    """Name models whose predictor is far from all others: lines and r depend on them.

    Beyond three interquartile ranges from the quartiles, on its scale (Tukey 1977, "far out").
    """
    known = np.isfinite(one.values)
    if known.sum() < FEWEST_FOR_INTERVAL:
        return
    values, x = one.values, one.x
    low, high = np.quantile(x[known], [0.25, 0.75])
    far = np.flatnonzero(known & ((x < low - 3 * (high - low)) | (x > high + 3 * (high - low))))
    if len(far):
        names = [f"{one.models[i]} {predictor.scale.text(values[i])}" for i in far]
        yield _remark(
            f"{predictor.label} of {len(far)} of {known.sum()} models is far from all others "
            f"({label})",
            f"correlations, lines and predictions depend on them: {first_few(names)}",
        )
