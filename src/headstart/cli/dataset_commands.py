"""`headstart datasets ...`: the commands. What is slow to import is imported by each."""

from pathlib import Path
from typing import Annotated

import typer

from headstart.cli.manners import HELP, CommandGroup, command, group
from headstart.cli.options import JsonFlag, SkipBrokenFlag
from headstart.errors import CommandError

__all__ = ["datasets_app"]

datasets_app = typer.Typer(cls=CommandGroup, context_settings=HELP)

NameArgument = Annotated[
    str,
    typer.Argument(
        help="Dataset: a name of the catalogue, a folder, a CSV file, hf:user/name, ...",
        metavar="NAME",
    ),
]


@group(datasets_app)
def datasets(context: typer.Context, json: JsonFlag = False) -> None:
    """List the datasets, and whether they are on this machine."""
    from headstart.cli.data import show_datasets

    if context.invoked_subcommand is None:
        show_datasets(json=json)
    elif json:
        raise CommandError(
            "options of `headstart datasets` must follow the subcommand: headstart datasets "
            "verify NAME --json",
            code="command.order",
        )


@command(datasets_app)
def prepare(
    name: NameArgument,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Existing copy (a folder) to register; nothing is copied or downloaded.",
            metavar="FOLDER",
            show_default=False,
        ),
    ] = None,
    skip_broken: SkipBrokenFlag = False,
) -> None:
    """Download a dataset or register a folder, verify it, and decode its images once."""
    from headstart.cli.data import prepare_and_show

    prepare_and_show(name, folder, skip_broken=skip_broken)


@command(datasets_app)
def verify(name: NameArgument, json: JsonFlag = False) -> None:
    """Compare a dataset with what was published, and check the header of every image."""
    from headstart.cli.data import verify_and_show

    verify_and_show(name, json=json)


@command(datasets_app)
def splits(
    name: NameArgument,
    export: Annotated[
        Path | None,
        typer.Option(
            help="CSV file for the split, row, image and labels of each example.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Show the source of the splits, and export them for others to use."""
    from headstart.cli.data import show_splits

    show_splits(name, export)


@command(datasets_app)
def show(
    name: NameArgument,
    out: Annotated[
        Path | None,
        typer.Option(help="HTML file (default: NAME.html).", metavar="FILE", show_default=False),
    ] = None,
) -> None:
    """Write an HTML page of a dataset: images of every class, counts, problems."""
    from headstart.cli.data import write_dataset_page

    write_dataset_page(name, out)
