"""How large the miniature is: its networks, tasks and numbers of steps. Pure data."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

__all__ = ["FULL", "TINY", "Scale"]

Fields = dict[str, Any]


@dataclass(frozen=True)
class Scale:
    """The whole study, for networks and images that are small.

    Parameters
    ----------
    name
        It begins the names of the networks.
    networks
        Architectures, of `headstart.models`' source ``small``.
    upstream
        The dataset that they are pretrained on.
    pretraining
        Fields of the `headstart.spec.Recipe` of every one.
    targets
        Datasets that they are transferred to, and how many images of each split are taken at most;
        None: all.
    settings
        Options of each way to transfer, as a `headstart.study.Study` takes them.
    ablated, ablation_settings
        Networks that are pretrained in all of the paper's configurations, and the names of the
        settings that these are transferred by.
    convergence_model, curve_targets, curve_steps
        Network, datasets and numbers of steps of the study of convergence, by setting.
    size_model, size_targets, examples_per_class, seeds
        Network, datasets, images a class and random subsets of the study of the training set's
        size.
    embed_dataset, classes
        Dataset whose test features are embedded, and how many of its classes.
    upstream_limit
        At most so many images of each split of the upstream dataset; None takes all.
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
        """Name the network of an architecture; of a configuration, that of the ablation."""
        label = configuration.partition(":")[0]
        return "-".join([self.name, short(arch), *([label] if label else [])])

    def setting(self, name: str, **changes: Any) -> Fields:
        """Give the options of a setting, some of them changed."""
        (found,) = [options for options in self.settings if options["name"] == name]
        return {**found, **changes}


def short(arch: str) -> str:
    """Leave out the source and the options of a model's name."""
    return arch.partition(":")[2].partition("?")[0]


def _training(rates: tuple[float, ...], **options: Any) -> Fields:
    """Say how networks are trained on a target: three learning rates, the whole image."""
    usual = {
        "protocol": "quick",
        "decays": [0.0],
        "side": 32,
        "crop_area": [0.5, 1.0],
        "flip": False,
        "crops": ["full"],
    }
    return {**usual, "learning_rates": list(rates), **options}


# Nobody's accuracy is the same: families, widths and depths.
NETWORKS = tuple(
    f"small:{name}"
    for name in (
        "resnet10_w4", "resnet10_w8", "resnet10_w16", "resnet18_w16", "seresnet10_w16",
        "densenet22_g4", "densenet22_g8", "densenet22_g16", "mobilenet_w8", "mobilenet_w16",
        "vgg6_w8", "vgg6_w16", "inception_w8", "inception_w16",
    )
)  # fmt: skip
FULL = Scale(
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
# Every part in minutes: what it gives says that the chain is whole, and nothing else.
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
