"""Sizes of the miniature: its networks, datasets and numbers of steps. Pure data."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

__all__ = ["FULL", "TINY", "ChainScale"]

Fields = dict[str, Any]


@dataclass(frozen=True)
class ChainScale:
    """The whole study for small networks and images.

    Parameters
    ----------
    name
        Prefix of the networks' names.
    networks
        Architectures of the source ``small``.
    upstream
        Dataset to pretrain on.
    pretraining
        Fields of every `headstart.spec.Recipe`.
    targets
        Datasets to transfer to, with a limit on images per split; None for all.
    settings
        Options of each setting, as in `headstart.study.Study`.
    ablated, ablation_settings
        Networks to pretrain in all configurations of the paper, and names of the settings to
        transfer them by.
    convergence_model, curve_targets, curve_steps
        Network, datasets and numbers of steps per setting of the convergence study.
    size_model, size_targets, examples_per_class, seeds
        Network, datasets, images per class and random subsets of the dataset-size study.
    embed_dataset, classes
        Dataset to embed test features of, and the number of its classes.
    upstream_limit
        Limit on images per split of the upstream dataset; None for all.
    """

    name: str
    networks: tuple[str, ...]
    upstream: str
    pretraining: Fields
    targets: Mapping[str, int | None]
    settings: tuple[Fields, ...]
    ablated: tuple[str, ...]
    ablation_settings: tuple[str, ...]
    convergence_model: str
    curve_targets: tuple[str, ...]
    curve_steps: dict[str, tuple[int, ...]]
    size_model: str
    size_targets: tuple[str, ...]
    examples_per_class: tuple[int, ...]
    seeds: tuple[int, ...]
    embed_dataset: str
    classes: int
    upstream_limit: int | None = None

    def name_of(self, arch: str, configuration: str = "") -> str:
        """Return the name of the network of an architecture, or of one of its configurations."""
        label = configuration.partition(":")[0]
        return "-".join([self.name, short(arch), *([label] if label else [])])

    def setting(self, name: str, **changes: Any) -> Fields:
        """Return the options of a setting, with changes."""
        (found,) = [options for options in self.settings if options["name"] == name]
        return {**found, **changes}


def short(arch: str) -> str:
    """Return a model's name without source and options."""
    return arch.partition(":")[2].partition("?")[0]


def _training(rates: tuple[float, ...], **options: Any) -> Fields:
    """Return options of fine-tuning on a target: these learning rates, the whole image."""
    usual = {
        "protocol": "quick",
        "weight_decays": [0.0],
        "side": 32,
        "crop_area": [0.5, 1.0],
        "flip": False,
        "crops": ["full"],
    }
    return {**usual, "learning_rates": list(rates), **options}


# Several families, widths and depths, so that accuracies differ.
NETWORKS = tuple(
    f"small:{name}"
    for name in (
        "resnet10_w4", "resnet10_w8", "resnet10_w16", "resnet18_w16", "seresnet10_w16",
        "densenet22_g4", "densenet22_g8", "densenet22_g16", "mobilenet_w8", "mobilenet_w16",
        "vgg6_w8", "vgg6_w16", "inception_w8", "inception_w16",
    )
)  # fmt: skip
FULL = ChainScale(
    name="miniature",
    networks=NETWORKS,
    upstream="characters",
    pretraining={
        "steps": 4000,
        "batch_size": 32,
        "learning_rate": 0.05,
        "weight_decay": 5e-4,
        "side": 32,
        "crop_area": (0.8, 1.0),
        "flip": False,
        "view": "full",
    },
    targets={
        "digits": None,
        "fashion_mnist": 2000,
        "shapes": None,
        "textures": None,
        "patches": None,
        "charts": None,
    },
    settings=(
        {"name": "linear"},
        {"name": "finetune", **_training((0.003, 0.03, 0.3), steps=100, batch_size=32)},
        {"name": "scratch", **_training((0.01, 0.1, 1.0), steps=100, batch_size=32)},
    ),
    ablated=("small:inception_w8", "small:inception_w16"),
    ablation_settings=("linear", "finetune"),
    convergence_model="small:resnet10_w16",
    curve_targets=("digits", "textures"),
    curve_steps={
        "finetune": (12, 25, 50, 100, 200, 400),
        "scratch": (12, 25, 50, 100, 200, 400, 800),
    },
    size_model="small:resnet10_w16",
    size_targets=("digits", "textures"),
    examples_per_class=(1, 4, 16, 64),
    seeds=(0, 1, 2),
    embed_dataset="digits",
    classes=10,
)
# A smoke test of every part in minutes: its results are not meaningful.
TINY = replace(
    FULL,
    name="miniature-tiny",
    networks=(*NETWORKS[1:3], "small:vgg6_w8", "small:inception_w8"),
    pretraining={**FULL.pretraining, "steps": 60},
    targets={"digits": 320, "shapes": 320},
    settings=(
        {"name": "linear"},
        {"name": "finetune", **_training((0.03,), steps=10, batch_size=32)},
        {"name": "scratch", **_training((0.1,), steps=10, batch_size=32)},
    ),
    ablated=("small:inception_w8",),
    convergence_model="small:resnet10_w8",
    curve_targets=("digits",),
    curve_steps={"finetune": (5, 10, 20), "scratch": (5, 10, 20)},
    size_model="small:resnet10_w8",
    size_targets=("digits",),
    examples_per_class=(1, 4),
    seeds=(0, 1),
    upstream_limit=2000,
)
