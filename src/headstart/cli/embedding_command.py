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
    dataset: Annotated[str, typer.Option(help="Whose test images; one label an image.")],
    models: Annotated[
        list[str] | None, typer.Argument(metavar="MODEL...", help="Networks, side by side.")
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            help="How many are drawn, or names, separated by commas; 10 unless given.",
            show_default=False,
        ),
    ] = None,
    images: Annotated[int, typer.Option(help="At most so many, class-balanced.")] = 1000,
    perplexity: Annotated[
        float | None, typer.Option(help="Of t-SNE; 30 unless given.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Draws classes and images, starts t-SNE.")] = 0,
    limit: LimitOption = None,
    out: Annotated[Path, typer.Option(help="Folder for the figure, the page, the tables.")] = Path(
        "headstart-embedding"
    ),
    device: DeviceOption = DeviceName.auto,
    precision: PrecisionOption = None,
    skip_broken: SkipBrokenFlag = False,
    trust: TrustFlag = False,
    json: JsonFlag = False,
) -> None:
    """Show how networks see test images: t-SNE of their features, and how far classes are apart.

    It describes: whoever chooses a network by it has chosen on test images.
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
