"""A method of transfer with every choice of its protocol as a field."""

from typing import Any, ClassVar, Literal

from pydantic import ConfigDict

from headstart.spec.model import Model
from headstart.spec.noun import Noun

__all__ = ["FEATURES_IMPLEMENTATION", "ForeignSetting", "Precision", "Resize", "Setting"]

Precision = Literal["fp32", "bf16"]
Resize = Literal["whole", "center-crop"]

# Raised whenever decoding, resizing or the network's forward pass changes so that the same image
# may give other features: in the key of features, and of every trial that uses them.
FEATURES_IMPLEMENTATION = 2


class Setting(Noun):
    """A method of transfer with its options. `protocol` names the preset that the fields come from.

    The method that `name` names (`headstart.registry.METHODS`) has the class of its settings, whose
    fields are its options. `random` says whether the outcome depends on the trial's seed even on
    fixed examples,
    `pretrained` whether it depends on the model's weights, `chosen` which hyperparameters are
    chosen on validation, by their names in `Selection.chosen`.
    """

    random: ClassVar[bool] = True
    pretrained: ClassVar[bool] = True
    chosen: ClassVar[tuple[str, ...]] = ()

    name: str
    protocol: str
    precision: Precision = "fp32"

    @property
    def identity(self) -> dict[str, Any]:
        """All that may change the number: every field but the preset's name."""
        return self.model_dump(mode="json", exclude={"protocol"})

    @property
    def n_measurements(self) -> int:
        """How many candidates are measured on validation, unless some diverge."""
        return 1

    def identity_of(self, model: Model) -> dict[str, Any]:
        """All of a model that may change the number."""
        return model.identity if self.pretrained else model.untrained_identity


class ForeignSetting(Setting):
    """A setting of a method that is not installed here, with whatever options were recorded."""

    model_config = ConfigDict(extra="allow")
