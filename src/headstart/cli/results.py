"""What `headstart results` does: list what a store holds, show what a trial tried."""

import json as json_module
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from headstart.cli import render
from headstart.cli.streams import console
from headstart.cli.tables import plain_table
from headstart.labels import kind_of
from headstart.spec import Result, Value
from headstart.spec.labels import number_label
from headstart.store import (
    ResultStore,
    Tried,
    data_warnings,
    result_row,
    results_table,
    tried,
    under_way,
)

__all__ = ["show_results", "show_trials"]


KEY_DIGITS = 12
CHOSEN, DIVERGED = "*", "diverged"
# Of a row of the curve: what it reached, and how its fit went.
NOT_TRIED = {"accuracy", "converged", "objective", "passes", "relative_gap"}
# What is said of the whole trial in each row of its grid.
TOLD = ("model", "weights", "dataset", "setting", "protocol", "seed", "limit", "examples_per_class")


def show_results(store: Path, *, csv: bool, json: bool) -> None:
    """Print what a store holds as a table, CSV or JSON."""
    opened = ResultStore(store)
    found = opened.results()
    if csv:
        typer.echo(results_table(found).to_csv(index=False), nl=False)
    elif json:
        typer.echo(json_module.dumps([result_row(result) for result in found], indent=1))
    else:
        console.print(render.results(found))
        for one in under_way(opened):
            console.print(f"under way: {_under_way(one)}")


def show_trials(named: Sequence[str], store: Path, *, csv: bool, json: bool) -> None:
    """Print what trials tried, chose and reached, as tables, CSV or JSON."""
    found = tried(ResultStore(store), named)
    if csv:
        import pandas as pd

        rows = [row for one in found for row in grid(one)]
        typer.echo(pd.DataFrame(rows).to_csv(index=False), nl=False)
    elif json:
        typer.echo(json_module.dumps([record(one) for one in found], indent=1))
    else:
        for one in found:
            console.print(shown(one))
        if not found:
            console.print("no results yet")


def grid(one: Tried) -> list[dict[str, Any]]:
    """One row per evaluation on validation: of which trial, what was tried, what it reached."""
    about = _about(one)
    return [
        {
            **about,
            "status": DIVERGED if one.diverged(row) else "complete",
            "chosen": one.is_chosen(row),
            **{name: _finite(value) for name, value in row.items()},
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
        lines += [_told(one.result), _metrics(one.result)]
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
        said = ", ".join(f"{_words(name)} {_label(value)}" for name, value in one.chosen.items())
        parts += [Text(f"{CHOSEN} chosen: {said}")]
    parts += [
        Text(
            f"{_words(name)} {_label(one.chosen[name])} is on the edge of its grid: a better one "
            "may lie beyond",
            style="yellow",
        )
        for name in one.on_edge
    ]
    if one.result:
        warned = data_warnings([one.result]).get(one.result.trial.dataset.name, {})
        parts += [Text(f"data warning: {text}", style="yellow") for text in warned]
    return Group(*parts, Text(""))


def _told(result: Result) -> str:
    row = result_row(result)
    names = [name for name in ("protocol", "precision", "limit", "examples_per_class") if row[name]]
    return ", ".join(f"{_words(name)} {row[name]}" for name in names)


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


def _surface(one: Tried, steps: float) -> Table:
    """One row per learning rate, one column per weight decay; of each pair its best crop."""
    rows = [row for row in one.curve if row["steps"] == steps]
    rates, weight_decays = (
        sorted({float(row[name]) for row in rows}) for name in ("learning_rate", "weight_decay")
    )
    columns = [f"decay {number_label(decay)}" for decay in weight_decays]
    table = plain_table("learning rate", *columns, right={"learning rate", *columns})
    for rate in rates:
        cells = []
        for decay in weight_decays:
            pair = {"learning_rate": rate, "weight_decay": decay}
            cells.append(_cell(one, [row for row in rows if pair.items() <= row.items()]))
        table.add_row(number_label(rate), *cells)
    return table


def _cell(one: Tried, rows: Sequence[dict[str, Value]]) -> str:
    """State what a candidate reached; nothing if it was not trained for so long."""
    if not rows:
        return "-  "
    if all(one.diverged(row) for row in rows):
        return f"{DIVERGED}  "
    mark = CHOSEN if any(one.is_chosen(row) for row in rows) else " "
    return f"{100 * max(float(row['accuracy']) for row in rows):.2f} {mark}"


def _path(one: Tried) -> Table:
    """One row per value that was tried; the certificate of a fit where there is one."""
    tried = [name for name in one.curve[0] if name not in NOT_TRIED]
    gaps = ["gap"] * any("relative_gap" in row for row in one.curve)
    columns = [*(_words(name) for name in tried), "accuracy", *gaps]
    table = plain_table(*columns, right=set(columns))
    for row in one.curve:
        mark = CHOSEN if one.is_chosen(row) else " "
        cells = [
            *(_label(row[name]) for name in tried),
            f"{100 * float(row['accuracy']):.2f} {mark}",
        ]
        if gaps:
            cells += [f"{row['relative_gap']:.1e}" if "relative_gap" in row else "-"]
        table.add_row(*cells)
    return table


def _under_way(one: Tried) -> str:
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


def _label(value: Value) -> str:
    return value if isinstance(value, str) else number_label(value)


def _finite(value: Value) -> Value | None:
    """Leave out what JSON has no number for: nothing is certified."""
    return value if isinstance(value, str) or math.isfinite(value) else None
