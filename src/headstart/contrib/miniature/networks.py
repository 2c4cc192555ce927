"""Networks for images of 32 pixels, ``small:resnet10_w16``: families of the literature, narrow.

They are made by timm's and torchvision's own classes with other arguments. Each takes five million
multiply-adds for an image at most, so that a processor trains it; the smallest take a fiftieth of
that, so that accuracies differ. ``_w16`` is the width of the first stage, ``_g16`` a growth rate.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from headstart.errors import UnknownNameError
from headstart.models.model_source import Head, ModelSource, counted, last_layer
from headstart.spec import Model, Weights

if TYPE_CHECKING:
    from torch import nn

__all__ = ["ARCHITECTURES", "Architecture", "SmallNetworks"]

CLASSES = 1000
SIDE = 32
AUXILIARY = "aux"
# Szegedy et al. 2015, section 5.
AUXILIARY_WEIGHT = 0.3


@dataclass(frozen=True)
class Architecture:
    """A family, what makes one of its networks, and whether that has an auxiliary classifier."""

    family: str
    make: "Callable[[], nn.Module]"
    auxiliary: bool = False


def resnet(depth: int, width: int, **options: Any) -> "nn.Module":
    """He et al. 2016, Hu et al. 2018 (squeeze and excitation): four stages of `depth` blocks."""
    from timm.models.resnet import BasicBlock, ResNet

    channels = tuple(width * 2**stage for stage in range(4))
    # timm's usual stem has 64 channels, whatever follows.
    stem = {"stem_type": "deep", "stem_width": width // 2}
    module: nn.Module = ResNet(
        BasicBlock, (depth,) * 4, CLASSES, channels=channels, **stem, **options
    )
    return module


def densenet(growth: int) -> "nn.Module":
    """Huang et al. 2017."""
    from timm.models.densenet import DenseNet

    module: nn.Module = DenseNet(growth_rate=growth, block_config=(3, 3, 3), num_classes=CLASSES)
    return module


def mobilenet(stages: tuple[str, ...], stem: int, features: int) -> "nn.Module":
    """Sandler et al. 2018: inverted residuals, in timm's notation of blocks."""
    from timm.models._efficientnet_builder import decode_arch_def
    from timm.models.efficientnet import EfficientNet

    blocks = decode_arch_def([[stage] for stage in stages])
    module: nn.Module = EfficientNet(
        blocks, CLASSES, num_features=features, stem_size=stem, fix_stem=True
    )
    return module


def vgg(layers: tuple[int | str, ...]) -> "nn.Module":
    """Simonyan and Zisserman 2015, with batch norm, and a mean in place of the hidden layers."""
    from torch import nn
    from torchvision.models.vgg import make_layers

    widths = [width for width in layers if isinstance(width, int)]
    return nn.Sequential(
        make_layers(list(layers), batch_norm=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.0),
        nn.Linear(widths[-1], CLASSES),
    )


def inception(width: int) -> "nn.Module":
    """Szegedy et al. 2015."""
    from headstart.contrib.miniature.inception import SmallInception

    return SmallInception(width, CLASSES)


RESNET, DENSENET, MOBILENET = "ResNet", "DenseNet", "MobileNet"
ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        "resnet10_w4": Architecture(RESNET, partial(resnet, 1, 4)),
        "resnet10_w8": Architecture(RESNET, partial(resnet, 1, 8)),
        "resnet10_w16": Architecture(RESNET, partial(resnet, 1, 16)),
        "resnet18_w16": Architecture(RESNET, partial(resnet, 2, 16)),
        "seresnet10_w16": Architecture(
            RESNET, partial(resnet, 1, 16, block_args={"attn_layer": "se"})
        ),
        "densenet22_g4": Architecture(DENSENET, partial(densenet, 4)),
        "densenet22_g8": Architecture(DENSENET, partial(densenet, 8)),
        "densenet22_g16": Architecture(DENSENET, partial(densenet, 16)),
        "mobilenet_w8": Architecture(
            MOBILENET,
            partial(
                mobilenet,
                ("ds_r1_k3_s1_c8", "ir_r1_k3_s2_e4_c16", "ir_r1_k3_s2_e4_c24"), 8, 64,
            ),
        ),
        "mobilenet_w16": Architecture(
            MOBILENET,
            partial(
                mobilenet,
                ("ds_r1_k3_s1_c16", "ir_r1_k3_s2_e4_c24", "ir_r2_k3_s2_e4_c40"), 16, 160,
            ),
        ),
        "vgg6_w8": Architecture(
            "VGG", partial(vgg, (8, "M", 16, "M", 32, "M", 64, "M", 64))
        ),
        "vgg6_w16": Architecture(
            "VGG", partial(vgg, (16, "M", 32, "M", 64, "M", 128, "M", 128))
        ),
        "inception_w8": Architecture("Inception", partial(inception, 8), auxiliary=True),
        "inception_w16": Architecture("Inception", partial(inception, 16), auxiliary=True),
    }
)  # fmt: skip


class SmallNetworks(ModelSource):
    """Networks for images of 32 pixels. Nobody has published weights of them."""

    name = "small"
    auxiliary = (AUXILIARY,)

    def describe(self, name: str) -> Model:
        import torch

        if name not in ARCHITECTURES:
            raise UnknownNameError("small model", name, ARCHITECTURES)
        with torch.device("meta"):
            module = ARCHITECTURES[name].make()
        self._drop_auxiliary(module)
        return Model(
            name=f"{self.name}:{name}",
            source=self.name,
            architecture=name,
            weights=Weights(locator="random:0"),
            input_size=SIDE,
            interpolation="bilinear",
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            **counted(module, self.head(module)),
            tags={"family": ARCHITECTURES[name].family},
        )

    def build(self, model: Model) -> "nn.Module":
        return ARCHITECTURES[model.architecture].make()

    def head(self, module: "nn.Module", size: int | None = None) -> Head:  # noqa: ARG002
        return last_layer(module)

    def finish(self, module: "nn.Module", model: Model) -> tuple[str, ...]:
        if getattr(module, AUXILIARY, None) is None:
            return ()
        if model.keeps_auxiliary:
            return (AUXILIARY,)
        self._drop_auxiliary(module)
        return ()

    def auxiliary_weight(self, architecture: str) -> float:
        return AUXILIARY_WEIGHT if ARCHITECTURES[architecture].auxiliary else 0.0

    def names(self) -> list[str]:
        return list(ARCHITECTURES)

    def _drop_auxiliary(self, module: "nn.Module") -> None:
        if getattr(module, AUXILIARY, None) is not None:
            setattr(module, AUXILIARY, None)
