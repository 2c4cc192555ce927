"""What `headstart datasets` does: list, prepare, verify, export splits, show."""

import csv
import json as json_module
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.console import Group
from rich.text import Text

from headstart import datasets
from headstart.cli.progress import LiveReporter
from headstart.cli.streams import console, resumable
from headstart.cli.tables import plain_table
from headstart.context import ProgressReporter, default_cache
from headstart.datasets import VerifiedDataset
from headstart.files import replaced, writable_folder
from headstart.labels import kind_of

__all__ = [
    "prepare_and_show",
    "show_datasets",
    "show_splits",
    "verify_and_show",
    "write_dataset_page",
]


def show_datasets(*, json: bool) -> None:
    """Print the catalogue of datasets."""
    rows = [_row(name) for name in datasets.names()]
    if json:
        typer.echo(json_module.dumps(rows, indent=1))
    else:
        console.print(_table(rows))


def prepare_and_show(name: str, folder: Path | None, *, skip_broken: bool) -> None:
    """Bring a dataset here, prove it, decode it once; say what it is."""
    with _watched() as reporter:
        checked, prepared = datasets.prepare_dataset(
            name, default_cache(), reporter, folder=folder, skip_broken=skip_broken
        )
    lines = [*_facts(checked), f"  decoded     {prepared.place}, {prepared.n_bytes / 1e6:,.1f} MB"]
    typer.echo("\n".join(lines))


def verify_and_show(name: str, *, json: bool) -> None:
    """Return whether a dataset is what is published, and what is odd about its images."""
    with _watched() as reporter:
        checked = datasets.verify(name, default_cache(), reporter)
    typer.echo(
        json_module.dumps(_record(checked), indent=1) if json else "\n".join(_facts(checked))
    )
    # Last, so that a script finds all that was said and an exit code besides.
    datasets.check_audit(checked.audit, checked.name, skip_broken=False)


def show_splits(name: str, export: Path | None) -> None:
    """State where splits come from; write them to a CSV: split, row, image, labels."""
    if export is not None:
        writable_folder(export.parent)
    with _watched() as reporter:
        checked = datasets.verify(name, default_cache(), reporter)
    typer.echo("\n".join(_split_lines(checked)))
    if export is None:
        return
    loaded, kind = checked.loaded, kind_of(checked.loaded.metric)
    with (
        replaced(export) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(("split", "row", "image", "labels"))
        for split, part in loaded.parts.items():
            for place, row in enumerate(part.rows.tolist()):
                labels = kind.names(part.labels[place], loaded.classes)
                writer.writerow((split, row, loaded.image(split, place), "|".join(labels)))
    typer.echo(f"rows, images and labels: {export}")


def write_dataset_page(name: str, out: Path | None) -> None:
    """Write the page that shows images of every class in each split."""
    from headstart.datasets.audit_page import dataset_page

    writable_folder((out or Path()).parent)
    with _watched() as reporter:
        checked = datasets.verify(name, default_cache(), reporter)
        reporter.stage("drawing", total=len(checked.loaded.classes), unit="classes")
        page = dataset_page(checked, reporter.advance)
    file = out or Path(re.sub(r"[^\w.-]+", "-", checked.name).strip("-") + ".html")
    with replaced(file) as temporary:
        temporary.write_text(page, encoding="utf-8")
    typer.echo(f"page: {file}")


@contextmanager
def _watched() -> Iterator[ProgressReporter]:
    """Show what goes on; Ctrl-C ends it with one line."""
    said = "what is done is kept; run the same command again to resume"
    with resumable(said), LiveReporter(console) as reporter:
        yield reporter


def _row(name: str) -> dict[str, Any]:
    """Return what is known of a dataset of the catalogue without reading it."""
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


def _table(rows: Sequence[dict[str, Any]]) -> Group:
    numbers = ("classes", "train", "validation", "test")
    table = plain_table("dataset", *numbers, "drawn", "metric", "present", right=set(numbers))
    for row in rows:
        table.add_row(
            row["name"],
            str(row["n_classes"]),
            *(f"{size:,}" for size in row["sizes"].values()),
            "all" if len(row["drawn"]) == len(row["sizes"]) else ", ".join(row["drawn"]) or "-",
            row["metric"],
            "yes" if row["present"] else "no",
        )
    said = [
        "drawn: splits that the creators do not give; headstart datasets splits NAME says how",
        "headstart datasets prepare NAME downloads; with --from FOLDER it takes what is there",
        "your own: a folder, a CSV or Parquet file, hf:user/name, torchvision:CLASS, file.py:name",
    ]
    return Group(table, *(Text(line, style="dim") for line in said))


def _facts(checked: VerifiedDataset) -> list[str]:
    """All that is known of a dataset, one line per fact: unbroken, so that paths can be copied."""
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


def _split_lines(checked: VerifiedDataset) -> list[str]:
    loaded = checked.loaded
    lines = [checked.name, f"  {loaded.split_rule}", f"  content {loaded.manifest.revision}"]
    for name, part in loaded.manifest.splits.items():
        counts = part.class_counts
        lines.append(
            f"  {name:<11}{part.size:>8,} images, {min(counts):,} to {max(counts):,} of a class"
        )
    return lines


def _record(checked: VerifiedDataset) -> dict[str, Any]:
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
