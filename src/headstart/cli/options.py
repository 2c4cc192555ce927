"""Options shared by several commands, and groups of options. Imports nothing slow.

A group is a dataclass: a command that has it as a parameter has an option per field
(`command_group`), and reads from it what its library function takes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from headstart.cli.command_group import Verbosity, verbosity
from headstart.devices import Device
from headstart.errors import CommandError

__all__ = [
    "BAD_INPUT",
    "DEFAULT_STORE",
    "AnalysisFlags",
    "CsvFlag",
    "DeviceOption",
    "ExecutorOptions",
    "JsonFlag",
    "LimitOption",
    "LogName",
    "Precision",
    "PrecisionOption",
    "SeedsOption",
    "SettingsOption",
    "SkipBrokenFlag",
    "StoreOption",
    "StudyOptions",
    "TrainingOptions",
    "TrustFlag",
    "WorkersOption",
    "refuse_password",
]

# Exit code of a command that could not do all that it was asked for.
BAD_INPUT = 2
DEFAULT_STORE = "headstart.db"
OBJECT_STORAGE = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write them to ~/.aws/credentials"


Precision = Literal["fp32", "bf16"]
LogName = Literal["tensorboard", "mlflow", "wandb"]


def refuse_password(given: Any) -> Any:
    """Return an argument, or a list of them; CommandError if one is a URL with a password."""
    from headstart.shown_text import url_without_credentials

    for text in given if isinstance(given, list) else [given or ""]:
        if "://" in text and (shown := url_without_credentials(text)) != text:
            database = text.startswith("postgres")
            remedy = "PGPASSWORD, or write it to ~/.pgpass" if database else OBJECT_STORAGE
            raise CommandError(
                f"{shown}: a password on the command line is seen by others on this machine: set "
                f"{remedy}",
                code="command.password",
                url=shown,
            )
    return given


StoreOption = Annotated[
    str,
    typer.Option(
        help="Results database: a file, the folder that holds it, or a URL "
        "(postgresql+psycopg://user@host/database).",
        metavar="FILE",
        callback=refuse_password,
    ),
]
DeviceOption = Annotated[Device, typer.Option(help="Device; auto selects a GPU if there is one.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]
CsvFlag = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        help="Number of workers (on this machine: processes, one per GPU); 0 runs in this process, "
        "or on a Ray cluster as many as fit.",
        min=0,
        metavar="INTEGER",
    ),
]
SettingsOption = Annotated[
    str | None,
    typer.Option(
        help="Settings, separated by commas: linear, knn, finetune, scratch, or with a protocol, "
        "finetune:quick (default: linear).",
        metavar="NAMES",
    ),
]
SeedsOption = Annotated[
    str | None,
    typer.Option(
        help="Random seeds: integers and ranges, 0,1,2 or 0-4 (default: 0).", metavar="INTEGERS"
    ),
]
LimitOption = Annotated[
    int | None,
    typer.Option(
        help="Maximum number of images per split, class-balanced; all if omitted.",
        metavar="INTEGER",
    ),
]
PrecisionOption = Annotated[
    Precision | None,
    typer.Option(
        help="Numerical precision of the network (default: fp32); bf16 is faster on hardware that "
        "supports it."
    ),
]
SkipBrokenFlag = Annotated[
    bool, typer.Option("--skip-broken", help="Skip images that cannot be decoded, and count them.")
]
TrustFlag = Annotated[
    bool,
    typer.Option(
        "--trust", help="Allow code execution from study files and pickled weights (unsafe)."
    ),
]


@dataclass(frozen=True)
class StudyOptions:
    """What a study is, for the commands that take one."""

    study: Annotated[
        Path | None,
        typer.Argument(
            help="Study file (TOML), or the name of a shipped study: kornblith2019, "
            "kornblith2019-linear. Options replace its keys.",
            metavar="STUDY",
        ),
    ] = None
    models: Annotated[
        str | None,
        typer.Option(help="Models, separated by commas (see `headstart models`).", metavar="NAMES"),
    ] = None
    datasets: Annotated[
        str | None,
        typer.Option(
            help="Datasets, separated by commas: names (see `headstart datasets`), folders, "
            "tables.",
            metavar="NAMES",
        ),
    ] = None
    settings: SettingsOption = None
    seeds: SeedsOption = None
    further: Annotated[
        Literal["convergence", "dataset-size"] | None,
        typer.Option(
            "--study",
            help="Study of the paper whose settings, steps, sizes and seeds are used where "
            "omitted: accuracy by training steps, or by training images per class.",
        ),
    ] = None
    steps: Annotated[
        str | None,
        typer.Option(
            help="Numbers of training steps; one search and one final training per number.",
            metavar="INTEGERS",
        ),
    ] = None
    examples_per_class: Annotated[
        str | None, typer.Option(help="Numbers of training images per class.", metavar="INTEGERS")
    ] = None
    limit: LimitOption = None
    precision: PrecisionOption = None
    skip_broken: SkipBrokenFlag = False
    trust: TrustFlag = False

    def keys(self) -> dict[str, Any]:
        """Return the study's keys by name, and ``study`` for a further study; None is not given."""
        return {
            "models": self.models,
            "datasets": self.datasets,
            "settings": self.settings,
            "seeds": self.seeds,
            "study": self.further,
            "steps": self.steps,
            "examples_per_class": self.examples_per_class,
            "limit": self.limit,
            "precision": self.precision,
            "skip_broken": self.skip_broken or None,
        }


@dataclass(frozen=True)
class ExecutorOptions:
    """Where trials run, and what each worker gets."""

    workers: WorkersOption = 0
    executor: Annotated[
        str | None,
        typer.Option(
            help="Executor that runs the workers: processes, ray, slurm (see `headstart "
            "plugins`); processes on this machine if omitted.",
            metavar="NAME",
        ),
    ] = None
    address: Annotated[
        str | None,
        typer.Option(
            help="Ray cluster: auto, HOST:PORT, ray://HOST:PORT, or local, one for this run "
            "(default: $RAY_ADDRESS, else local).",
            metavar="ADDRESS",
        ),
    ] = None
    partition: Annotated[
        str | None, typer.Option(help="Slurm partition of workers.", metavar="NAME")
    ] = None
    time: Annotated[
        str | None,
        typer.Option(
            help="Time limit of a worker's Slurm job, as sbatch takes it: minutes, H:MM:SS, "
            "D-HH:MM (default: 4:00:00).",
            metavar="TIME",
        ),
    ] = None
    slurm_option: Annotated[
        list[str] | None,
        typer.Option(
            help="Option of sbatch, for example account=NAME. May be repeated.", metavar="KEY=VALUE"
        ),
    ] = None
    cpus_per_worker: Annotated[
        int | None,
        typer.Option(help="CPUs per worker (default: an equal share).", min=1, metavar="INTEGER"),
    ] = None
    gpus_per_worker: Annotated[
        float | None,
        typer.Option(
            help="GPUs per worker; on Ray also a fraction: with 0.25, four workers share a GPU "
            "(default: 1 if there are GPUs).",
            min=0,
            metavar="NUMBER",
        ),
    ] = None
    memory_per_worker: Annotated[
        float | None, typer.Option(help="Memory per worker in GB.", min=0, metavar="NUMBER")
    ] = None

    def keywords(self) -> dict[str, Any]:
        """Return keyword arguments of `Study.run`."""
        names = ("address", "partition", "time", "slurm_option", "cpus_per_worker",
                 "gpus_per_worker", "memory_per_worker")  # fmt: skip
        options = {name: getattr(self, name) for name in names}
        options["verbose"] = verbosity() == Verbosity.VERBOSE
        workers = self.workers or 0
        return {"workers": workers, "executor": self.executor, "executor_options": options}


@dataclass(frozen=True)
class TrainingOptions:
    """How a network is pretrained, for the commands that do."""

    steps: Annotated[
        int | None,
        typer.Option(help="Number of training steps (default: 90 epochs).", metavar="INTEGER"),
    ] = None
    batch_size: Annotated[
        int, typer.Option(help="Images per step, over all processes.", metavar="INTEGER")
    ] = 256
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="Initial learning rate (default: 0.1 per 256 images of a batch).", metavar="NUMBER"
        ),
    ] = None
    weight_decay: Annotated[
        float,
        typer.Option(
            help="Weight decay: coefficient of ||w||^2 / 2 of layer weights.", metavar="NUMBER"
        ),
    ] = 1e-4
    crop_area: Annotated[
        float,
        typer.Option(
            help="Minimum area of a random crop, as a proportion of the image.", metavar="NUMBER"
        ),
    ] = 0.08
    view: Annotated[
        Literal["central", "full"],
        typer.Option(help="Part of a test image that is evaluated: central 87.5 %, or full."),
    ] = "central"
    seed: Annotated[int, typer.Option(help="Random seed of pretraining.", metavar="INTEGER")] = 0
    limit: LimitOption = None
    skip_broken: SkipBrokenFlag = False
    precision: Annotated[Precision, typer.Option(help="Numerical precision of the network.")] = (
        "fp32"
    )
    device: DeviceOption = "auto"

    def recipe(self) -> dict[str, Any]:
        """Return the fields of a recipe."""
        names = ("steps", "batch_size", "learning_rate", "weight_decay", "seed")
        chosen = {name: getattr(self, name) for name in names}
        return {**chosen, "crop_area": (self.crop_area, 1.0), "view": self.view}

    def data(self) -> dict[str, Any]:
        """Return which images are used, and the arithmetic."""
        names = ("limit", "skip_broken", "precision")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class AnalysisFlags:
    """How tables of results are read and analyzed."""

    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE...",
            help="Results stores, tables (CSV, JSON, Excel, Parquet, Markdown, LaTeX, HTML), "
            "published tables. Options for one file: 'a.csv?dataset:=food101'.",
            callback=refuse_password,
        ),
    ] = None
    columns: Annotated[
        str | None,
        typer.Option(
            help="Names of columns: model=Model,accuracy=acc; several joined: "
            "model=Arch+Pretraining; one value for all rows: setting:=linear; ignored: "
            "ignore=Year.",
            metavar="COLUMNS",
        ),
    ] = None
    unit: Annotated[
        Literal["percent", "proportion"] | None,
        typer.Option(help="Unit of accuracies; inferred if omitted."),
    ] = None
    predictions: Annotated[
        list[str] | None,
        typer.Option(
            help="Table of predictions on single test images: model, dataset, example, and correct "
            "(or prediction and label, or scores and label). May be repeated.",
            metavar="FILE",
        ),
    ] = None
    wide: Annotated[
        bool,
        typer.Option("--wide", help="Tables with one column per dataset; inferred if omitted."),
    ] = False
    measure: Annotated[
        Literal["accuracy", "error"] | None,
        typer.Option(
            help="Meaning of the numbers: accuracies or error rates; inferred from headers, else "
            "accuracies."
        ),
    ] = None
    spread: Annotated[
        str,
        typer.Option(
            help="Meaning of the number after ±: se (standard error), or sd:N (standard deviation "
            "over N runs).",
            metavar="SPREAD",
        ),
    ] = "se"
    duplicates: Annotated[
        Literal["refuse", "average"],
        typer.Option(
            help="Treatment of rows that contradict each other: an error, or an average over runs."
        ),
    ] = "refuse"
    predictor: Annotated[
        str,
        typer.Option(
            help="Predictor of transfer: a column of numbers or an installed score (logme), and "
            "its scale after a colon: proportion, number or log.",
            metavar="COLUMN[:SCALE]",
        ),
    ] = "upstream_accuracy"
    predictors: Annotated[
        str | None,
        typer.Option(
            help="Predictors to judge against each other, separated by commas: columns, or "
            "installed scores (all: every one), which are computed from the cached features of a "
            "results store.",
            metavar="NAMES",
        ),
    ] = None
    groups: Annotated[
        Path | None,
        typer.Option(
            help="Groups of datasets (TOML or CSV file); under and over 10,000 training images if "
            "omitted.",
            metavar="FILE",
        ),
    ] = None
    error_bars: Annotated[
        Literal["morey", "cousineau"],
        typer.Option(
            help="Form of the error bars: morey (unbiased), or cousineau (as in the paper)."
        ),
    ] = "morey"
    correction: Annotated[
        Literal["simultaneous", "none"],
        typer.Option(help="Correction of intervals and p-values for the number of comparisons."),
    ] = "simultaneous"
    weights: Annotated[
        Literal["equal", "n_test"],
        typer.Option(
            help="Weight of a dataset in means over datasets: equal, or its number of test images."
        ),
    ] = "equal"
    resamples: Annotated[
        int,
        typer.Option(
            help="Number of resamples of bootstrap bands and permutation tests.", metavar="INTEGER"
        ),
    ] = 10_000
    seed: Annotated[int, typer.Option(help="Random seed of the resamples.", metavar="INTEGER")] = 0
    pairs: Annotated[
        bool,
        typer.Option("--pairs", help="Compare all pairs of models, even of more than 100 models."),
    ] = False

    def keywords(self) -> dict[str, Any]:
        """Return keyword arguments of `headstart.analysis.analyze`, without those of reading."""
        names = ("predictor", "groups", "error_bars", "correction", "weights", "resamples",
                 "seed", "pairs")  # fmt: skip
        return {name: getattr(self, name) for name in names}

    def reading(self) -> tuple[Any, ...]:
        """Return the arguments of `headstart.analysis.ReadOptions`."""
        return (self.unit, self.wide, self.measure, self.spread, self.duplicates)
