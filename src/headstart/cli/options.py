"""Options that several commands have. Imports nothing that is slow."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "BAD_INPUT",
    "DEFAULT_STORE",
    "INTERRUPTED",
    "CsvFlag",
    "DatasetsOption",
    "DeviceName",
    "DeviceOption",
    "DryRunFlag",
    "ExamplesOption",
    "ExecutorOption",
    "FurtherName",
    "FurtherOption",
    "JsonFlag",
    "KeepOption",
    "LimitOption",
    "LogFolderOption",
    "LogName",
    "LogOption",
    "ModelsOption",
    "PrecisionName",
    "PrecisionOption",
    "PriceOption",
    "PrintStudyFlag",
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
    """Devices that compute."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class PrecisionName(StrEnum):
    """Arithmetic of the network."""

    fp32 = "fp32"
    bf16 = "bf16"


class FurtherName(StrEnum):
    """Studies of the paper with one more factor."""

    convergence = "convergence"
    dataset_size = "dataset-size"


class LogName(StrEnum):
    """Tools that draw training curves."""

    tensorboard = "tensorboard"
    mlflow = "mlflow"
    wandb = "wandb"


StoreOption = Annotated[
    Path, typer.Option(help="Results database, or the folder that holds it.", metavar="FILE")
]
DeviceOption = Annotated[
    DeviceName, typer.Option(help="Device; auto selects a GPU if there is one.")
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]
CsvFlag = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
ModelsOption = Annotated[
    str | None,
    typer.Option(
        help="Models, separated by commas (see `headstart models`).",
        metavar="NAMES",
        show_default=False,
    ),
]
DatasetsOption = Annotated[
    str | None,
    typer.Option(
        help="Datasets, separated by commas: names (see `headstart datasets`), folders, tables.",
        metavar="NAMES",
        show_default=False,
    ),
]
WorkersOption = Annotated[
    int,
    typer.Option(
        help="Number of worker processes (one per GPU); 0 runs in this process.",
        min=0,
        metavar="INTEGER",
    ),
]
ExecutorOption = Annotated[
    str | None,
    typer.Option(
        help="Executor that runs the workers (see `headstart plugins`); processes on this machine "
        "if omitted.",
        metavar="NAME",
        show_default=False,
    ),
]
KeepOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder for the final model of each trial; not kept if omitted.",
        metavar="FOLDER",
        show_default=False,
    ),
]

LogOption = Annotated[
    LogName | None,
    typer.Option(
        help="Tool that also gets training curves and results; none if omitted.", show_default=False
    ),
]
LogFolderOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder for --log (default: headstart-logs).", metavar="FOLDER", show_default=False
    ),
]

# What a study is, for the commands that take one.
StudyArgument = Annotated[
    Path | None,
    typer.Argument(
        help="Study file (TOML), or the name of a shipped study: kornblith2019, "
        "kornblith2019-linear. Options replace its keys.",
        metavar="STUDY",
        show_default=False,
    ),
]
SettingsOption = Annotated[
    str | None,
    typer.Option(
        help="Settings, separated by commas: linear, knn, finetune, scratch, or with a protocol, "
        "finetune:quick (default: linear).",
        metavar="NAMES",
        show_default=False,
    ),
]
SeedsOption = Annotated[
    str | None,
    typer.Option(
        help="Random seeds: integers and ranges, 0,1,2 or 0-4 (default: 0).",
        metavar="INTEGERS",
        show_default=False,
    ),
]
FurtherOption = Annotated[
    FurtherName | None,
    typer.Option(
        "--study",
        help="Study of the paper that fills in settings, steps, sizes and seeds that are omitted: "
        "accuracy by training steps, or by training images per class.",
        show_default=False,
    ),
]
StepsOption = Annotated[
    str | None,
    typer.Option(
        help="Numbers of training steps; one search and one final training per number.",
        metavar="INTEGERS",
        show_default=False,
    ),
]
ExamplesOption = Annotated[
    str | None,
    typer.Option(
        help="Numbers of training images per class.", metavar="INTEGERS", show_default=False
    ),
]
LimitOption = Annotated[
    int | None,
    typer.Option(
        help="Maximum number of images per split, class-balanced; all if omitted.",
        metavar="INTEGER",
        show_default=False,
    ),
]
PrecisionOption = Annotated[
    PrecisionName | None,
    typer.Option(
        help="Arithmetic of the network (default: fp32); bf16 is faster on hardware that has it.",
        show_default=False,
    ),
]
SkipBrokenFlag = Annotated[
    bool,
    typer.Option("--skip-broken", help="Skip images that cannot be decoded, and count them."),
]
TrustFlag = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="Allow code execution from study files and pickled weights (unsafe).",
    ),
]
PrintStudyFlag = Annotated[
    bool,
    typer.Option("--print-study", help="Print the study as a TOML file; run nothing."),
]
DryRunFlag = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="List what is missing, and estimate the cost; run nothing.",
    ),
]
PriceOption = Annotated[
    float | None,
    typer.Option(
        help="Price per hour of this device, in any currency.",
        min=0,
        metavar="NUMBER",
        show_default=False,
    ),
]
