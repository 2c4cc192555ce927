"""Small networks, to be trained here: ``small:resnet10_w16``."""

from typing import TYPE_CHECKING

from headstart.errors import UnknownNameError
from headstart.models.model_source import Head, ModelSource, counted, last_layer
from headstart.models.small import ARCHITECTURES
from headstart.spec import Model, Weights

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Small"]

SIDE = 32
AUXILIARY = "aux"
# Szegedy et al. 2015, section 5.
AUXILIARY_WEIGHT = 0.3


class Small(ModelSource):
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
