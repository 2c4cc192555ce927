"""`headstart pretrain` and `ablate`: the commands. What is slow to import each imports itself."""

import sys
from enum import StrEnum
from typing import Annotated

import typer

from headstart.cli.options import (
    BAD_INPUT,
    DEFAULT_STORE,
    DeviceName,
    DeviceOption,
    ExecutorOption,
    LimitOption,
    PrecisionName,
    SeedsOption,
    SettingsOption,
    SkipBrokenFlag,
    StoreOption,
    WorkersOption,
)

__all__ = ["ablate", "pretrain"]


class ViewName(StrEnum):
    """Parts of a test image that are evaluated."""

    central = "central"
    full = "full"


StepsOption = Annotated[
    int | None,
    typer.Option(
        help="Number of training steps (default: 90 epochs).",
        metavar="INTEGER",
        show_default=False,
    ),
]
BatchOption = Annotated[
    int, typer.Option(help="Images per step, over all processes.", metavar="INTEGER")
]
RateOption = Annotated[
    float | None,
    typer.Option(
        help="Initial learning rate (default: 0.1 per 256 images of a batch).",
        metavar="NUMBER",
        show_default=False,
    ),
]
DecayOption = Annotated[
    float,
    typer.Option(
        help="Weight decay: coefficient of ||w||^2 / 2 of layer weights.", metavar="NUMBER"
    ),
]
CropOption = Annotated[
    float,
    typer.Option(
        help="Minimum area of a random crop, as a proportion of the image.", metavar="NUMBER"
    ),
]
ViewOption = Annotated[
    ViewName,
    typer.Option(help="Part of a test image that is evaluated: central 87.5 %, or full."),
]
ArithmeticOption = Annotated[PrecisionName, typer.Option(help="Arithmetic of the network.")]

NameOption = Annotated[
    str | None,
    typer.Option(
        help="Name of the model, then used as pretrained:NAME (default: architecture, dataset and "
        "a digest of the recipe).",
        metavar="NAME",
        show_default=False,
    ),
]
ConfigurationOption = Annotated[
    str | None,
    typer.Option(
        help="Label of this training recipe; analyses then compare recipes of one architecture.",
        metavar="TEXT",
        show_default=False,
    ),
]

SmoothingWhereOn = Annotated[
    float,
    typer.Option(
        help="Label smoothing where it is on: proportion spread over all classes.",
        metavar="NUMBER",
    ),
]
DropoutWhereOn = Annotated[
    float,
    typer.Option(help="Dropout rate before the classifier, where it is on.", metavar="NUMBER"),
]
TransferOption = Annotated[
    str, typer.Option(help="Datasets to transfer to, separated by commas.", metavar="NAMES")
]


def pretrain(
    arch: Annotated[
        str,
        typer.Option(help="Architecture of any library: timm:resnet18?size=32.", metavar="NAME"),
    ],
    dataset: Annotated[str, typer.Option(help="Dataset with one label per image.", metavar="NAME")],
    steps: StepsOption = None,
    batch_size: BatchOption = 256,
    learning_rate: RateOption = None,
    weight_decay: DecayOption = 1e-4,
    crop_area: CropOption = 0.08,
    view: ViewOption = ViewName.central,
    no_bn_scale: Annotated[
        bool,
        typer.Option("--no-bn-scale", help="Fix the scale parameters of batch norm at 1."),
    ] = False,
    label_smoothing: Annotated[
        float,
        typer.Option(help="Label smoothing: proportion spread over all classes.", metavar="NUMBER"),
    ] = 0.0,
    dropout: Annotated[
        float, typer.Option(help="Dropout rate before the classifier.", metavar="NUMBER")
    ] = 0.0,
    aux_head: Annotated[
        bool,
        typer.Option("--aux-head", help="Train the auxiliary classifiers of the architecture."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Random seed.", metavar="INTEGER")] = 0,
    limit: LimitOption = None,
    skip_broken: SkipBrokenFlag = False,
    precision: ArithmeticOption = PrecisionName.fp32,
    device: DeviceOption = DeviceName.auto,
    name: NameOption = None,
    configuration: ConfigurationOption = None,
) -> None:
    """Pretrain a classifier from random weights, and register it as a model.

    A registered model is not trained again; an interrupted run resumes. On several GPUs:
    torchrun --nproc-per-node 8 -m headstart pretrain ...
    """
    from headstart.cli.pretraining import pretrain_and_show

    options = {
        "steps": steps,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "crop_area": (crop_area, 1.0),
        "view": view.value,
        "bn_scale": not no_bn_scale,
        "label_smoothing": label_smoothing,
        "dropout": dropout,
        "aux_head": aux_head,
        "seed": seed,
        "limit": limit,
        "skip_broken": skip_broken,
        "precision": precision.value,
    }
    pretrain_and_show(arch, dataset, options, device.value, name=name, configuration=configuration)


def ablate(
    arch: Annotated[str, typer.Option(help="Architectures, separated by commas.", metavar="NAMES")],
    dataset: Annotated[str, typer.Option(help="Dataset for pretraining.", metavar="NAME")],
    transfer: TransferOption,
    settings: SettingsOption = None,
    seeds: SeedsOption = None,
    store: StoreOption = DEFAULT_STORE,
    steps: StepsOption = None,
    batch_size: BatchOption = 256,
    learning_rate: RateOption = None,
    weight_decay: DecayOption = 1e-4,
    crop_area: CropOption = 0.08,
    view: ViewOption = ViewName.central,
    label_smoothing: SmoothingWhereOn = 0.1,
    dropout: DropoutWhereOn = 0.2,
    seed: Annotated[int, typer.Option(help="Random seed of pretraining.", metavar="INTEGER")] = 0,
    limit: LimitOption = None,
    skip_broken: SkipBrokenFlag = False,
    precision: ArithmeticOption = PrecisionName.fp32,
    device: DeviceOption = DeviceName.auto,
    workers: WorkersOption = 0,
    executor: ExecutorOption = None,
) -> None:
    """Pretrain with and without each regularizer, and compare the transfer accuracy.

    Five configurations in the order of Kornblith et al. (2019): with label smoothing, dropout and
    auxiliary classifier, without batch-norm scale parameters; with them; without each of the others
    in turn. Run the same command again to resume.
    """
    from headstart.cli.pretraining import ablate_and_show
    from headstart.cli.study_options import read_study

    options = {
        "steps": steps,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "crop_area": (crop_area, 1.0),
        "view": view.value,
        "label_smoothing": label_smoothing,
        "dropout": dropout,
        "seed": seed,
    }
    study, _ = read_study(
        None,
        {"models": arch, "datasets": transfer, "settings": settings, "seeds": seeds}
        | {"limit": limit, "skip_broken": skip_broken, "precision": precision.value},
    )
    found = ablate_and_show(study, dataset, store, options, device.value, workers, executor)
    if found.failures or (found.run and found.run.failures):
        sys.exit(BAD_INPUT)
