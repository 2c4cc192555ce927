"""`headstart results ...`: the commands. What is slow to import is imported by each."""

from typing import Annotated

import typer

from headstart.cli.options import DEFAULT_STORE, JsonFlag, StoreOption
from headstart.errors import CommandError

__all__ = ["results_app"]

results_app = typer.Typer()

CsvFlag = Annotated[bool, typer.Option("--csv", help="Print CSV.")]


@results_app.callback(invoke_without_command=True)
def results(
    context: typer.Context,
    store: StoreOption = DEFAULT_STORE,
    csv: CsvFlag = False,
    json: JsonFlag = False,
) -> None:
    """Show what a store holds."""
    if context.invoked_subcommand is None:
        from headstart.cli.results import show_results

        show_results(store, csv=csv, json=json)
    elif csv or json or store != DEFAULT_STORE:
        raise CommandError(
            "options of `headstart results show` come after `show`", code="command.order"
        )


@results_app.command()
def show(
    trial: Annotated[
        list[str] | None,
        typer.Argument(
            help="Its key or the beginning, or words of its title (resnet50 dtd finetune). All "
            "trials unless given.",
            show_default=False,
        ),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    csv: CsvFlag = False,
    json: JsonFlag = False,
) -> None:
    """Show what a trial tried on validation, what it chose, and what that reached."""
    from headstart.cli.results import show_trials

    show_trials(trial or [], store, csv=csv, json=json)
