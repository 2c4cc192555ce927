"""`headstart results ...`: the commands. What is slow to import is imported by each."""

from typing import Annotated

import typer

from headstart.cli.manners import HELP, CommandGroup, command, group
from headstart.cli.options import DEFAULT_STORE, CsvFlag, JsonFlag, StoreOption
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
        from headstart.cli.results import show_results

        show_results(store, csv=csv, json=json)
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
    from headstart.cli.results import show_trials

    show_trials(trial or [], store, csv=csv, json=json)


def _one_form(*, csv: bool, json: bool) -> None:
    if csv and json:
        raise CommandError(
            "--csv and --json contradict each other: pass one of them",
            code="command.conflict",
            option="--csv",
        )
