"""The tables of statistics: correlations, settings, sweeps, pairs, predictors, two sources."""

from collections.abc import Callable, Container
from pathlib import PurePath
from typing import Any

from headstart.analysis import UPSTREAM, Analysis, prediction_summary
from headstart.report.model_tables import ON_LEADERBOARD, means_table, predictor_column
from headstart.report.page_model import (
    DATASET,
    INTERVAL,
    MODEL,
    NEVER,
    OTHER,
    SETTING,
    Column,
    Names,
    PageCell,
    PageTable,
    Record,
    filled,
    filter_keys,
    mean_and_error,
    named,
    pivoted,
    records,
)
from headstart.report.sentences import over_all
from headstart.spec.formatting import (
    UNKNOWN,
    coefficient,
    coefficient_interval,
    decimals,
    interval,
    known,
    number,
    p_value,
    setting_label,
    short_configuration,
)

__all__ = [
    "MOST_PAIRS",
    "compared_names",
    "comparison_tables",
    "correlation_table",
    "effects_table",
    "mixed_table",
    "pairs_table",
    "predictors_table",
    "result_tables",
    "settings_table",
    "study_tables",
]

STATISTICS = {
    "pearson_logit": "Pearson r, log odds",
    "pearson_plain": "Pearson r, accuracy",
    "spearman": "Spearman ρ",  # noqa: RUF001
    "kendall": "Kendall τ",
}
WHOLE, SIGNED, PROPORTION = decimals(0), decimals(3, plus=True), decimals(2, scale=100)


def result_tables(subject: Analysis, names: Names) -> list[PageTable]:
    """Return the tables of estimates and tests, except the pairs, that have rows."""
    tables = [
        # Without what a leaderboard has.
        means_table(subject, names).without(
            lambda column: column.of in (*ON_LEADERBOARD, subject.predictor.column)
        ),
        correlation_table(subject, names),
        settings_table(subject, names),
        *comparison_tables(subject, names),
        predictors_table(subject, names),
        mixed_table(subject, names),
        prediction_table(subject, names),
    ]
    return [table for table in tables if table.rows]


def correlation_table(subject: Analysis, names: Names, without: Container[str] = ()) -> PageTable:
    """Return the correlations of each group of datasets, except some groups."""
    labels = {"all": "all datasets"}
    # Of one dataset, every group is the whole.
    one = not (subject.correlations["n_datasets"] > 1).any()
    rows = [
        row | {"dataset": row["group"], "over": labels.get(row["group"], row["group"])}
        for row in pivoted(records(subject.correlations, names), ["setting", "group"], "statistic")
        if row["group"] not in without and (row["group"] == "all" or not one)
    ]

    def aside(row: Record) -> str:
        return coefficient_interval(row["low"], row["high"])

    kinds = [name for name in STATISTICS if any(name in row["at"] for row in rows)]
    first = [name for name in kinds if name == "pearson_logit"]

    def estimate(name: str, **more: Any) -> Column:
        return Column(STATISTICS[name], "estimate", coefficient, at=name, **more)

    def between(of: str, suffix: str = "") -> list[Column]:
        ends = f"low{suffix}", f"high{suffix}"
        return [Column(f"{INTERVAL} ({of})", ends, coefficient, at=name)
                for name in first]  # fmt: skip

    columns = [
        SETTING,
        *([] if one else [named("Dataset group", "over")]),
        *(estimate(name) for name in first),
        *between("models"),
        *between("families", "_family"),
        *(estimate(name, aside=aside, detail=2) for name in kinds if name not in first),
        Column("Models", "n_models", WHOLE, detail=1),
        *([] if one else [Column("Datasets", "n_datasets", WHOLE, detail=1)]),
    ]  # fmt: skip
    note = (
        "The 95 % confidence intervals generalise to other models, and to other model families "
        "(Fisher's z with a jackknife standard error); at least five models or families are needed."
    )
    caption = f"Correlation of {subject.predictor.label} and transfer accuracy"
    return filled("correlations", caption, columns, rows, names, note=note)


def settings_table(subject: Analysis, names: Names) -> PageTable:
    """Return every setting compared with those before it."""
    place = names.places["setting"]
    rows = [row for row in records(subject.settings, names)
            if place.get(row["setting"], -1) > place.get(row["other"], -1)]  # fmt: skip
    columns = [
        SETTING,
        named("Compared with", "other", setting_label),
        Column("Wins", "wins", WHOLE),
        Column("Ties", "ties", WHOLE),
        Column("Cells", "cells", WHOLE),
        Column("Mean difference in log odds", "difference", SIGNED),
        Column(INTERVAL, ("low", "high"), decimals(3)),
    ]
    note = "A win is a cell (one model on one dataset) where the setting has the higher accuracy."
    caption = "Pairwise comparison of settings"
    return filled("settings", caption, columns, rows, names, other="setting", note=note)


def effects_table(subject: Analysis, names: Names) -> PageTable:
    """Return the difference at each training change and setting."""
    table = subject.effects.sort_values("position", kind="stable")
    rows = sorted(records(table, names), key=lambda row: row["position"])
    changes = {(row["before"], row["after"]): None for row in rows}
    columns = [
        named("Change", lambda row: f"{short_configuration(row['before'])} "
              f"\N{RIGHTWARDS ARROW} {row['after']}"),
        named("Setting", "setting", lambda name: (
                   subject.predictor.label if name == UPSTREAM else setting_label(name))),
        Column("Difference in log odds", "effect", SIGNED),
        Column(INTERVAL, ("low", "high"), decimals(3)),
        Column("Models", "n_models", WHOLE, detail=1),
        *([Column("Datasets", lambda row: row["n_datasets"] or None, WHOLE, detail=1)]
          if any(row["n_datasets"] > 1 for row in rows) else []),
        named("Interval for other", "sampled"),
    ]  # fmt: skip
    rows = [row for change in changes for row in rows if (row["before"], row["after"]) == change]
    note = (
        "Means of differences paired by model and dataset; the intervals are for other models or "
        "datasets, as the last column says. A single model or dataset is treated as fixed."
    )
    caption = "Difference in log odds from the previous training configuration"
    return filled("effects", caption, columns, rows, names, note=note)


def study_tables(subject: Analysis, names: Names) -> dict[str, PageTable]:
    """Return the tables below figures, by the figure's name: of sweeps, and of residuals."""
    given = {
        "ablation": study_table(subject, names, "ablation", "configuration", "Training"),
        "convergence": study_table(subject, names, "convergence", "steps", "Steps"),
        "dataset-size": study_table(
            subject, names, "dataset_size", "examples_per_class", "Examples per class"
        ),
        "heatmap": residual_table(subject, names),
    }
    return {name: table for name, table in given.items() if table.rows}


def residual_table(subject: Analysis, names: Names) -> PageTable:
    """Return models and settings by datasets: residuals from the line of each dataset."""
    cells = subject.cells[subject.cells.residual.notna()]
    place, models = names.places["setting"], names.places["model"]
    rows = pivoted(records(cells, names), ["setting", "model"], "dataset")
    rows.sort(key=lambda row: (place[row["setting"]], models[row["model"]]))
    columns = [SETTING, MODEL]
    columns += [
        Column(name, "residual", decimals(2, plus=True), at=name,
               keys=filter_keys(names, dataset=name))
        for name in names.datasets
    ]  # fmt: skip
    caption = "Residual from the dataset's least-squares line (log odds)"
    return filled("residual-table", caption, columns, rows, names)


def study_table(subject: Analysis, names: Names, of: str, level: str, label: str) -> PageTable:
    """Return the means of a sweep: a row per model (and dataset) and level."""
    table = getattr(subject, of)
    by = [name for name in ("model", "dataset", level) if name in table]
    place = {name: i for i, name in enumerate(dict.fromkeys(table["model"]))}
    rows = sorted(records(table, names), key=lambda row: place[row["model"]])
    is_name = level == "configuration"
    columns = [
        MODEL,
        *([DATASET] if "dataset" in by else []),
        Column(label, level, format=str if is_name else WHOLE, numeric=not is_name),
        predictor_column(subject.predictor),
        *(
            mean_and_error(f"{setting_label(name)}, mean log odds", at=name,
                           keys=filter_keys(names, setting=name))
            for name in names.settings
        ),
    ]  # fmt: skip
    key, caption = f"{of.removeprefix('dataset_')}-table", f"Mean log odds by {label.lower()}"
    return filled(key, caption, columns, pivoted(rows, by, "setting"), names)


# More rows of pairs make a page slow and large; the rest stays in the analysis.
MOST_PAIRS = 2000
TEST_NAMES = {
    "mcnemar": "exact McNemar",
    "permutation": "permutation",
    "paired_t": "moderated paired t",
    "wilcoxon": "Wilcoxon signed-rank",
}


def pairs_table(subject: Analysis, names: Names) -> tuple[PageTable, int]:
    """Return pairs of models, those with the best model first, and how many were left out.

    The table has at most MOST_PAIRS rows; ``data-best`` is 1 in rows with the best model.
    """
    best = best_models(subject)
    rows = records(subject.pairwise, names)
    for row in rows:
        leaders = best.get((row["setting"], row["dataset"]), set())
        row["keys"] = {"data-best": int(row["model"] in leaders or row["other"] in leaders)}
        # In percentage points on one dataset, in log odds over all.
        row["scale"] = 1 if row["dataset"] == "all" else 100
    # The closest calls first: the largest p-value.
    place = names.places["setting"]
    rows.sort(key=lambda row: -row["p_value"] if known(row["p_value"]) else 0)
    rows.sort(key=lambda row: (-row["keys"]["data-best"], place.get(row["setting"], 99),
                               row["dataset"] != "all"))  # fmt: skip

    def difference(row: Record) -> PageCell | None:
        if not known(row["difference"]):
            return None
        value = row["scale"] * row["difference"]
        unit = " pp" if row["scale"] == 100 else ""
        return PageCell(number(value, 2, plus=True) + unit, value)

    def between(row: Record) -> PageCell:
        text = interval(row["low"], row["high"], 2, row["scale"]) or UNKNOWN
        return PageCell(text, row["low"] if known(row["low"]) else None)

    columns = [
        SETTING,
        DATASET,
        MODEL,
        OTHER,
        named("Test", lambda row: TEST_NAMES.get(row["test"], row["test"])),
        Column("Difference", difference),
        Column(INTERVAL, between),
        Column("p", "p_value", p_value),
        Column("p (adjusted)", "p_adjusted", p_value),
        Column("n", "n", WHOLE),
    ]
    note = (
        "Difference: the model minus the other model, in percentage points (pp) on one dataset, in "
        "mean log odds over all datasets."
    )
    caption = "Pairwise comparison of models"
    table = filled("pairs", caption, columns, rows[:MOST_PAIRS], names, note=note)
    return table, max(0, len(rows) - MOST_PAIRS)


def best_models(subject: Analysis) -> dict[tuple[str, str], set[str]]:
    """Return the best models per setting and dataset, and of the means (``"all"``)."""
    best: dict[tuple[str, str], set[str]] = {}
    for table in (subject.cells, subject.model_means.assign(dataset="all")):
        for row in table[table["best"].astype(bool)].itertuples(index=False):
            best.setdefault((row.setting, row.dataset), set()).add(row.model)
    return best


def mixed_table(subject: Analysis, names: Names) -> PageTable:
    """Return the slope of the mixed model beside r."""
    r_of = {row["setting"]: row for row in records(over_all(subject), names)}
    rows = [row | {"at": {"r": r_of.get(row["setting"])}} for row in records(subject.mixed, names)]

    def f_test(row: Record) -> PageCell | None:
        df = f"{row['f_df']:.0f}, {row['f_df_residual']:.0f}" if known(row["f"]) else ""
        return PageCell(f"{number(row['f'], 1)} ({df})", row["f"]) if df else None

    spreads = {"slope": "slopes", "dataset": "datasets", "model": "models", "residual": "residual"}
    columns = [
        SETTING,
        Column("Mean slope", "slope", SIGNED),
        Column(INTERVAL, ("low", "high"), decimals(3)),
        Column("Standard error", "se", decimals(3), detail=1),
        Column("r", "estimate", coefficient, at="r", detail=NEVER),
        Column(f"r, {INTERVAL}", ("low", "high"), coefficient, at="r", detail=NEVER),
        *(Column(f"SD {label}", f"sd_{name}", number, detail=NEVER)
          for name, label in spreads.items()),
        Column("F (df), equal slopes", f_test),
        Column("p", "f_p", p_value),
        Column("Random slopes", numeric=False, detail=1,
               of=lambda row: "by dataset" if row["random_slopes"] else "none"),
        named("Fit", lambda row: "converged" if row["converged"] else "did not converge"),
    ]  # fmt: skip
    increase = subject.predictor.scale.label(subject.predictor.label)
    note = (
        f"Linear mixed model of the log odds of all cells on {increase}, with random intercepts "
        "per model and dataset and a random slope per dataset: the interval generalises to other "
        "models and datasets. For comparison: r of the means."
    )
    if any(not row["converged"] for row in rows):
        note += " Estimates of a fit that did not converge are unreliable."
    return filled("mixed", "Mixed model", columns, rows, names, note=note)


def prediction_table(subject: Analysis, names: Names) -> PageTable:
    """Return how often prediction intervals cover models that were left out of the fit."""
    parts = {"low": "low third", "middle": "middle third", "high": "high third",
             "family": "family left out", "top": "top third extrapolated"}  # fmt: skip
    ends = {"covered": ("cells", "model left out")}
    ends |= {f"covered_{name}": (f"n_{name}", label) for name, label in parts.items()}

    def share(held: str, n: str) -> Callable[[Record], Any]:
        return lambda row: row[held] / row[n] if row[n] else None

    columns = [
        SETTING,
        DATASET,
        named("Fit", "fit"),
        Column("Slope", "slope", decimals(2, plus=True)),
        Column("Residual SD", "residual_sd", number),
        Column("p of curvature", "curvature_p", p_value),
        *(
            Column(f"Coverage %, {label}", share(held, n), decimals(0, scale=100))
            for held, (n, label) in ends.items()
        ),
    ]
    note = (
        "Coverage: share of accuracies within the 95 % prediction interval when the model is left "
        "out (of all models, and by thirds of the predictor), when its whole family is left "
        "out, and for the top third predicted from the rest. "
    ) + " ".join(prediction_summary(subject.prediction, subject.predictor.label)[1:])
    caption = "Leave-one-model-out prediction"
    rows = records(subject.prediction, names)
    return filled("prediction", caption, columns, rows, names, note=note.strip())


def comparison_tables(subject: Analysis, names: Names) -> list[PageTable]:
    """Return the tables of one source against another, those that have rows."""
    first, other = compared_names(subject)
    counts = [Column("Models", "n_models", WHOLE, detail=1),
              Column("Datasets", "n_datasets", WHOLE, detail=1)]  # fmt: skip
    sets = [SETTING]
    for label, of in (("r", ""), ("r, other weights", "other_"), ("Difference", "difference_")):
        text = coefficient if of != "difference_" else SIGNED
        sets += [Column(label, f"{of}r", text),
                 Column(INTERVAL, (f"{of}low", f"{of}high"), text)]  # fmt: skip
    in_percent, points = decimals(1, scale=100), decimals(1, plus=True, scale=100)
    means = [
        SETTING,
        named("Model", lambda row: "all models" if row["model"] == "all" else row["model"]),
        Column("Mean difference", "mean", SIGNED),
        Column(INTERVAL, ("low", "high"), decimals(3)),
        Column("Mean difference in accuracy", "accuracy", points, unit="pp"),
        Column("Wins", "wins", WHOLE),
        Column("Ties", "ties", WHOLE, detail=1),
        *counts,
    ]  # fmt: skip
    cells = [
        SETTING,
        MODEL,
        DATASET,
        Column("First", "accuracy", in_percent, unit="%"),
        Column("Other", "other_accuracy", in_percent, unit="%"),
        Column("Difference", "difference", points, unit="pp"),
        Column(INTERVAL, ("low", "high"), in_percent),
        named("Interval", "interval", detail=1),
    ]
    labels = {"source": "Only in", "kind": "What", "name": "Name"}
    alone = [Column(label, numeric=False, of=of) for of, label in labels.items()]
    less = f"{first} less {other}"
    together = subject.options.get("correction") == "simultaneous"
    single = "hold together" if together else "are not corrected"
    tables = [
        ("model-sets", "model_sets", sets,
         f"Correlation of mean log odds with {subject.predictor.label}, models in both: "
         f"{first} against {other}", ""),
        ("compared-means", "compared_means", means, f"Mean difference in log odds: {less}",
         "Intervals are for other datasets, that of all models for other models and datasets; "
         f"those of single models {single}. A win is a cell where {first} is higher."),
        ("compared", "compared", cells, f"Difference in accuracy: {less}",
         f"First: {first}; other: {other}. Intervals are for other test images, not corrected: "
         "paired, from predictions on the same images, or independent, which is too wide if the "
         "test images are the same."),
        ("unshared", "unshared", alone, "In one of the two only", ""),
    ]  # fmt: skip
    if len(subject.compared) and (subject.compared["difference"] == 0).all():
        # The answer says that all are equal.
        tables = [table for table in tables if not table[0].startswith("compared")]
    made = []
    for key, table, columns, caption, note in tables:
        rows = getattr(subject, table)
        # Here `other` is a source, which no filter knows.
        rows = records(rows.drop(columns="other", errors="ignore"), names)
        made.append(filled(key, caption, columns, rows, names, note=note))
    return [table for table in made if table.rows]


def compared_names(subject: Analysis) -> tuple[str, str]:
    """Return what the two sources of a comparison are called: files without their folders."""
    parts: tuple[list[str], list[str]] = [], []
    for fact in subject.sources:
        parts["against" in fact].append(str(fact.get("name")))
    short = [" and ".join(PurePath(name).name for name in names) for names in parts]
    long = [" and ".join(names) for names in parts]
    first, other = short if short[0] != short[1] else long
    return (first, other) if first != other else ("the first table", "the other table")


REGRET = "regret"
LABELS = {
    "weighted_kendall": "Weighted τ",
    "kendall": "Kendall τ",
    "pearson": "Pearson r",
    REGRET: "Regret",
}
NOTE = (
    "Means over datasets, on each of which a predictor orders the models, with t intervals over "
    "datasets. Weighted τ: Kendall's, by which exchanges among the best models count more. Regret: "
    "accuracy lost by taking the model that the predictor ranks first. Difference: of weighted τ, "
    "from the baseline of mean standing on the other datasets, paired by dataset."
)


def predictors_table(subject: Analysis, names: Names) -> PageTable:
    """Return one row per setting and predictor, the best first; empty where none was judged."""
    table = subject.predictors
    means = records(table[table["dataset"] == "all"], names)
    rows = pivoted(means, ["setting", "score"], "statistic")
    first = "weighted_kendall"
    rows.sort(
        key=lambda row: (names.places["setting"][row["setting"]], -row["at"][first]["estimate"])
    )

    def label(row: Record) -> str:
        return f"{row['label']} (baseline)" if row["baseline"] else str(row["label"])

    columns = [SETTING, named("Predictor", label)]
    for name, heading in LABELS.items():
        text, unit = (decimals(2, scale=100), "points") if name == REGRET else (coefficient, "")
        columns.append(Column(heading, "estimate", text, unit, at=name))
        if name in (first, REGRET):
            columns.append(Column(INTERVAL, ("low", "high"), text, at=name))
    ends = "difference_low", "difference_high"
    columns += [
        Column("Difference from standing", "difference", coefficient, at=first, detail=1),
        Column(INTERVAL, ends, coefficient, at=first, detail=1),
        Column("Models", "n_models", WHOLE, detail=2),
        Column("Datasets", "n_datasets", WHOLE, detail=2),
    ]
    return filled("predictors", "Predictors of transfer, judged", columns, rows, names, note=NOTE)
