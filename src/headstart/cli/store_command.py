"""`headstart store`: check a store, copy it, put stores together, have a trial measured again."""

import json as json_module
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headstart.cli.command_group import HELP, CommandGroup, command, group
from headstart.cli.options import (
    BAD_INPUT,
    DEFAULT_STORE,
    JsonFlag,
    StoreOption,
    refuse_password,
)
from headstart.cli.output import console, echo

if TYPE_CHECKING:
    from headstart.store.exchange import MergeReport

__all__ = ["store_app"]

StoreArgument = Annotated[
    str,
    typer.Argument(
        help="Results database: a file, the folder that holds it, or a URL.",
        metavar="STORE",
        callback=refuse_password,
        show_default=False,
    ),
]
KEY_DIGITS = 12

store_app = typer.Typer(cls=CommandGroup, context_settings=HELP, no_args_is_help=True)


@group(store_app)
def store() -> None:
    """Check, copy and merge stores; supersede results."""


@command(store_app)
def check(store: StoreOption = DEFAULT_STORE, json: JsonFlag = False) -> None:
    """Check that all records and predictions are there and sound; list what is not."""
    from headstart.store import ResultStore
    from headstart.store.exchange import check_store

    opened = ResultStore(store)
    found = list(check_store(opened))
    if json:
        echo(json_module.dumps([asdict(problem) for problem in found], indent=1))
    else:
        if found:
            from headstart.cli.terminal_tables import column_table
            from headstart.report.page_model import named

            columns = [
                named("problem", "kind"),
                named("trial or file", "name"),
                named("what is wrong", "text"),
            ]
            console.print(column_table(columns, map(asdict, found)))
        console.print(f"{opened.count():,} results checked, {len(found):,} problems")
    if found:
        sys.exit(BAD_INPUT)


@command(store_app)
def export(
    store: StoreArgument,
    folder: Annotated[
        Path, typer.Argument(help="New folder.", metavar="FOLDER", show_default=False)
    ],
) -> None:
    """Write a store to a folder as plain files: JSON lines, and predictions with digests."""
    from headstart.store import ResultStore
    from headstart.store.exchange import export_store

    counts = export_store(ResultStore(store), folder)
    echo(f"{counts['results']:,} results written to {folder}")


@command(store_app, "import")
def import_(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Folder that `headstart store export` wrote.", metavar="FOLDER", show_default=False
        ),
    ],
    store: StoreArgument,
    json: JsonFlag = False,
) -> None:
    """Put an exported store into a store, which is made if it is not there."""
    from headstart.store import ResultStore
    from headstart.store.exchange import import_store

    _show_merged(import_store(folder, ResultStore(store, create=True)), json=json)


@command(store_app)
def merge(
    source: StoreArgument,
    other: StoreArgument,
    into: Annotated[
        str | None,
        typer.Option(
            help="Store to put both into, which is made if it is not there; the second if omitted.",
            metavar="STORE",
            callback=refuse_password,
            show_default=False,
        ),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Put two stores together. Trials with different numbers are listed, and nothing is written."""
    from headstart.store import ResultStore
    from headstart.store.exchange import merge_stores

    sources = [ResultStore(source)]
    if into is not None:
        sources.append(ResultStore(other))
    target = ResultStore(other if into is None else into, create=True)
    _show_merged(merge_stores(sources, target), json=json)


@command(store_app)
def redo(
    trial: Annotated[
        list[str],
        typer.Argument(
            help="Trial: its key, the start of it, or words of its title.",
            metavar="KEY",
            show_default=False,
        ),
    ],
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Supersede a result: the next run measures the trial again. The old result is kept."""
    from headstart.store import ResultStore, tried

    ResultStore(store)
    opened = ResultStore(store, create=True)
    (found,) = tried(opened, trial)
    opened.supersede(found.key)
    echo(f"{found.key[:KEY_DIGITS]} ({found.title}): the next run measures it again")


def _show_merged(report: "MergeReport", *, json: bool) -> None:
    from headstart.spec.formatting import count

    if json:
        echo(json_module.dumps(asdict(report), indent=1))
    elif report.conflicts:
        from headstart.cli.terminal_tables import column_table
        from headstart.report.page_model import Column, named

        columns = [
            named("trial", "key", lambda key: key[:KEY_DIGITS]),
            named("title", "title"),
            named("store", "store"),
            Column("accuracy", "accuracy"),
        ]
        rows = [
            {
                "key": one.key, "title": one.title, "store": store,
                "accuracy": "partly measured" if accuracy is None else f"{100 * accuracy:.2f}",
            }
            for one in report.conflicts
            for store, accuracy in zip(one.stores, one.accuracies, strict=True)
        ]  # fmt: skip
        console.print(column_table(columns, rows))
        console.print(
            f"Different numbers of {count(len(report.conflicts), 'trial')}; nothing was written. "
            "Supersede the results that are not to count: headstart store redo KEY --store STORE"
        )
    else:
        failed = f", {count(report.failures, 'failure')} added" if report.failures else ""
        console.print(
            f"{count(report.added, 'result')} added, {report.known:,} known before{failed}"
        )
    if report.conflicts:
        sys.exit(BAD_INPUT)
