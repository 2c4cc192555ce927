"""What `headstart datasets` does: list, prepare, verify, export splits, show."""

import csv
import json as json_module
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console, Group
from rich.text import Text

from headstart import datasets
from headstart.cli.progress import LiveWatcher
from headstart.cli.tables import plain_table
from headstart.datasets import Checked
from headstart.files import replaced
from headstart.labels import kind_of
from headstart.workspace import default_cache

__all__ = [
    "prepare_and_show",
    "show_datasets",
    "show_splits",
    "verify_and_show",
    "write_contact_page",
]

BAD_INPUT, INTERRUPTED = 2, 130
# Rich takes 80 columns where it cannot know: too few for a table that goes to a file or a pipe.
console = Console(width=None if sys.stdout.isatty() else 120, markup=False, highlight=False)


def show_datasets(*, json: bool) -> None:
    """Print the catalogue of datasets."""
    rows = [_row(name) for name in datasets.names()]
    if json:
        typer.echo(json_module.dumps(rows, indent=1))
    else:
        console.print(_table(rows))


def prepare_and_show(name: str, folder: Path | None, *, skip_broken: bool) -> None:
    """Bring a dataset here, prove it, decode it once; say what it is."""
    try:
        with LiveWatcher(console) as watcher:
            checked = datasets.prepare(
                name, default_cache(), watcher, folder=folder, skip_broken=skip_broken
            )
    except KeyboardInterrupt:
        typer.echo("interrupted: what is done is kept, the same command carries on", err=True)
        sys.exit(INTERRUPTED)
    console.print("\n".join(_facts(checked)))


def verify_and_show(name: str, *, json: bool) -> None:
    """Say whether a dataset is what is published, and what is odd about its images."""
    with LiveWatcher(console) as watcher:
        checked = datasets.verify(name, default_cache(), watcher)
    if json:
        typer.echo(json_module.dumps(_record(checked), indent=1))
    else:
        console.print("\n".join(_facts(checked)))
    if checked.inspection.problems:
        for line in checked.inspection.problem_lines():
            typer.echo(line, err=True)
        sys.exit(BAD_INPUT)


def show_splits(name: str, export: Path | None) -> None:
    """Say where splits come from; write them to a CSV: split, row, image, labels."""
    dataset, reading = datasets.read(name, default_cache())
    console.print("\n".join(_split_lines(dataset.name, reading)))
    if export is None:
        return
    kind = kind_of(reading.metric)
    with replaced(export) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("split", "row", "image", "labels"))
        for split, part in reading.parts.items():
            for place, row in enumerate(part.rows.tolist()):
                labels = kind.names(part.labels[place], reading.classes)
                writer.writerow((split, row, reading.image(split, place), "|".join(labels)))
    console.print(f"Rows, images and labels: {export}")
