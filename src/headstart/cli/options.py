"""Options that several commands have. Imports nothing that is slow."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "DEFAULT_STORE",
    "DeviceName",
    "DeviceOption",
    "JsonFlag",
    "ListOption",
    "PrecisionName",
    "StoreOption",
]

DEFAULT_STORE = Path("headstart.db")


class DeviceName(StrEnum):
    """Where to compute."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class PrecisionName(StrEnum):
    """The network's arithmetic."""

    fp32 = "fp32"
    bf16 = "bf16"


StoreOption = Annotated[Path, typer.Option(help="Results database, or the folder it is in.")]
DeviceOption = Annotated[DeviceName, typer.Option(help="auto takes a GPU where there is one.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ListOption = Annotated[
    str | None, typer.Option(help="Names, separated by commas.", show_default=False)
]
