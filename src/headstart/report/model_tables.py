"""The tables of models: the leaderboard, accuracies by dataset, means and ranks."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from headstart.analysis import Analysis
from headstart.predictors import Predictor
from headstart.report.page_model import (
    INTERVAL,
    MODEL,
    NEVER,
    SETTING,
    Column,
    Names,
    PageCell,
    PageTable,
    Record,
    correction_sentence,
    filled,
    filter_keys,
    marker_legend,
    mean_and_error,
    named,
    pivoted,
    records,
)
from headstart.spec import plain_name
from headstart.spec.formatting import (
    STANDARD_ERRORS,
    capitalized,
    decimals,
    interval,
    known,
    number,
    setting_label,
)

__all__ = ["ON_LEADERBOARD", "accuracy_table", "leaderboard", "means_table", "predictor_column"]

# Columns of the table of means that a leaderboard has, too.
ON_LEADERBOARD = ("accuracy", "difference", ("difference_low", "difference_high"), "rank",
                  ("rank_low", "rank_high"))  # fmt: skip
# By their plain names.
METRICS = {
    "top1": "top-1 accuracy",
    "meanperclass": "mean per-class accuracy",
    "11pointmap": "11-point mAP",
    "vocmap11point": "11-point mAP",
}
WHOLE, SIGNED, PROPORTION = decimals(0), decimals(3, plus=True), decimals(2, scale=100)
# What a model costs: its column in the analysis, the heading, the unit, a divisor.
COSTS = (
    ("parameters", "Parameters", "(M)", 1e6),
    ("multiply_adds", "Multiply-adds", "(G)", 1e9),
    ("throughput", "Images/s", "(GPU)", 1.0),
    ("throughput_cpu", "Images/s", "(CPU)", 1.0),
)
MODEL_IN_SETTING = ["setting", "model"]


def leaderboard(subject: Analysis, names: Names) -> list[PageTable]:
    """Return one table per setting, the best model first; columns only where anything is known."""
    tables = [board_of(subject, names, setting) for setting in names.settings]
    return [table for table in tables if table.rows]


def board_of(subject: Analysis, names: Names, setting: str) -> PageTable:
    cells, means, trained = (
        table[table.setting == setting]
        for table in (subject.cells, subject.model_means, subject.ablation)
    )
    one = cells.dataset.nunique() == 1
    rows = board_rows(subject, names, cells, means)
    # Each model in its last training configuration.
    last = trained.sort_values("position", kind="stable").drop_duplicates("model", keep="last")
    configurations = dict(zip(last.model, map(str, last.configuration), strict=True))
    several = len(set(configurations.values())) > 1
    if several:
        rows = [row | {"configuration": configurations.get(row["model"])} for row in rows]
    mine = set(subject.above_line.model)

    def name(row: Record) -> PageCell:
        return PageCell(row["model"], marker="own" if row["model"] in mine else "")

    accuracies = dataset_columns(names)
    if one:
        # A single accuracy is what models are ranked by.
        ranked_by = [replace(column, unit="%", aside=span("low", "high", 1, 100), second=INTERVAL)
                     for column in accuracies]  # fmt: skip
        ranked_by += difference_columns(cells, 1, 100, "pp")
    else:
        ranked_by = [
            Column("Mean", "accuracy", decimals(1, scale=100), "%"),
            mean_and_error("Mean log odds", digits=2, note=means_note(subject, means), marked=True,
                           second="Standard error"),
            *difference_columns(means, 2, 1, "(log odds)"),
        ]  # fmt: skip
    columns = [
        replace(MODEL, of=name),
        Column("Rank", "rank", decimals(0), second="95 % interval of the rank",
               aside=span("rank_low", "rank_high", 0)),
        named("Training", "configuration"),
        *ranked_by,
        predictor_column(subject.predictor),
        *(Column(label, name, partial(significant, by=by), unit) for name, label, unit, by in COSTS
          if name != subject.predictor.column),
        *([] if one else accuracies),
    ]  # fmt: skip
    marks = marker_legend(cells, means.iloc[:0] if one else means)
    legend = [marks]
    if not one and len(rows) > 1:
        legend.append("Ranked by mean log odds.")
    if several:
        legend.append("Models are in their last training configuration, which is not the same for "
                      "all (column Training).")  # fmt: skip
    elif configurations:
        legend.append(f"Training configuration: {next(iter(configurations.values()))}.")
    return filled(
        f"leaderboard-{names.settings.index(setting)}", setting_label(setting), columns, rows,
        names, keys=filter_keys(names, setting=setting),
        marker_legend=" ".join(filter(None, legend)),
        marks=bool(marks),
        note=metrics_note(cells) if cells.metric.notna().any() else "",
    )  # fmt: skip


def board_rows(subject: Analysis, names: Names, cells: Any, means: Any) -> list[dict[str, Any]]:
    """Return one row per model of a setting: its mean, rank, costs and, ``at``, its cells."""
    one = cells.dataset.nunique() == 1
    own = cells.assign(score=cells["log_odds"]) if one else means.assign(score=means["mean"])
    own = with_ranks(own.drop(columns=subject.predictor.column), subject)
    own = own.merge(subject.models[["model", *(name for name, *_ in COSTS)]], "left", "model")
    # Intervals that leave all ranks open say nothing.
    if not (own["rank_high"] - own["rank_low"] < cells.model.nunique() - 1).any():
        own = own.assign(rank_low=None, rank_high=None)
    places = own["score"].astype(float).rank(ascending=False, method="min")
    own = own.assign(rank=own["rank"].astype(float).fillna(places))
    # Not the dataset and setting, which rows would be filtered by.
    kept = own.reindex(columns=own.columns.union(["mean", "se"]).difference(["dataset", "setting"]))
    own_of = {row["model"]: row for row in kept.to_dict("records")}
    rows = [
        {**own_of.get(row["model"], dict.fromkeys(kept)), "model": row["model"], "at": row["at"],
         subject.predictor.column: row[subject.predictor.column]}
        for row in pivoted(records(cells, names), ["model"], "dataset")
    ]  # fmt: skip
    return sorted(rows, key=lambda row: -row["score"] if known(row["score"]) else float("inf"))


def with_ranks(table: Any, subject: Analysis) -> Any:
    """Add `rank`, `rank_low` and `rank_high` to rows of models in settings."""
    ranks = subject.ranks.rename(columns={"low": "rank_low", "high": "rank_high"})
    ranks = ranks[[*MODEL_IN_SETTING, "rank", "rank_low", "rank_high"]]
    return table.merge(ranks, "left", MODEL_IN_SETTING)


def difference_columns(table: Any, digits: int, scale: float, unit: str) -> list[Column]:
    """Return the difference from the best with its interval, if any model was tested."""
    if table.difference_low.isna().all():
        return []
    text = decimals(digits, plus=True, scale=scale)

    def tested(row: Record) -> Any:
        if row["best"]:
            return PageCell("best", 0.0)
        return row["difference"] if known(row["difference_low"]) else None

    return [
        Column("Difference from best", of=tested, format=text, unit=unit,
               aside=span("difference_low", "difference_high", digits, scale),
               second="95 % interval of the difference")
    ]  # fmt: skip


def span(low: str, high: str, digits: int, scale: float = 1) -> Callable[[Record], str]:
    """Return what makes an interval in brackets of a row; empty if unknown."""

    def text(row: Record) -> str:
        between = interval(row[low], row[high], digits, scale)
        return f"({between})" if between else ""

    return text


def significant(value: float, by: float = 1) -> str:
    """Return a positive number, divided `by` a unit, with three significant digits.

    Examples
    --------
    >>> significant(0.04217), significant(5.288), significant(25_557_000, 1e6), significant(1234.5)
    ('0.0422', '5.29', '25.6', '1,234')
    """
    value /= by
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.{1 if value >= 10 else 2 if value >= 1 else 3}{'f' if value >= 1 else 'g'}}"


def accuracy_table(subject: Analysis, names: Names, setting: str, digits: int = 1) -> PageTable:
    """Return models by datasets in percent, with the mean accuracy and the mean log odds."""
    cells, means = (
        table[table.setting == setting] for table in (subject.cells, subject.model_means)
    )
    mean_of = {row["model"]: row for row in means.to_dict("records")}
    rows = [
        {"model": row["model"], **mean_of.get(row["model"], {}), "at": row["at"]}
        for row in pivoted(records(cells, names), ["model"], "dataset")
    ]
    rows.sort(key=lambda row: names.places["model"][row["model"]])
    columns = [
        MODEL,
        Column("Mean", "accuracy", decimals(digits, scale=100), unit="%"),
        mean_and_error("Mean log odds", digits=2, marked=True, note=means_note(subject, means)),
        *dataset_columns(names, digits),
    ]
    legend = marker_legend(cells, means)
    return filled(
        f"accuracy-{names.settings.index(setting)}",
        f"{setting_label(setting)}: accuracy in percent", columns, rows, names,
        keys=filter_keys(names, setting=setting), note=metrics_note(cells),
        marker_legend=legend, marks=bool(legend),
    )  # fmt: skip


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
        name = METRICS.get(plain_name(str(metric)), str(metric))
        name = name if known(metric) else "metric not given"
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
    means = with_ranks(subject.model_means, subject)
    one = not (means.of_datasets > 1).any()
    if one:
        # A mean over one dataset is its cell, which is tested on the test images.
        verdicts = ["best", "not_different"]
        cells = subject.cells[[*MODEL_IN_SETTING, *verdicts]]
        means = means.drop(columns=verdicts).merge(cells, "left", MODEL_IN_SETTING)
        means = means.assign(rank_low=None, rank_high=None)
    # The best has no difference from itself.
    best = means.best.astype(bool)
    means = means.assign(**{of: means[of].mask(best) for of in ("difference", "odds_ratio")})

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
        Column("Rank", "rank", WHOLE),
        Column(f"Rank, {INTERVAL}", ("rank_low", "rank_high"), WHOLE, detail=1),
        *([] if one else [Column("Datasets", datasets, detail=2)]),
    ]  # fmt: skip
    over = "Log odds" if one else "Mean log odds over datasets"
    cells = subject.cells if one else subject.cells.iloc[:0]
    legend = marker_legend(cells, means.iloc[:0] if one else means)
    note = "" if one or means.difference_low.isna().all() else correction_sentence(subject)
    rows = records(means, names, "mean")
    return filled(
        "means", over, columns, rows, names, note=note, marker_legend=legend, marks=bool(legend)
    )
