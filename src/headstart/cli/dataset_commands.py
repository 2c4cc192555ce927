"""`headstart datasets ...`: the commands. What is slow to import is imported by each."""

from pathlib import Path
from typing import Annotated

import typer

from headstart.errors import CommandError

__all__ = ["datasets_app"]

datasets_app = typer.Typer()

NameArgument = Annotated[
    str, typer.Argument(help="Of the catalogue, a folder, a CSV file, hf:user/name, ...")
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@datasets_app.callback(invoke_without_command=True)
def datasets(context: typer.Context, json: JsonFlag = False) -> None:
    """List the datasets, and whether they are on this machine."""
    from headstart.cli.data import show_datasets

    if context.invoked_subcommand is None:
        show_datasets(json=json)
    elif json:
        raise CommandError(
            "--json of `headstart datasets verify` comes after the name", code="command.order"
        )


@datasets_app.command()
def prepare(
    name: NameArgument,
    folder: Annotated[
        Path | None,
        typer.Option("--from", help="Where it lies already: nothing is copied or downloaded."),
    ] = None,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Accept images that do not decode; list them.")
    ] = False,
) -> None:
    """Download a dataset or adopt a folder, prove what it is, and decode it once."""
    from headstart.cli.data import prepare_and_show

    prepare_and_show(name, folder, skip_broken=skip_broken)


@datasets_app.command()
def verify(name: NameArgument, json: JsonFlag = False) -> None:
    """Compare a dataset with what is published, and look at every image's header."""
    from headstart.cli.data import verify_and_show

    verify_and_show(name, json=json)


@datasets_app.command()
def splits(
    name: NameArgument,
    export: Annotated[
        Path | None, typer.Option(help="CSV file for the row, image and labels of each example.")
    ] = None,
) -> None:
    """Say where the splits come from; export them, so that others can use the same."""
    from headstart.cli.data import show_splits

    show_splits(name, export)


@datasets_app.command()
def show(
    name: NameArgument,
    out: Annotated[
        Path | None, typer.Option(help="The page; NAME.html unless given.", show_default=False)
    ] = None,
) -> None:
    """Write one page to look at before measuring: images of every class, counts, odd files."""
    from headstart.cli.data import write_dataset_page

    write_dataset_page(name, out)
