"""`headstart datasets`: list, prepare, verify, export splits, show."""

import csv
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from headstart.cli.command_group import HELP, CommandGroup, command, group
from headstart.cli.options import JsonFlag, SkipBrokenFlag
from headstart.cli.output import console, echo, print_json, writable_file
from headstart.errors import CommandError

if TYPE_CHECKING:
    from headstart.context import ProgressReporter
    from headstart.datasets import VerifiedDataset

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
    if context.invoked_subcommand is not None:
        if json:
            raise CommandError(
                "options of `headstart datasets` must follow the subcommand: headstart datasets "
                "verify NAME --json",
                code="command.order",
            )
        return
    from headstart import datasets

    rows = [_row(name) for name in datasets.names()]
    if json:
        print_json(rows)
        return
    from headstart.cli.terminal_tables import column_table
    from headstart.report.page_model import Column, named

    def drawn(row: Mapping[str, Any]) -> str:
        return "all" if len(row["drawn"]) == len(row["sizes"]) else ", ".join(row["drawn"])

    columns = [
        named("dataset", "name"),
        Column("classes", "n_classes"),
        *(Column(split, split, "{:,}".format) for split in ("train", "validation", "test")),
        named("drawn", drawn),
        named("metric", "metric"),
        named("present", lambda row: "yes" if row["present"] else "no"),
    ]
    console.print(column_table(columns, [row | row["sizes"] for row in rows]))
    for line in (
        "drawn: splits that the creators do not give; headstart datasets splits NAME says how",
        "headstart datasets prepare NAME downloads; with --from FOLDER it takes what is there",
        "your own: a folder, a CSV or Parquet file, hf:user/name, torchvision:CLASS, file.py:name",
    ):
        console.print(Text(line, style="dim"))


@command(datasets_app)
def prepare(
    name: NameArgument,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Existing copy (a folder) to register; nothing is copied or downloaded.",
            metavar="FOLDER",
        ),
    ] = None,
    skip_broken: SkipBrokenFlag = False,
) -> None:
    """Download a dataset or register a folder, verify it, and decode its images once."""
    from headstart import datasets
    from headstart.context import default_cache

    with _watched() as reporter:
        checked, prepared = datasets.prepare_dataset(
            name, default_cache(), reporter, folder=folder, skip_broken=skip_broken
        )
    lines = [*_facts(checked), f"  decoded     {prepared.place}, {prepared.n_bytes / 1e6:,.1f} MB"]
    echo("\n".join(lines))


@command(datasets_app)
def verify(name: NameArgument, json: JsonFlag = False) -> None:
    """Compare a dataset with what was published, and check the header of every image."""
    from headstart import datasets
    from headstart.context import default_cache

    with _watched() as reporter:
        checked = datasets.verify(name, default_cache(), reporter)
    if json:
        print_json(_record(checked))
    else:
        echo("\n".join(_facts(checked)))
    # Last, so that a script finds all that was said and an exit code besides.
    datasets.check_audit(checked.audit, checked.name, skip_broken=False)


@command(datasets_app)
def splits(
    name: NameArgument,
    export: Annotated[
        Path | None,
        typer.Option(
            help="CSV file for the split, row, image and labels of each example.", metavar="FILE"
        ),
    ] = None,
) -> None:
    """Show where the splits come from, and export them for others to use."""
    from headstart import datasets
    from headstart.context import default_cache
    from headstart.files import replaced
    from headstart.labels import kind_of

    if export is not None:
        writable_file(export)
    with _watched() as reporter:
        checked = datasets.verify(name, default_cache(), reporter)
    loaded, kind = checked.loaded, kind_of(checked.loaded.metric)
    echo(f"{checked.name}\n  {loaded.split_rule}\n  content {loaded.manifest.revision}")
    for split, drawn in loaded.manifest.splits.items():
        counts = drawn.class_counts
        of_a_class = f"{min(counts):,} to {max(counts):,} of a class"
        echo(f"  {split:<11}{drawn.size:>8,} images, {of_a_class}")
    if export is None:
        return
    from headstart.report.reporter import safe_cell

    with replaced(export) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("split", "row", "image", "labels"))
        for split, part in loaded.parts.items():
            for place, row in enumerate(part.rows.tolist()):
                labels = kind.names(part.labels[place], loaded.classes)
                image = safe_cell(loaded.image(split, place))
                writer.writerow((split, row, image, safe_cell("|".join(labels))))
    echo(f"rows, images and labels: {export}")


@command(datasets_app)
def show(
    name: NameArgument,
    out: Annotated[
        Path | None, typer.Option(help="HTML file (default: NAME.html).", metavar="FILE")
    ] = None,
) -> None:
    """Write an HTML page of a dataset: images of every class, counts, problems."""
    from headstart import datasets
    from headstart.context import default_cache
    from headstart.datasets.audit_page import dataset_page
    from headstart.files import replaced, writable_folder

    writable_folder((out or Path()).parent)
    with _watched() as reporter:
        checked = datasets.verify(name, default_cache(), reporter)
        reporter.stage("drawing", total=len(checked.loaded.classes), unit="classes")
        page = dataset_page(checked, reporter.advance)
    file = out or Path(re.sub(r"[^\w.-]+", "-", checked.name).strip("-") + ".html")
    with replaced(file) as temporary:
        temporary.write_text(page, encoding="utf-8")
    echo(f"page: {file}")


def _watched() -> AbstractContextManager["ProgressReporter"]:
    """Show what goes on; Ctrl-C ends it with one line."""
    from headstart.cli.progress import watched

    return watched("what is done is kept; run the same command again to resume")


def _row(name: str) -> dict[str, Any]:
    """Return what is known of a dataset of the catalogue without reading it."""
    from headstart import datasets

    known, here = datasets.describe(name), datasets.presence(name)
    return {
        "name": name,
        "n_classes": known.n_classes,
        "sizes": dict(known.sizes) if known.sizes else None,
        "metric": known.metric,
        "split_rule": known.split_rule,
        "drawn": known.drawn,
        "present": here.present,
        "place": here.place,
        "origins": known.origins,
        "layout": known.layout,
    }


def _facts(checked: "VerifiedDataset") -> list[str]:
    """All that is known of a dataset, one line per fact: unbroken, so that paths can be copied."""
    from headstart import datasets

    loaded = checked.loaded
    sizes = [f"{part.size:,} {name}" for name, part in loaded.manifest.splits.items()]
    facts = {
        "images": f"{', '.join(sizes)}, {len(loaded.classes)} classes",
        "metric": loaded.metric,
        "splits": loaded.split_rule,
        "content": loaded.manifest.revision,
        "verified": datasets.published_note(checked),
        "place": checked.place,
    }
    lines = [f"  {name:<12}{text}" for name, text in facts.items() if text]
    warnings = [f"  {'warning':<12}{found.text}" for found in datasets.data_warnings(checked)]
    notes = [f"  {'note':<12}{note}" for note in loaded.notes]
    return [checked.name, *lines, *notes, *warnings]


def _record(checked: "VerifiedDataset") -> dict[str, Any]:
    from headstart import datasets

    found = checked.audit
    counts = {
        name: getattr(found, name)
        for name in ("n_images", "turned", "transparent", "deep", "animated", "conflicts")
    }
    # Of each file with a published MD5, whether it is here: then it has that MD5.
    files = checked.published
    published = None if files is None else {file.name: bool(file.path) for file in files}
    return {
        "name": checked.name,
        "place": checked.place,
        "metric": checked.loaded.metric,
        "split_rule": checked.loaded.split_rule,
        "revision": checked.loaded.manifest.revision,
        "manifest": checked.loaded.manifest.model_dump(mode="json"),
        "verified": published,
        "missing": checked.loaded.missing,
        "left_out": checked.loaded.left_out,
        **counts,
        "warnings": [warning._asdict() for warning in datasets.data_warnings(checked)],
        "problems": [problem._asdict() for problem in found.problems],
        "duplicates": [duplicate._asdict() for duplicate in found.duplicates],
    }
