"""`headstart miniature`. What is slow to import is imported when it runs."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from headstart.cli.options import BAD_INPUT, DeviceName, DeviceOption

__all__ = ["miniature"]


def miniature(
    out: Annotated[
        Path, typer.Option(help="Folder for results, figures, tables and the report.")
    ] = Path("headstart-miniature"),
    tiny: Annotated[
        bool, typer.Option("--tiny", help="Every part in minutes; its numbers say nothing.")
    ] = False,
    device: DeviceOption = DeviceName.auto,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Processes beside each other; one a processor unless given, 0: this one alone.",
            min=0,
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run the paper's whole study on small networks and images, here. Nothing to download."""
    from headstart.cli.miniature import miniature_and_show
    from headstart.miniature import FULL, TINY

    if miniature_and_show(TINY if tiny else FULL, out, device.value, workers).failures:
        sys.exit(BAD_INPUT)
