"""`headstart embed`: the command. What is slow to import is imported by it."""

from pathlib import Path
from typing import Annotated

import typer

from headstart.cli.options import (
    DeviceName,
    DeviceOption,
    JsonFlag,
    LimitOption,
    PrecisionOption,
    SkipBrokenFlag,
    TrustFlag,
)

__all__ = ["embed"]


def embed(
    dataset: Annotated[str, typer.Option(help="Dataset with one label per image.", metavar="NAME")],
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODEL...", help="Models to compare.", show_default=False),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            help="Number of classes drawn at random, or names, separated by commas (default: 10).",
            metavar="CLASSES",
            show_default=False,
        ),
    ] = None,
    images: Annotated[
        int, typer.Option(help="Maximum number of test images, class-balanced.", metavar="INTEGER")
    ] = 1000,
    perplexity: Annotated[
        float | None,
        typer.Option(
            help="Perplexity of t-SNE (default: 30).", metavar="NUMBER", show_default=False
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Random seed of classes, images and t-SNE.", metavar="INTEGER")
    ] = 0,
    limit: LimitOption = None,
    out: Annotated[
        Path, typer.Option(help="Folder for figure, page and tables.", metavar="FOLDER")
    ] = Path("headstart-embedding"),
    device: DeviceOption = DeviceName.auto,
    precision: PrecisionOption = None,
    skip_broken: SkipBrokenFlag = False,
    trust: TrustFlag = False,
    json: JsonFlag = False,
) -> None:
    """Draw t-SNE embeddings of test images, and measure how well their classes are separated.

    For description only: a model that is selected by it was selected on test images.
    """
    from headstart.cli.embedding import embed_and_show, find_request, view_of

    view = view_of(classes, images, perplexity, seed)
    request = find_request(models or [], dataset, limit, skip_broken=skip_broken)
    embed_and_show(
        request,
        view,
        precision.value if precision else "fp32",
        out,
        device.value,
        trust=trust,
        json=json,
    )
