"""Results -> tables: one row per result; of a trial all that was tried, and the choice."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from headstart.cli.terminal_tables import column_table, table_parts
from headstart.labels import kind_of
from headstart.metrics import AtChance
from headstart.report.page_model import Column, PageCell, filled, named, pivoted
from headstart.spec import Dataset, Result, Value
from headstart.spec.formatting import count, decimals, number_label
from headstart.stats import wilson_interval
from headstart.store import Tried, data_warnings, left_out, result_row
from headstart.store.results_frame import finite

__all__ = ["grid", "record", "results", "shown", "sizes_line", "under_way_line"]


KEY_DIGITS = 12
CHOSEN, DIVERGED = "*", "diverged"
# Of a row of the curve: what it reached, and how its fit went.
NOT_TRIED = {"accuracy", "converged", "log_loss", "objective", "passes", "relative_gap"}
# What is said of the whole trial in each row of its grid.
TOLD = ("model", "weights", "dataset", "setting", "protocol", "seed", "limit", "examples_per_class")
# Said once under the table where all rows agree.
SHARED = (
    "configuration", "setting", "protocol", "metric", "precision", "seed", "limit", "steps",
    "examples_per_class",
)  # fmt: skip

HEADINGS = {"examples_per_class": "per class", "configuration": "training"}


def results(found: Sequence[Result], superseded: Sequence[bool] = ()) -> Group:
    """One row per result; top-1 accuracies with their 95 % interval from the size of the test set.

    What all rows share is said once, below. Where some results are superseded (one value per
    result), a column marks them.
    """
    rows = [result_row(result) for result in found]
    varying = [name for name in SHARED if len({row[name] for row in rows}) > 1]
    # What was chosen on validation; several hyperparameters share a column, to keep it narrow.
    names = list(dict.fromkeys(name for r in found if r.selection for name in r.selection.chosen))
    in_percent = decimals(2, scale=100)
    columns = [
        named("model", "model"),
        Column(_upstream_heading(found), "upstream_accuracy", in_percent, detail=2),
        named("dataset", lambda row: _dataset(row, rows)),
        # Of how a model was trained what stands before a colon.
        *(named(HEADINGS.get(name, name), name,
                lambda level: str(level).partition(": ")[0]) for name in varying),
        Column("accuracy", "accuracy", in_percent),
        Column("95 % interval", ("low", "high"), decimals(1, scale=100), detail=1),
        Column("n", "n_test", str, detail=2),
        Column(names[0] if len(names) == 1 else "chosen",
               lambda row: PageCell(_chosen(row["result"])), detail=1),
        Column("time", "seconds", lambda seconds: f"{seconds:.1f} s", detail=3),
    ]  # fmt: skip
    whole = [
        row | {"result": result, **_interval(result)}
        for row, result in zip(rows, found, strict=True)
    ]
    if any(superseded):
        columns.append(Column("", "superseded", lambda old: "superseded" if old else ""))
        whole = [row | {"superseded": old} for row, old in zip(whole, superseded, strict=True)]
    table = filled("results", "", columns, whole)
    said = [_shared_by_all(rows, varying), *_legend(found), *_convergence(rows)]
    lines = [Text(line, style="dim") for line in said]
    return Group(*table_parts(table), *lines, *_warnings(found, rows))


def _upstream_heading(found: Sequence[Result]) -> str:
    """Name the upstream task; what was pretrained here may know another than ImageNet."""
    known = [result.trial.model.upstream for result in found]
    names = {first.dataset.partition("-")[0] for first, *_ in filter(None, known)}
    return "ImageNet" if names <= {"ImageNet"} else "upstream"


def _dataset(row: Mapping[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    """Name a dataset, with its content where others of that name have another."""
    name = str(row["dataset"])
    several = {other["content"] for other in rows if other["dataset"] == name}
    return f"{name} ({row['content']})" if len(several) > 1 else name


def sizes_line(dataset: Dataset) -> str:
    """State how much of a dataset is used."""
    used = dict(dataset.used_sizes)
    parts = [f"{used[split]:,} of {size:,} {split}" for split, size in dataset.sizes]
    return f"{dataset.name}: {', '.join(parts)} images"


def _shared_by_all(rows: Sequence[dict[str, Any]], varying: Sequence[str]) -> str:
    if not rows:
        return "no results yet"
    shared = ["accuracies in percent"]
    shared += [
        f"{name} {rows[0][name]}"
        for name in SHARED
        if name not in varying and rows[0][name] is not None
    ]
    return ", ".join(shared)


def _convergence(rows: Sequence[dict[str, Any]]) -> list[str]:
    """State whether the regressions of the table converged, and how far from it they are."""
    fitted = [row for row in rows if row["relative_gap"] is not None]
    if not fitted:
        return []
    gap = f"largest relative duality gap {max(row['relative_gap'] for row in fitted):.1e}"
    if any(row["unconverged"] for row in fitted):
        return [gap]
    which = "all fits" if len(fitted) == len(rows) else "all logistic regressions"
    return [f"{which} converged ({gap})"]


def _warnings(found: Sequence[Result], rows: Sequence[dict[str, Any]]) -> list[Text]:
    counts = {
        "fits that did not reach their tolerance": sum(row["unconverged"] for row in rows),
        "broken images left out": len(left_out(found)),
    }
    lines = [f"{what}: {n}" for what, n in counts.items() if n]
    if on_edge := sum(bool(row["on_edge"]) for row in rows):
        lines.insert(
            0, f"{count(on_edge, 'trial')} selected a value at the edge of the search grid"
        )
    lines += [
        f"warning: {result.trial.title}: {AtChance(**chance).text}"
        for result in found
        if (chance := result.provenance.get("at_chance"))
    ]
    lines += [
        f"data warnings: {name}: {', '.join(dict.fromkeys(codes.values())).replace('-', ' ')} "
        "(headstart results show)"
        for name, codes in data_warnings(found).items()
    ]
    return [Text(line, style="yellow") for line in lines]


def _chosen(result: Result) -> str:
    """Write the choices, in the order in which the setting names them."""
    chosen = result.selection.chosen if result.selection else {}
    values = [chosen[name] for name in result.trial.setting.chosen if name in chosen]
    return " / ".join(map(number_label, values)) or "-"


def _legend(found: Sequence[Result]) -> list[str]:
    """Return which choices stand in a column that has several."""
    orders = dict.fromkeys(result.trial.setting.chosen for result in found)
    if len(orders) == 1 and all(len(names) == 1 for names in orders):
        return []
    said = (" / ".join(name.replace("_", " ") for name in names) for names in orders)
    return [f"chosen: {', or '.join(said)}"] if orders else []


def _interval(result: Result) -> dict[str, Any]:
    """Return the ends of the interval of a top-1 accuracy; nothing for other metrics."""
    if result.accuracy is None or result.trial.dataset.metric != "top-1":
        return {}
    return vars(wilson_interval(result.accuracy, result.n_test))


def grid(one: Tried) -> list[dict[str, Any]]:
    """One row per evaluation on validation: of which trial, what was tried, what it reached."""
    about = _about(one)
    return [
        {
            **about,
            "status": DIVERGED if one.diverged(row) else "complete",
            "chosen": one.is_chosen(row),
            **{name: finite(value) for name, value in row.items()},
        }
        for row in one.curve
    ]


def record(one: Tried) -> dict[str, Any]:
    """All of a trial: its row, its metrics, its grid."""
    told = result_row(one.result) if one.result else _about(one)
    rows = [{n: v for n, v in row.items() if n not in (*TOLD, "key")} for row in grid(one)]
    metrics = one.result.metrics if one.result else {}
    status = "complete" if one.result else "partly measured"
    warned = one.result.provenance.get("data_warnings", []) if one.result else []
    about = {"status": status, "metrics": metrics, "data_warnings": warned}
    return {**told, **about, "validation": rows}


def _about(one: Tried) -> dict[str, Any]:
    """Return which trial it is; of one without a result as far as that is known."""
    known = one.result or (Result(trial=one.trial) if one.trial else None)
    told = result_row(known) if known else {}
    return {"key": one.key, **{name: told.get(name) for name in TOLD}}


def shown(one: Tried) -> Group:
    """For the screen: what was reached, the surface or path of validation, the choice."""
    lines = [one.title, f"key {one.key}"]
    if one.result:
        row = result_row(one.result)
        options = ("protocol", "precision", "limit", "examples_per_class")
        lines += [", ".join(f"{_words(name)} {row[name]}" for name in options if row[name])]
        lines += [_metrics(one.result)]
    else:
        lines += [f"no result yet: {_progress(one)} measured"]
    parts: list[RenderableType] = [Text(line) for line in lines]
    if any("learning_rate" in row for row in one.curve):
        for steps in sorted({float(row["steps"]) for row in one.curve}, reverse=True):
            parts += [Text(f"\nvalidation accuracy in percent after {steps:,.0f} steps")]
            parts += [_surface(one, steps)]
    else:
        parts += [Text("\nvalidation accuracy in percent"), _path(one)]
    if one.chosen:
        said = ", ".join(
            f"{_words(name)} {number_label(value)}" for name, value in one.chosen.items()
        )
        parts += [Text(f"{CHOSEN} chosen: {said}")]
    parts += [
        Text(
            f"{_words(name)} {number_label(one.chosen[name])} is at the edge of the search grid: a "
            "better one may lie beyond",
            style="yellow",
        )
        for name in one.on_edge
    ]
    if one.result:
        warned = data_warnings([one.result]).get(one.result.trial.dataset.name, {})
        parts += [Text(f"data warning: {text}", style="yellow") for text in warned]
    return Group(*parts)


def _metrics(result: Result) -> str:
    """Accuracies in percent, and beside them what the probabilities are worth."""
    metrics = result.metrics
    parts = [
        f"{name} {100 * metrics[name]:.2f} %"
        for name in kind_of(result.trial.dataset.metric).metrics
        if name in metrics
    ]
    if "log-loss" in metrics:
        parts.append(f"log loss {metrics['log-loss']:.4f} nats")
    if "calibration-error" in metrics:
        parts.append(f"calibration error {100 * metrics['calibration-error']:.2f} %")
    return f"on {result.n_test:,} test images: {', '.join(parts)}"


def _surface(one: Tried, steps: float) -> Group:
    """One row per learning rate, one column per weight decay; of each pair its best crop."""
    rows = [row for row in one.curve if row["steps"] == steps]
    rates, weight_decays = (
        sorted({float(row[name]) for row in rows}) for name in ("learning_rate", "weight_decay")
    )

    def cell(row: Mapping[str, Any]) -> PageCell | None:
        return _cell(one, [
            tried for tried in rows
            if (tried["learning_rate"], tried["weight_decay"]) == (row["rate"], row["decay"])
        ])  # fmt: skip

    columns = [
        Column("learning rate", "rate", number_label),
        *(
            Column(f"decay {number_label(decay)}", cell, at=str(decay), marked=True)
            for decay in weight_decays
        ),
    ]
    pairs = [{"rate": rate, "decay": decay} for rate in rates for decay in weight_decays]
    return column_table(columns, pivoted(pairs, ["rate"], "decay"))


def _cell(one: Tried, rows: Sequence[dict[str, Value]]) -> PageCell | None:
    """State what candidates reached; nothing if none was trained for so long."""
    if not rows:
        return None
    if all(one.diverged(row) for row in rows):
        return PageCell(DIVERGED)
    best = 100 * max(float(row["accuracy"]) for row in rows)
    chosen = any(one.is_chosen(row) for row in rows)
    return PageCell(f"{best:.2f}", marker="chosen" if chosen else "")


def _path(one: Tried) -> Group:
    """One row per value that was tried; the certificate of a fit where there is one."""
    tried = [name for name in one.curve[0] if name not in NOT_TRIED]
    columns = [
        *(Column(_words(name), name, number_label) for name in tried),
        Column("accuracy", lambda row: _cell(one, [dict(row)]), marked=True),
        Column("gap", "relative_gap", "{:.1e}".format),
    ]
    return column_table(columns, one.curve)


def under_way_line(one: Tried) -> str:
    """State in one line how far a trial is that has no result yet."""
    named = f"{one.title}, " if one.trial else ""
    return f"{named}{_progress(one)} measured, key {one.key[:KEY_DIGITS]}"


def _progress(one: Tried) -> str:
    """Return how many candidates were measured, of how many where that is known."""
    n = f"{one.n_measured:,}"
    if one.trial is None:
        return "1 candidate" if one.n_measured == 1 else f"{n} candidates"
    planned = one.trial.setting.n_measurements
    return f"{n} of {planned:,} candidate{'' if planned == 1 else 's'}"


def _words(name: str) -> str:
    return name.replace("_", " ")
