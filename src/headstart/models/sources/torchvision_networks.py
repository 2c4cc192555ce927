"""Networks of torchvision: ``torchvision:resnet50/IMAGENET1K_V2``, the default if none is named."""

import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from headstart.errors import UnknownNameError
from headstart.models.model_source import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Head,
    ModelSource,
    counted,
    last_layer,
    unbuildable,
)
from headstart.spec import Model, UpstreamAccuracy, Weights

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["Torchvision"]

# What torchvision's classifiers call their last part; within it the last linear layer classifies.
HEADS = ("fc", "classifier", "heads", "head")
# Input size in pixels where no published weights have another.
SIZE = 224
# Auxiliary classifiers of GoogLeNet and of Inception v3, and the switch that uses them.
AUXILIARY = ("aux1", "aux2", "AuxLogits")
# Szegedy et al. 2015, section 5: 0.3 each; TF-Slim's training of Inception v3, which torchvision's
# follows.
AUXILIARY_WEIGHT = {"googlenet": 0.3, "inception_v3": 0.4}


NAME = re.compile(r"(\w+?)(?:_Weights)?(?:[./](?:\w+_Weights[./])?(\w*))?")
# Position embeddings of vision transformers, which depend on the input size.
POSITIONS = "encoder.pos_embedding"


class Torchvision(ModelSource):
    """torchvision.models."""

    name = "torchvision"
    publishes = True
    package = "torchvision"
    auxiliary = AUXILIARY

    def describe(self, name: str) -> Model:
        import torch
        from torchvision import models

        architecture, chosen = _parts(name)
        if architecture not in self.names():
            raise UnknownNameError("torchvision model", architecture, self.names())
        published = {entry.name: entry for entry in models.get_model_weights(architecture)}
        if chosen and chosen not in published:
            raise UnknownNameError(f"weights of torchvision {architecture}", chosen, published)
        default = getattr(models.get_model_weights(architecture), "DEFAULT", None)
        entry = published[chosen] if chosen else default
        preprocessing = _preprocessing(entry)
        try:
            with torch.device("meta"):
                module = self.build_named(architecture, preprocessing["input_size"])
        # RegNet reads its widths out of tensors, which have no numbers there.
        except NotImplementedError:
            with torch.random.fork_rng(devices=[]):
                module = self.build_named(architecture)
        self._drop_auxiliary(module)
        return Model(
            name=f"{self.name}:{name}",
            source=self.name,
            architecture=architecture,
            weights=Weights(locator=entry.url if entry else "random:0"),
            **preprocessing,
            **counted(module, self.head(module)),
            upstream=_accuracy(entry),
            tags={"weights_tag": entry.name} if entry else {},
        )

    def build(self, model: Model) -> "nn.Module":
        return self.build_named(model.architecture, model.input_size)

    def build_named(self, architecture: str, size: int = SIZE) -> "nn.Module":
        """Build an architecture as its published weights want it, for images of a size.

        Raises
        ------
        ModelError
            It cannot be built for that size (code ``model.size``).
        """
        from torchvision import models

        options: dict[str, Any] = {}
        if architecture in ("googlenet", "inception_v3"):
            # Their inputs are normalised anew inside, as the weights were trained.
            options = {"init_weights": False, "transform_input": True}
        elif architecture.startswith("vit_"):
            options = {"image_size": size}
        elif architecture.startswith("maxvit"):
            options = {"input_size": (size, size)}
        try:
            module: nn.Module = models.get_model(architecture, weights=None, **options)
        except (AssertionError, ValueError, RuntimeError) as error:
            if size == SIZE:
                raise
            raise unbuildable(f"torchvision:{architecture}", size, error) from error
        return module

    def translate(
        self, state: "Mapping[str, torch.Tensor]", module: "nn.Module"
    ) -> "dict[str, torch.Tensor]":
        from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

        if not isinstance(module, VisionTransformer) or POSITIONS not in state:
            return dict(state)
        try:
            return dict(
                interpolate_embeddings(module.image_size, module.patch_size, OrderedDict(state))
            )
        # Not a square of positions, or of another width: `load_state` says which does not fit.
        except (ValueError, RuntimeError):
            return dict(state)

    def head(self, module: "nn.Module", size: int | None = None) -> Head:  # noqa: ARG002
        return last_layer(module, HEADS)

    def finish(self, module: "nn.Module", model: Model) -> tuple[str, ...]:
        present = tuple(name for name in AUXILIARY if getattr(module, name, None) is not None)
        if model.keeps_auxiliary:
            return present
        self._drop_auxiliary(module)
        return ()

    def auxiliary_weight(self, architecture: str) -> float:
        return AUXILIARY_WEIGHT.get(architecture, 0.0)

    def names(self) -> list[str]:
        from torchvision import models

        return [str(name) for name in models.list_models(module=models)]

    def _drop_auxiliary(self, module: "nn.Module") -> None:
        for name in AUXILIARY:
            if getattr(module, name, None) is not None:
                setattr(module, name, None)
                setattr(module, "aux_logits", False)  # noqa: B010


def _parts(name: str) -> tuple[str, str]:
    """Take ``ARCHITECTURE/WEIGHTS`` apart, as torchvision itself reads it.

    It lowers architectures' names, and calls weights ``ResNet50_Weights.IMAGENET1K_V2`` or
    ``DEFAULT``, which is "" here.
    """
    found = NAME.fullmatch(name)
    architecture, chosen = (found[1], found[2] or "") if found else (name, "")
    default = chosen.upper() == "DEFAULT"
    return architecture.lower(), "" if default else chosen.upper()


def _preprocessing(entry: Any) -> dict[str, Any]:
    """Read how the weights want their images from torchvision's own transform."""
    if entry is None:
        return {
            "input_size": SIZE,
            "interpolation": "bilinear",
            "mean": IMAGENET_MEAN,
            "std": IMAGENET_STD,
        }
    transform = entry.transforms()
    bicubic = "bicubic" in str(transform.interpolation).lower()
    return {
        "input_size": transform.crop_size[0],
        "interpolation": "bicubic" if bicubic else "bilinear",
        "mean": tuple(transform.mean),
        "std": tuple(transform.std),
    }


def _accuracy(entry: Any) -> tuple[UpstreamAccuracy, ...]:
    measured = entry.meta.get("_metrics", {}).get("ImageNet-1K", {}) if entry else {}
    if "acc@1" not in measured:
        return ()
    source = f"torchvision, {entry}"
    return (UpstreamAccuracy(value=measured["acc@1"] / 100, source=source),)
