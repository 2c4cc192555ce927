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
    """What of a test image is seen."""

    central = "central"
    full = "full"


StepsOption = Annotated[
    int | None, typer.Option(help="Updates; 90 epochs unless given.", show_default=False)
]
BatchOption = Annotated[int, typer.Option(help="Images of an update, over all processes.")]
RateOption = Annotated[
    float | None,
    typer.Option(
        help="At the first update; 0.1 for each 256 images of a batch unless given.",
        show_default=False,
    ),
]
DecayOption = Annotated[float, typer.Option(help="Coefficient of ||w||^2 / 2, of layers' weights.")]
CropOption = Annotated[
    float, typer.Option(help="Smallest share of an image that a random crop takes.")
]
ViewOption = Annotated[
    ViewName, typer.Option(help="What of a test image is seen: its central 87.5 %, or all.")
]
ArithmeticOption = Annotated[PrecisionName, typer.Option(help="Of the network's products.")]

NameOption = Annotated[
    str | None,
    typer.Option(
        help="Then it is pretrained:NAME; architecture, dataset and the start of the recipe's "
        "digest unless given.",
        show_default=False,
    ),
]
ConfigurationOption = Annotated[
    str | None,
    typer.Option(
        help="How it is trained, in words: a factor of its own in analyses, which then call "
        "the model by its architecture.",
        show_default=False,
    ),
]


def pretrain(
    arch: Annotated[str, typer.Option(help="A network of any library: timm:resnet18?size=32.")],
    dataset: Annotated[str, typer.Option(help="Any dataset with one label an image.")],
    steps: StepsOption = None,
    batch_size: BatchOption = 256,
    learning_rate: RateOption = None,
    weight_decay: DecayOption = 1e-4,
    crop_area: CropOption = 0.08,
    view: ViewOption = ViewName.central,
    no_bn_scale: Annotated[
        bool, typer.Option("--no-bn-scale", help="Batch norms' scales stay 1.")
    ] = False,
    label_smoothing: Annotated[
        float, typer.Option(help="Share of a label that is spread over all classes.")
    ] = 0.0,
    dropout: Annotated[float, typer.Option(help="Rate before the classifier.")] = 0.0,
    aux_head: Annotated[
        bool, typer.Option("--aux-head", help="Train the architecture's auxiliary classifiers.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of all that is random.")] = 0,
    limit: LimitOption = None,
    skip_broken: SkipBrokenFlag = False,
    precision: ArithmeticOption = PrecisionName.fp32,
    device: DeviceOption = DeviceName.auto,
    name: NameOption = None,
    configuration: ConfigurationOption = None,
) -> None:
    """Train an upstream classifier from random weights, measure and register it.

    What is registered is not trained again; what was interrupted goes on. On several GPUs:
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
    arch: Annotated[str, typer.Option(help="Networks, separated by commas.")],
    dataset: Annotated[str, typer.Option(help="What they are pretrained on.")],
    transfer: Annotated[str, typer.Option(help="Datasets to transfer to, separated by commas.")],
    settings: SettingsOption = None,
    seeds: SeedsOption = None,
    store: StoreOption = DEFAULT_STORE,
    steps: StepsOption = None,
    batch_size: BatchOption = 256,
    learning_rate: RateOption = None,
    weight_decay: DecayOption = 1e-4,
    crop_area: CropOption = 0.08,
    view: ViewOption = ViewName.central,
    label_smoothing: Annotated[
        float, typer.Option(help="Share of a label that is spread, where it is on.")
    ] = 0.1,
    dropout: Annotated[
        float, typer.Option(help="Rate before the classifier, where it is on.")
    ] = 0.2,
    seed: Annotated[int, typer.Option(help="Of all that is random upstream.")] = 0,
    limit: LimitOption = None,
    skip_broken: SkipBrokenFlag = False,
    precision: ArithmeticOption = PrecisionName.fp32,
    device: DeviceOption = DeviceName.auto,
    workers: WorkersOption = 0,
) -> None:
    """Pretrain with and without each regularizer, transfer all, show what each does.

    Five configurations in the order of Kornblith et al. (2019): with label smoothing, dropout and
    auxiliary classifier, without the scales of batch norms; with them; without each of the others
    in turn. What is there already is not done again.
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
    found = ablate_and_show(study, dataset, store, options, device.value, workers)
    if found.failures or (found.run and found.run.failures):
        sys.exit(BAD_INPUT)
