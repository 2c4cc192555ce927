"""`headstart miniature`. What is slow to import is imported when it runs."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from headstart.cli.options import BAD_INPUT, DeviceName, DeviceOption

__all__ = ["miniature"]


def miniature(
    out: Annotated[
        Path,
        typer.Option(help="Folder for results, figures, tables and report.", metavar="FOLDER"),
    ] = Path("headstart-miniature"),
    tiny: Annotated[
        bool,
        typer.Option("--tiny", help="Smoke test in minutes; results are not meaningful."),
    ] = False,
    device: DeviceOption = DeviceName.auto,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Number of worker processes (default: one per processor); 0 runs in this process.",
            min=0,
            metavar="INTEGER",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run the whole study of the paper on small networks and images, without any download."""
    from headstart.cli.miniature import miniature_and_show
    from headstart.miniature import FULL, TINY

    if miniature_and_show(TINY if tiny else FULL, out, device.value, workers).failures:
        sys.exit(BAD_INPUT)
