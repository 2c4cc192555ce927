"""`headstart embed`: draw embeddings of test images, and measure how their classes separate."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart.cli.options import (
    DeviceOption,
    JsonFlag,
    LimitOption,
    PrecisionOption,
    SkipBrokenFlag,
    TrustFlag,
)
from headstart.cli.output import console, echo, print_json
from headstart.errors import CommandError

if TYPE_CHECKING:
    import pandas as pd

    from headstart.embedding import Embedding

__all__ = ["embed", "write_files"]


@dataclass(frozen=True)
class _EmbedArguments:
    """What is embedded, and how."""

    dataset: Annotated[str, typer.Option(help="Dataset with one label per image.", metavar="NAME")]
    models: Annotated[
        list[str] | None, typer.Argument(metavar="MODEL...", help="Models to compare.")
    ] = None
    classes: Annotated[
        str | None,
        typer.Option(
            help="Number of classes drawn at random, or names, separated by commas (default: 10).",
            metavar="CLASSES",
        ),
    ] = None
    images: Annotated[
        int, typer.Option(help="Maximum number of test images, class-balanced.", metavar="INTEGER")
    ] = 1000
    perplexity: Annotated[
        float | None, typer.Option(help="Perplexity of t-SNE (default: 30).", metavar="NUMBER")
    ] = None
    seed: Annotated[
        int, typer.Option(help="Random seed of classes, images and t-SNE.", metavar="INTEGER")
    ] = 0
    limit: LimitOption = None
    precision: PrecisionOption = None
    skip_broken: SkipBrokenFlag = False
    trust: TrustFlag = False

    @property
    def chosen_classes(self) -> int | tuple[str, ...] | None:
        """Read which classes to show: a whole number of them, or their names."""
        if self.classes is None:
            return None
        names = tuple(part.strip() for part in self.classes.split(",") if part.strip())
        # A class may be called 3, but one class alone is not shown: a number alone is how many.
        return int(names[0]) if len(names) == 1 and names[0].isdecimal() else names


def embed(
    options: _EmbedArguments,
    out: Annotated[
        Path, typer.Option(help="Folder for figure, page and tables.", metavar="FOLDER")
    ] = Path("headstart-embedding"),
    device: DeviceOption = "auto",
    json: JsonFlag = False,
) -> None:
    """Draw t-SNE embeddings of test images, and measure how well their classes are separated.

    For description only: to select a model by it is to select on test images.
    """
    from headstart import datasets, models
    from headstart.cli.progress import watched
    from headstart.context import RunContext
    from headstart.embedding import EmbedOptions
    from headstart.embedding import embed as compute
    from headstart.files import writable_folder

    view = EmbedOptions(
        classes=options.chosen_classes,
        images=options.images,
        perplexity=options.perplexity,
        seed=options.seed,
    )
    # A network that is named twice is shown once.
    names = dict.fromkeys(
        name for part in options.models or [] for name in models.split_names(part)
    )
    if not names:
        raise CommandError(
            "argument MODEL is missing: name at least one", code="command.missing", name="MODEL"
        )
    chosen = [models.find(name) for name in names]
    shown = datasets.find(options.dataset, limit=options.limit, skip_broken=options.skip_broken)
    writable_folder(out)
    kept = "features are kept; run the same command again to resume"
    with watched(kept, for_programs=json) as reporter:
        context = RunContext(device=device, reporter=reporter, trust=options.trust)
        found = compute(chosen, shown, view, options.precision or "fp32", context)
    page = write_files(found, out)
    if json:
        print_json(_record(found), ascii_only=False)
        return
    from headstart.cli.terminal_tables import table_parts
    from headstart.report.image_pages import separation_table, similarity_table

    console.print(found.source)
    for table in (separation_table(found.separation), similarity_table(found.similarity)):
        for line in table_parts(table):
            console.print(line)
    echo(f"Figure and tables: {out}/embedding.*, {out}/*.csv")
    echo(f"Page: {page.resolve()}")


def write_files(found: "Embedding", folder: Path) -> Path:
    """Write the figure, the tables and the page; return the path of the page."""
    from headstart.figures import draw, save
    from headstart.files import replaced
    from headstart.report.image_pages import embedding_html
    from headstart.report.page_templates import write_html
    from headstart.report.reporter import to_csv

    tables = found.tables()
    save(draw("embedding", tables, source=found.source), folder / "embedding")
    tables["images"] = tables["images"].drop(columns=["picture", "tiny"])
    for name, table in tables.items():
        with replaced(folder / f"{name}.csv") as temporary:
            temporary.write_text(to_csv(table), encoding="utf-8", newline="")
    title = f"How networks see {found.dataset}"
    html = embedding_html(found.tables(), title, found.source)
    return write_html(html, folder / "embedding.html")


def _record(found: "Embedding") -> dict[str, Any]:
    """Return the numbers as JSON has them: what is unknown or infinite is null."""

    def rows(table: "pd.DataFrame") -> Any:
        return json.loads(table.to_json(orient="records", double_precision=15))

    return {
        "dataset": found.dataset,
        "classes": list(found.classes),
        "images": len(found.images),
        "perplexity": found.perplexity,
        "seed": found.seed,
        "separation": rows(found.separation),
        "similarity": rows(found.similarity),
    }
