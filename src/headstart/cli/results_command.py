"""`headstart results`: list what a store holds, show what a trial tried."""

import json as json_module
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from headstart.cli.command_group import HELP, CommandGroup, command, group
from headstart.cli.options import DEFAULT_STORE, CsvFlag, JsonFlag, StoreOption
from headstart.cli.output import console
from headstart.errors import CommandError

__all__ = ["results_app"]

results_app = typer.Typer(cls=CommandGroup, context_settings=HELP)


@group(results_app)
def results(
    context: typer.Context,
    store: StoreOption = DEFAULT_STORE,
    csv: CsvFlag = False,
    json: JsonFlag = False,
) -> None:
    """Show the results in a store."""
    if context.invoked_subcommand is None:
        _one_form(csv=csv, json=json)
        _show_results(store, csv=csv, json=json)
    elif csv or json or store != DEFAULT_STORE:
        raise CommandError(
            "options of `headstart results` must follow the subcommand: headstart results show "
            "--store FILE",
            code="command.order",
        )


@command(results_app)
def show(
    trial: Annotated[
        list[str] | None,
        typer.Argument(
            help="Trials: a key, the start of one, or words of the title (resnet50 dtd finetune); "
            "all if omitted.",
            metavar="TRIAL...",
            show_default=False,
        ),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    csv: CsvFlag = False,
    json: JsonFlag = False,
) -> None:
    """Show the validation results of each trial, the selected values, and the test result."""
    _one_form(csv=csv, json=json)
    _show_trials(trial or [], store, csv=csv, json=json)


def _one_form(*, csv: bool, json: bool) -> None:
    if csv and json:
        raise CommandError(
            "--csv and --json contradict each other: pass one of them",
            code="command.conflict",
            option="--csv",
        )


def _show_results(store: Path, *, csv: bool, json: bool) -> None:
    """Print what a store holds as a table, CSV or JSON."""
    from headstart.cli import results_tables
    from headstart.store import ResultStore, result_row, results_table, under_way

    opened = ResultStore(store)
    found = opened.results()
    if csv:
        typer.echo(results_table(found).to_csv(index=False), nl=False)
    elif json:
        typer.echo(json_module.dumps([result_row(result) for result in found], indent=1))
    else:
        console.print(results_tables.results(found))
        for one in under_way(opened):
            console.print(f"under way: {results_tables.under_way_line(one)}")


def _show_trials(named: Sequence[str], store: Path, *, csv: bool, json: bool) -> None:
    """Print what trials tried, chose and reached, as tables, CSV or JSON."""
    from headstart.cli import results_tables
    from headstart.store import ResultStore, tried

    found = tried(ResultStore(store), named)
    if csv:
        import pandas as pd

        rows = [row for one in found for row in results_tables.grid(one)]
        typer.echo(pd.DataFrame(rows).to_csv(index=False), nl=False)
    elif json:
        typer.echo(json_module.dumps([results_tables.record(one) for one in found], indent=1))
    else:
        for one in found:
            console.print(results_tables.shown(one))
        if not found:
            console.print("no results yet")
