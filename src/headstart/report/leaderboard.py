"""The leaderboard: per setting one row per model, with all that helps to choose one."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from headstart.analysis import Analysis
from headstart.report.page_model import (
    MODEL,
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
from headstart.report.result_tables import (
    dataset_columns,
    means_note,
    metrics_note,
    predictor_column,
)
from headstart.spec.formatting import decimals, interval, known, setting_label

__all__ = ["leaderboard"]

INTERVAL = "95 % interval"
# What a model costs: its column in the analysis, the heading, the unit, a divisor.
COSTS = (
    ("parameters", "Parameters", "(M)", 1e6),
    ("multiply_adds", "Multiply-adds", "(G)", 1e9),
    ("throughput", "Images/s", "(GPU)", 1.0),
    ("throughput_cpu", "Images/s", "(CPU)", 1.0),
)


def leaderboard(subject: Analysis, names: Names) -> list[PageTable]:
    """Return one table per setting, the best model first; columns only where anything is known."""
    tables = [of_setting(subject, names, setting) for setting in names.settings]
    return [table for table in tables if table.rows]


def of_setting(subject: Analysis, names: Names, setting: str) -> PageTable:
    """Return the leaderboard of one setting."""
    cells, means, ranks = (
        table[table.setting == setting] if len(table) else table
        for table in (subject.cells, subject.model_means, subject.ranks)
    )
    rows = rows_of(subject, names, cells, means, ranks)
    trained = configurations_of(subject, setting)
    if len(set(trained.values())) > 1:
        rows = [row | {"configuration": trained.get(row["model"])} for row in rows]
    mine = set(subject.above_line.model)

    def name(row: Record) -> PageCell:
        return PageCell(row["model"], marker="own" if row["model"] in mine else "")

    one = cells.dataset.nunique() == 1 if len(cells) else False
    accuracies = dataset_columns(names)
    if one:
        accuracies = [replace(column, unit="%", aside=span("low", "high", 1, 100), second=INTERVAL)
                      for column in accuracies]  # fmt: skip
    columns = [
        replace(MODEL, of=name),
        Column("Rank", of="rank", format=decimals(0), second="95 % interval of the rank",
               aside=span("rank_low", "rank_high", 0)),
        named("Training", of="configuration"),
        # A single accuracy is what models are ranked by.
        *((*accuracies, *difference_columns(cells, 1, 100, "pp")) if one else (
          Column("Mean", of="accuracy", format=decimals(1, scale=100), unit="%"),
          mean_and_error("Mean log odds", digits=2, note=means_note(subject, means), marked=True,
                         second="Standard error"),
          *difference_columns(means, 2, 1, "(log odds)"))),
        predictor_column(subject.predictor),
        *(Column(label, of=name, format=significant, unit=unit) for name, label, unit, _ in COSTS
          if name != subject.predictor.column),
        *([] if one else accuracies),
    ]  # fmt: skip
    metrics = metrics_note(cells) if len(cells) and cells.metric.notna().any() else ""
    legend = [marker_legend(cells, means.iloc[:0] if one else means)]
    if not one:
        legend.append("Ranked by mean log odds.")
    if len(set(trained.values())) == 1:
        legend.append(f"Training configuration: {next(iter(trained.values()))}.")
    elif trained:
        legend.append("Models are in their last training configuration, which is not the same for "
                      "all (column Training).")  # fmt: skip
    return filled(
        f"leaderboard-{names.settings.index(setting)}",
        setting_label(setting),
        columns,
        rows,
        names,
        keys=filter_keys(names, setting=setting),
        note=metrics,
        marker_legend=" ".join(legend),
    )


def configurations_of(subject: Analysis, setting: str) -> dict[str, str]:
    """Return the training configuration that each model has in a setting: its last."""
    table = subject.ablation
    if not len(table):
        return {}
    table = table[table.setting == setting].sort_values("position", kind="stable")
    return {str(row.model): str(row.configuration) for row in table.itertuples(index=False)}


def rows_of(
    subject: Analysis, names: Names, cells: Any, means: Any, ranks: Any
) -> list[dict[str, Any]]:
    """Return one row per model of a setting: its mean, rank, costs and, ``at``, its cells."""
    found = pivoted(records(cells, names), ["model"], "dataset")
    one = len(cells) and cells.dataset.nunique() == 1
    mean_of = {row["model"]: row for row in records(means, names)}
    rank_of = {row["model"]: row for row in records(ranks, names)}
    sizes = subject.models.set_index("model") if len(subject.models) else subject.models
    rows = []
    for row in found:
        model = row["model"]
        own = row if one else mean_of.get(model, {})
        rank = rank_of.get(model, {})
        costs = {
            name: sizes.at[model, name] / by
            for name, _, _, by in COSTS
            if model in sizes.index and known(sizes.at[model, name])
        }
        rows.append({
            "model": model,
            subject.predictor.column: row[subject.predictor.column],
            **costs,
            **{name: own.get(name) for name in MEANS},
            "score": own.get("log_odds" if one else "mean"),
            **{f"rank_{name}": rank.get(name) for name in ("low", "high")},
            "at": row["at"],
        })  # fmt: skip
    # Intervals that leave all ranks open say nothing.
    if not any(known(row["rank_low"]) and row["rank_high"] - row["rank_low"] < len(rows) - 1
               for row in rows):  # fmt: skip
        rows = [row | {"rank_low": None, "rank_high": None} for row in rows]
    ranked = sorted(row["score"] for row in rows if known(row["score"]))[::-1]
    for row in rows:
        place = rank_of.get(row["model"], {}).get("rank")
        row["rank"] = place or (1 + ranked.index(row["score"]) if known(row["score"]) else None)
    return sorted(rows, key=lambda row: -row["score"] if known(row["score"]) else float("inf"))


MEANS = (
    *("accuracy", "mean", "se", "best", "not_different"),
    *("difference", "difference_low", "difference_high"),
)


def difference_columns(table: Any, digits: int, scale: float, unit: str) -> list[Column]:
    """Return the difference from the best with its interval, if any model was tested."""
    if not len(table) or table.difference_low.isna().all():
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


def significant(value: float) -> str:
    """Return a positive number with three significant digits.

    Examples
    --------
    >>> significant(0.04217), significant(5.288), significant(25.557), significant(1234.5)
    ('0.0422', '5.29', '25.6', '1,234')
    """
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.{1 if value >= 10 else 2 if value >= 1 else 3}{'f' if value >= 1 else 'g'}}"
