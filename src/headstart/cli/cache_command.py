"""`headstart cache`: where it is, how large it is by kind, and what to remove."""

import json as json_module
import os
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from headstart.cli.command_group import HELP, CommandGroup, command, group
from headstart.cli.options import JsonFlag
from headstart.cli.output import console, plain_table
from headstart.errors import CommandError

__all__ = ["cache_app"]

cache_app = typer.Typer(cls=CommandGroup, context_settings=HELP)


@group(cache_app)
def cache(context: typer.Context, json: JsonFlag = False) -> None:
    """Show the cache folder, and its size by kind; remove what can be computed again."""
    if context.invoked_subcommand is None:
        _show_cache(json=json)
    elif json:
        raise CommandError(
            "--json shows the cache, without a subcommand: headstart cache --json",
            code="command.order",
        )


@command(cache_app)
def prune(
    kind: Annotated[
        str,
        typer.Option(
            help="Kinds to remove, separated by commas: features, prepared, training, weights, "
            "torchvision.",
            metavar="KINDS",
        ),
    ] = "features,prepared",
    unused_days: Annotated[
        float,
        typer.Option(
            help="Minimum number of days since the last use; 0 removes all.",
            min=0,
            metavar="NUMBER",
        ),
    ] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the sizes; remove nothing.")
    ] = False,
) -> None:
    """Remove files from the cache that a run computes or downloads again when needed."""
    from headstart.cache import kinds_of
    from headstart.cache import prune as remove
    from headstart.context import default_cache

    removed, busy = remove(
        default_cache(), kinds_of(kind), unused_days=unused_days, dry_run=dry_run
    )
    what = "would remove" if dry_run else "removed"
    typer.echo(f"{what} {_files(removed)}, {_size(removed)}")
    if busy:
        typer.echo(f"kept {_files(busy)} that another process is writing, {_size(busy)}")


def _show_cache(*, json: bool) -> None:
    from headstart.cache import KINDS, entries
    from headstart.context import default_cache

    folder = default_cache()
    found = list(entries(folder))
    by_kind = {kind: [one for one in found if one.kind == kind] for kind in KINDS}
    if json:
        kinds: dict[str, Any] = {
            kind: {
                "files": sum(one.n_files for one in those),
                "bytes": sum(one.n_bytes for one in those),
                "removable": KINDS[kind].removable,
            }
            for kind, those in by_kind.items()
        }
        typer.echo(json_module.dumps({"folder": str(folder), "kinds": kinds}, indent=1))
        return
    given = bool(os.environ.get("HEADSTART_CACHE"))
    source = "from HEADSTART_CACHE" if given else "set HEADSTART_CACHE to move it"
    typer.echo(f"{folder} ({source})")
    table = plain_table("kind", "files", "size", "content", right={"files", "size"})
    for kind, those in by_kind.items():
        n_files = f"{sum(one.n_files for one in those):,}"
        table.add_row(kind, n_files, _size(those), KINDS[kind].content)
    table.add_row("all", f"{sum(one.n_files for one in found):,}", _size(found), "")
    console.print(table)


def _files(entries: Sequence[Any]) -> str:
    n = sum(entry.n_files for entry in entries)
    return "1 file" if n == 1 else f"{n:,} files"


def _size(entries: Sequence[Any]) -> str:
    return f"{sum(entry.n_bytes for entry in entries) / 1e6:,.1f} MB"
