"""The tables of results and tests: accuracies, means, correlations, settings, pairs."""

from collections.abc import Callable, Container
from typing import Any

from headstart.analysis import UPSTREAM, Analysis, prediction_summary
from headstart.predictors import Predictor
from headstart.report.comparison_tables import comparison_tables, predictors_table
from headstart.report.page_model import (
    DATASET,
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
    marker_legend,
    mean_and_error,
    named,
    pivoted,
    records,
)
from headstart.report.sentences import over_all
from headstart.spec import plain_name
from headstart.spec.formatting import (
    STANDARD_ERRORS,
    UNKNOWN,
    capitalized,
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
    "accuracy_table",
    "correction_sentence",
    "correlation_table",
    "dataset_columns",
    "effects_table",
    "means_note",
    "means_table",
    "metrics_note",
    "mixed_table",
    "pairs_table",
    "predictor_column",
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
# By their plain names.
METRICS = {
    "top1": "top-1 accuracy",
    "meanperclass": "mean per-class accuracy",
    "11pointmap": "11-point mAP",
    "vocmap11point": "11-point mAP",
}
INTERVAL = "95 % interval"
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


def accuracy_table(subject: Analysis, names: Names, setting: str, digits: int = 1) -> PageTable:
    """Return models by datasets in percent, with the mean accuracy and the mean log odds."""
    cells, means = subject.cells, subject.model_means
    cells = cells[cells.setting == setting] if len(cells) else cells
    means = means[means.setting == setting] if len(means) else means
    by_model = {row["model"]: row["at"] for row in pivoted(records(cells, names), ["model"],
                                                           "dataset")}  # fmt: skip
    mean_of = {row["model"]: row for row in records(means, names)}
    rows = [
        {"model": model, **mean_of.get(model, {}), "at": by_model[model]}
        for model in names.models
        if model in by_model
    ]
    columns = [
        MODEL,
        Column("Mean", "accuracy", decimals(digits, scale=100), unit="%"),
        mean_and_error("Mean log odds", digits=2, marked=True, note=means_note(subject, means)),
        *dataset_columns(names, digits),
    ]
    return filled(
        f"accuracy-{names.settings.index(setting)}",
        f"{setting_label(setting)}: accuracy in percent",
        columns,
        rows,
        names,
        keys=filter_keys(names, setting=setting),
        note=metrics_note(cells),
        marker_legend=marker_legend(cells, means),
    )


def dataset_columns(names: Names, digits: int = 1) -> list[Column]:
    """Return the columns of accuracies on each dataset, of rows that are pivoted by dataset."""

    def aside(row: Record) -> str:
        several = known(row["n_seeds"]) and row["n_seeds"] > 1
        seeds = f"{int(row['n_seeds'])} seeds, SD {number(row['seed_sd'])}" if several else ""
        return "; ".join(filter(None, [interval(row["low"], row["high"], digits, 100), seeds]))

    return [
        Column(name, "accuracy", decimals(digits, scale=100), at=name, marked=True,
               aside=aside, keys=filter_keys(names, dataset=name))
        for name in names.datasets
    ]  # fmt: skip


def metrics_note(cells: Any) -> str:
    """Return the metric of every dataset.

    Examples
    --------
    >>> import pandas as pd
    >>> metrics_note(pd.DataFrame({"dataset": ["a", "b"], "metric": ["top-1", "mean-per-class"]}))
    'Top-1 accuracy for a; mean per-class accuracy for b.'
    """
    of: dict[str, dict[str, None]] = {}
    for dataset, metric in zip(cells["dataset"], cells["metric"], strict=True):
        name = (
            METRICS.get(plain_name(str(metric)), str(metric))
            if known(metric)
            else "metric not given"
        )
        of.setdefault(name, {})[str(dataset)] = None
    parts = [f"{m} for {', '.join(names)}" for m, names in of.items()] if len(of) > 1 else list(of)
    text = "; ".join(parts)
    return f"{capitalized(text)}." if text else ""


def means_note(subject: Analysis, means: Any) -> str:
    """Return what the columns of means hold, and which standard error they have."""
    if not len(means):
        return ""
    holed = (means.n_datasets < means.of_datasets).any()
    adjusted = ", adjusted for missing cells by an additive model" if holed else ""
    error = STANDARD_ERRORS.get(str(subject.options.get("error_bars")), "one standard error")
    spread = f"; ± {error}" if means.se.notna().any() else ""
    return f"Means over datasets{adjusted}{spread}."


def predictor_column(predictor: Predictor, **more: Any) -> Column:
    """Return the column of the predictor, in its unit."""
    proportion = predictor.scale.name == "proportion"
    text = PROPORTION if proportion else predictor.scale.text
    return Column(predictor.heading, of=predictor.column, format=text, **more)


def means_table(subject: Analysis, names: Names) -> PageTable:
    """Return the mean log odds of every model and setting, with differences and ranks."""
    means = subject.model_means
    rank = {(row["setting"], row["model"]): row for row in records(subject.ranks, names)}
    rows = records(means, names, "mean")
    one = not (means.of_datasets > 1).any()
    cell_of = {(row["setting"], row["model"]): row for row in records(subject.cells, names)}
    for row in rows:
        if one:
            # A mean over one dataset is its cell, which is tested on the test images.
            cell = cell_of[row["setting"], row["model"]]
            row |= {"best": cell["best"], "not_different": cell["not_different"]}
        of = rank.get((row["setting"], row["model"]), {})
        ends = () if one else ("low", "high")
        row |= {f"rank_{name}": of.get(name) for name in ("rank", *ends)}
        # The best has no difference from itself.
        row |= {"difference": None, "odds_ratio": None} if row["best"] else {}

    def datasets(row: Record) -> PageCell:
        few = row["n_datasets"] < row["of_datasets"]
        of = f" of {row['of_datasets']}" if few else ""
        return PageCell(f"{row['n_datasets']}{of}", float(row["n_datasets"]))

    columns = [
        SETTING,
        MODEL,
        named("Family", "family", detail=NEVER),
        predictor_column(subject.predictor, detail=1),
        Column("Mean", "accuracy", PROPORTION, unit="%"),
        mean_and_error(
            "Log odds" if one else "Mean log odds", marked=True,
            note="" if one else means_note(subject, means),
        ),
        Column(INTERVAL, ("low", "high"), decimals(3), detail=NEVER),
        Column("Difference from best", "difference", SIGNED),
        Column(INTERVAL, ("difference_low", "difference_high"), decimals(3)),
        Column("Odds ratio to best", "odds_ratio", number, detail=2),
        Column(INTERVAL, ("odds_ratio_low", "odds_ratio_high"), number, detail=2),
        Column("Rank", "rank_rank", WHOLE),
        Column(f"Rank, {INTERVAL}", ("rank_low", "rank_high"), WHOLE, detail=1),
        *([] if one else [Column("Datasets", datasets, detail=2)]),
    ]  # fmt: skip
    over = "Log odds" if one else "Mean log odds over datasets"
    cells = subject.cells if one else subject.cells.iloc[:0]
    legend = marker_legend(cells, means.iloc[:0] if one else means)
    note = "" if one or means.difference_low.isna().all() else correction_sentence(subject)
    return filled("means", over, columns, rows, names, note=note, marker_legend=legend)


# Columns of the table of means that a leaderboard has, too.
ON_LEADERBOARD = ("accuracy", "difference", ("difference_low", "difference_high"), "rank_rank",
                  ("rank_low", "rank_high"))  # fmt: skip


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
    cells = subject.cells
    cells = cells[cells.residual.notna()] if len(cells) else cells
    place, models = names.places["setting"], names.places["model"]
    rows = pivoted(records(cells, names), ["setting", "model"], "dataset")
    rows.sort(key=lambda row: (place[row["setting"]], models[row["model"]]))
    text = decimals(2, plus=True)
    columns = [SETTING, MODEL]
    columns += [
        Column(name, "residual", text, at=name, keys=filter_keys(names, dataset=name))
        for name in names.datasets
    ]
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


def correction_sentence(subject: Analysis) -> str:
    """State whether intervals and p-values are corrected for multiple comparisons."""
    tables = [one for one in (subject.model_means, subject.pairwise) if len(one)]
    used = {name for table in tables for name in table.correction.dropna()}
    if (used or {subject.options.get("correction")}) == {"simultaneous"}:
        return (
            "Intervals of differences and adjusted p-values are corrected for multiple comparisons "
            "(Bonferroni): all intervals of one family hold simultaneously."
        )
    return "No correction for multiple comparisons is applied."


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
