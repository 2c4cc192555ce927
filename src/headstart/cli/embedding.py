"""What `headstart embed` does: compute, draw, write, show."""

import json as json_module
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import typer

from headstart import datasets, models
from headstart.cli.progress import LiveReporter
from headstart.cli.streams import Screen, console, resumable
from headstart.cli.tables import PlainTable, plain_table, shortened
from headstart.context import RunContext
from headstart.devices import Device
from headstart.embedding import Embedding, EmbedOptions
from headstart.embedding import embed as compute
from headstart.errors import CommandError
from headstart.files import replaced, writable_folder
from headstart.spec import Dataset, Model
from headstart.spec.setting import Precision

__all__ = ["embed_and_show", "find_request", "view_of"]

# Where the output is JSON, nothing else may be.
errors = Screen(stderr=True, markup=False, highlight=False)


class EmbedRequest(NamedTuple):
    """The networks and the dataset."""

    models: list[Model]
    dataset: Dataset


def view_of(classes: str | None, images: int, perplexity: float | None, seed: int) -> EmbedOptions:
    """Read what to show: a whole number of classes, or their names."""
    wanted: int | tuple[str, ...] | None = None
    if classes is not None:
        names = tuple(part.strip() for part in classes.split(",") if part.strip())
        # A class may be called 3, but one class alone is not shown: a number alone is how many.
        alone = len(names) == 1 and names[0].isdecimal()
        wanted = int(names[0]) if alone else names
    return EmbedOptions(classes=wanted, images=images, perplexity=perplexity, seed=seed)


def find_request(
    names: list[str], dataset: str, limit: int | None, *, skip_broken: bool
) -> EmbedRequest:
    """Look names up; a network that is named twice is shown once."""
    unique = dict.fromkeys(name for part in names for name in models.split_names(part))
    if not unique:
        raise CommandError(
            "argument MODEL is missing: name at least one", code="command.missing", name="MODEL"
        )
    return EmbedRequest(
        [models.find(name) for name in unique],
        datasets.find(dataset, limit=limit, skip_broken=skip_broken),
    )


def embed_and_show(
    request: EmbedRequest,
    view: EmbedOptions,
    precision: Precision,
    out: Path,
    device: Device,
    *,
    trust: bool,
    json: bool,
) -> None:
    """Compute an embedding under a live display, write it to a folder, print its numbers."""
    writable_folder(out)
    said = "features are kept; run the same command again to resume"
    with resumable(said), LiveReporter(errors if json else console) as reporter:
        context = RunContext(device=device, reporter=reporter, trust=trust)
        found = compute(request.models, request.dataset, view, precision, context)
    page = write_files(found, out)
    if json:
        typer.echo(json_module.dumps(record(found), indent=1, ensure_ascii=False))
        return
    console.print(found.source)
    console.print(separation_table(found))
    if len(found.similarity):
        console.print(similarity_table(found))
    typer.echo(f"Figure and tables: {out}/embedding.*, {out}/*.csv")
    typer.echo(f"Page: {page.resolve()}")


def write_files(found: Embedding, folder: Path) -> Path:
    """Write the figure, the tables and the page; give the page's place."""
    from headstart.figures import draw, save
    from headstart.report.embedding_page import write_embedding

    tables = found.tables()
    save(draw("embedding", tables, source=found.source), folder / "embedding")
    tables["images"] = tables["images"].drop(columns=["picture", "tiny"])
    for name, table in tables.items():
        with replaced(folder / f"{name}.csv") as temporary:
            table.to_csv(temporary, index=False)
    title = f"How networks see {found.dataset}"
    return write_embedding(found.tables(), folder / "embedding.html", title, found.source)


def separation_table(found: Embedding) -> PlainTable:
    """One row per network: how far the classes are apart for it."""
    neighbours = f"{found.separation['neighbours'].iloc[0]} neighbours %"
    numbers = ("features", "silhouette", neighbours, "within/between")
    table = plain_table("model", *numbers, right=set(numbers))
    for row in found.separation.to_dict("records"):
        table.add_row(
            shortened(row["model"]),
            f"{row['features']:,}",
            f"{row['silhouette']:.3f}",
            f"{100 * row['neighbour_accuracy']:.2f}",
            f"{row['variance_ratio']:.2f}",
        )
    return table


def similarity_table(found: Embedding) -> PlainTable:
    """One row per pair of networks: how alike their features are."""
    numbers = ("CKA", "unbiased")
    table = plain_table("model", "other", *numbers, right=set(numbers))
    for row in found.similarity.to_dict("records"):
        names = (shortened(row["model"]), shortened(row["other"]))
        table.add_row(*names, f"{row['cka']:.3f}", f"{row['unbiased_cka']:.3f}")
    return table


def record(found: Embedding) -> dict[str, Any]:
    """Return the numbers as JSON has them: what is unknown or infinite is null."""

    def rows(table: pd.DataFrame) -> Any:
        return json_module.loads(table.to_json(orient="records", double_precision=15))

    return {
        "dataset": found.dataset,
        "classes": list(found.classes),
        "images": len(found.images),
        "perplexity": found.perplexity,
        "seed": found.seed,
        "separation": rows(found.separation),
        "similarity": rows(found.similarity),
    }
