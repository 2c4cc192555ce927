"""Options that several commands have. Imports nothing that is slow."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "BAD_INPUT",
    "DEFAULT_STORE",
    "INTERRUPTED",
    "DeviceName",
    "DeviceOption",
    "ExamplesOption",
    "FurtherName",
    "FurtherOption",
    "JsonFlag",
    "KeepOption",
    "LimitOption",
    "ListOption",
    "LogFolderOption",
    "LogName",
    "LogOption",
    "PrecisionName",
    "PrecisionOption",
    "SeedsOption",
    "SettingsOption",
    "SkipBrokenFlag",
    "StepsOption",
    "StoreOption",
    "StudyArgument",
    "TrustFlag",
    "WorkersOption",
]

# Exit code of a command that could not do all that it was asked for.
BAD_INPUT = 2
# Exit code of a command that Ctrl-C ended.
INTERRUPTED = 130
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


class FurtherName(StrEnum):
    """A study with a further factor."""

    convergence = "convergence"
    dataset_size = "dataset-size"


class LogName(StrEnum):
    """What draws curves of a run."""

    tensorboard = "tensorboard"
    mlflow = "mlflow"
    wandb = "wandb"


StoreOption = Annotated[Path, typer.Option(help="Results database, or the folder it is in.")]
DeviceOption = Annotated[DeviceName, typer.Option(help="auto takes a GPU where there is one.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ListOption = Annotated[
    str | None, typer.Option(help="Names, separated by commas.", show_default=False)
]
WorkersOption = Annotated[
    int,
    typer.Option(
        help="Processes that train beside each other, one a GPU; 0: this one alone.", min=0
    ),
]
KeepOption = Annotated[
    Path | None,
    typer.Option(help="Folder for the networks that trials end with.", show_default=False),
]

LogOption = Annotated[
    LogName | None,
    typer.Option(help="Also write curves and outcomes for this tool.", show_default=False),
]
LogFolderOption = Annotated[
    Path | None,
    typer.Option(help="Where to; headstart-logs unless given.", show_default=False),
]

# What a study is, for the commands that take one.
StudyArgument = Annotated[Path | None, typer.Argument(help="Study file (TOML).")]
SettingsOption = Annotated[
    str | None,
    typer.Option(help="Names, separated by commas: linear, or with a protocol, finetune:quick."),
]
SeedsOption = Annotated[
    str | None, typer.Option(help="Whole numbers, separated by commas; 0 unless given.")
]
FurtherOption = Annotated[
    FurtherName | None,
    typer.Option(
        "--study",
        help="Steps against accuracy, or images a class against accuracy, with the settings, "
        "numbers and seeds of the paper where none are given.",
        show_default=False,
    ),
]
StepsOption = Annotated[
    str | None,
    typer.Option(help="Numbers of steps to train for, each a search and a run of its own."),
]
ExamplesOption = Annotated[str | None, typer.Option(help="Numbers of training images a class.")]
LimitOption = Annotated[
    int | None, typer.Option(help="At most so many images of each split, class-balanced.")
]
PrecisionOption = Annotated[
    PrecisionName | None,
    typer.Option(help="fp32 unless given; bf16 is faster where the processor has it."),
]
SkipBrokenFlag = Annotated[
    bool, typer.Option("--skip-broken", help="Leave out images that do not decode; count them.")
]
TrustFlag = Annotated[
    bool,
    typer.Option("--trust", help="Execute what functions in a study file and pickled weights say."),
]
