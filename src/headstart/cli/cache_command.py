"""`headstart cache`: its location, size by kind, what can be removed, what is damaged."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart.cli.command_group import HELP, CommandGroup, command, group
from headstart.cli.options import JsonFlag
from headstart.cli.output import console, echo, print_json
from headstart.errors import CommandError, StorageError

if TYPE_CHECKING:
    from headstart.artifacts import ArtifactFolder

__all__ = ["cache_app"]

cache_app = typer.Typer(cls=CommandGroup, context_settings=HELP)


@group(cache_app)
def cache(context: typer.Context, json: JsonFlag = False) -> None:
    """Show the cache folder, and its size by kind; remove what can be computed again."""
    if context.invoked_subcommand is not None:
        if json:
            raise CommandError(
                "--json shows the cache, without a subcommand: headstart cache --json",
                code="command.order",
            )
        return
    from headstart.artifacts import remote_cache
    from headstart.cache import KINDS, entries, shared_kinds
    from headstart.context import default_cache

    folder, remote = default_cache(), remote_cache()
    found = list(entries(folder))
    by_kind = {kind: [one for one in found if one.kind == kind] for kind in KINDS}
    shared = shared_kinds(remote) if remote else {}
    if json:
        kinds: dict[str, Any] = {
            kind: {
                "files": sum(one.n_files for one in those),
                "bytes": sum(one.n_bytes for one in those),
                "removable": KINDS[kind].removable,
            }
            for kind, those in by_kind.items()
        }
        shown: dict[str, Any] = {"folder": str(folder), "kinds": kinds}
        if remote:
            there = {kind: {"files": n, "bytes": size} for kind, (n, size) in shared.items()}
            shown["remote"] = {"url": str(remote), "kinds": there}
        print_json(shown)
        return
    variable = "HEADSTART_LOCAL_CACHE" if remote else "HEADSTART_CACHE"
    given = bool(os.environ.get(variable))
    source = f"from {variable}" if given else f"set {variable} to move it"
    echo(f"{folder} ({source})")
    from headstart.cli.terminal_tables import column_table
    from headstart.report.page_model import Column, named

    kind, content = named("kind", "kind"), named("content", "content")
    sizes = [Column("files", "n", "{:,}".format), Column("size", "bytes", _megabytes)]
    rows = [
        {
            "kind": name, "content": KINDS[name].content if name in KINDS else None,
            "n": sum(one.n_files for one in those), "bytes": sum(one.n_bytes for one in those),
        }
        for name, those in (*by_kind.items(), ("all", found))
    ]  # fmt: skip
    console.print(column_table([kind, *sizes, content], rows))
    if remote:
        echo(f"shared in {remote} (from HEADSTART_CACHE)")
        rows = [{"kind": name, "n": n, "bytes": size} for name, (n, size) in shared.items()]
        console.print(column_table([kind, *sizes], rows))


RemoteFlag = Annotated[
    bool, typer.Option("--remote", help="What is shared under the URL in $HEADSTART_CACHE instead.")
]


@command(cache_app)
def size(
    kind: Annotated[
        str | None,
        typer.Option(help="Kinds to count, separated by commas; all if omitted.", metavar="KINDS"),
    ] = None,
    remote: RemoteFlag = False,
) -> None:
    """Print the size of the cache in bytes."""
    from headstart.cache import KINDS, entries, kinds_of, shared_kinds
    from headstart.context import default_cache

    kinds = tuple(KINDS) if kind is None else kinds_of(kind, tuple(KINDS))
    if remote:
        found = shared_kinds(_shared())
        echo(str(sum(found[one][1] for one in kinds if one in found)))
    else:
        echo(str(sum(entry.n_bytes for entry in entries(default_cache(), kinds))))


@command(cache_app)
def prune(
    kind: Annotated[
        str,
        typer.Option(
            help="Kinds to remove, separated by commas: features, prepared, training, weights, "
            "torchvision, copies.",
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
    remote: RemoteFlag = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the sizes; remove nothing.")
    ] = False,
) -> None:
    """Remove files from the cache that a run computes or downloads again when needed."""
    from headstart import cache
    from headstart.context import default_cache
    from headstart.spec.formatting import count

    kinds, what = cache.kinds_of(kind), "would remove" if dry_run else "removed"
    if remote:
        if unused_days:
            raise CommandError(
                "--unused-days is not known of what is shared: use it without --remote, or a "
                "lifecycle rule of the bucket",
                code="command.order",
            )
        n_files, n_bytes = cache.prune_shared(_shared(), kinds, dry_run=dry_run)
        echo(f"{what} {count(n_files, 'file')}, {n_bytes / 1e6:,.1f} MB")
        return
    removed, busy = cache.prune(default_cache(), kinds, unused_days=unused_days, dry_run=dry_run)
    echo(f"{what} {_files(removed)}, {_size(removed)}")
    if busy:
        echo(f"kept {_files(busy)} that another process is writing, {_size(busy)}")


@command(cache_app)
def verify(
    remote: RemoteFlag = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Remove what is damaged; it is computed again.")
    ] = False,
) -> None:
    """Compare features, prepared images and copies with their digests; list what is damaged."""
    from headstart import cache
    from headstart.context import default_cache
    from headstart.shown_text import one_line

    found = cache.verify_shared(_shared()) if remote else cache.verify(default_cache())
    n_checked, n_bytes, damaged, left = 0, 0, 0, 0
    for one in found:
        n_checked, n_bytes = n_checked + 1, n_bytes + one.n_bytes
        if not one.whole:
            gone = repair and one.remove()
            damaged, left = damaged + 1, left + (not gone)
            echo(f"damaged{', removed' if gone else ''}: {one_line(one.name)}")
    echo(f"checked {n_checked:,} entries, {n_bytes / 1e6:,.1f} MB: {damaged:,} damaged")
    if left:
        raise StorageError(
            f"{left:,} entries of the cache are damaged: headstart cache verify --repair removes "
            "them",
            code="cache.damaged",
            n=left,
        )


def _shared() -> "ArtifactFolder":
    """Return the folder that machines share."""
    from headstart.artifacts import remote_cache

    if (shared := remote_cache()) is None:
        raise CommandError(
            "--remote needs a cache that machines share: set HEADSTART_CACHE to a URL, for "
            "example s3://bucket/cache",
            code="command.order",
        )
    return shared


def _files(entries: Sequence[Any]) -> str:
    from headstart.spec.formatting import count

    return count(sum(entry.n_files for entry in entries), "file")


def _size(entries: Sequence[Any]) -> str:
    return _megabytes(sum(entry.n_bytes for entry in entries))


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:,.1f} MB"
