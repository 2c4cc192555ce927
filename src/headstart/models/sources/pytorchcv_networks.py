"""Networks of pytorchcv: ``pytorchcv:bninception``."""

from typing import TYPE_CHECKING, Any

from headstart.errors import UnknownNameError
from headstart.models.model_source import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Head,
    ModelSource,
    counted,
    last_layer,
)
from headstart.spec import Model, Weights

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Pytorchcv"]

RELEASES = "https://github.com/osmr/imgclsmob/releases/download"
# Its networks are all a part `features` and a part `output`, which ends with the classifier.
OUTPUT = "output"


class Pytorchcv(ModelSource):
    """Oleg Semery's collection of computer vision networks."""

    name = "pytorchcv"
    publishes = True
    package = "pytorchcv"
    extra = "pytorchcv"

    def describe(self, name: str) -> Model:
        import torch

        # pytorchcv itself lowers names.
        name = name.lower()
        if name not in self.names():
            raise UnknownNameError("pytorchcv model", name, self.names())
        with torch.device("meta"):
            module = _create(name)
        return Model(
            name=f"{self.name}:{name}",
            source=self.name,
            architecture=name,
            weights=Weights(locator=_published(name)),
            input_size=getattr(module, "in_size", (224, 224))[0],
            interpolation="bilinear",
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            **counted(module, self.head(module)),
        )

    def build(self, model: Model) -> "nn.Module":
        module: nn.Module = _create(model.architecture)
        return module

    def head(self, module: "nn.Module", size: int | None = None) -> Head:  # noqa: ARG002
        return last_layer(module, (OUTPUT,))

    def names(self) -> list[str]:
        self.require()
        from pytorchcv.models.common.model_store import get_model_metainfo_dict

        return sorted(get_model_metainfo_dict())


def _create(name: str) -> Any:
    from pytorchcv.model_provider import get_model

    return get_model(name, pretrained=False)


def _published(name: str) -> str:
    """Return where published weights lie: the file's name holds their top-5 error and SHA-1."""
    from pytorchcv.models.common.model_store import get_model_metainfo

    _, error, sha1, release = get_model_metainfo(name)
    if release == "NA":
        return "random:0"
    return f"{RELEASES}/{release}/{name}-{error}-{sha1[:8]}.pth.zip"
