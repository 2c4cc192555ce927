"""A setting: a method of transfer, with every choice of its protocol as a field."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import ConfigDict

from headstart.spec.model import Model
from headstart.spec.noun import Noun

__all__ = [
    "FEATURES_IMPLEMENTATION",
    "ForeignSetting",
    "Precision",
    "Resize",
    "SearchGrid",
    "Setting",
]

Precision = Literal["fp32", "bf16"]
Resize = Literal["whole", "center-crop"]

# Raised whenever decoding, resizing or the network's forward pass changes so that the same image
# may give other features: in the key of features, and of every trial that uses them.
FEATURES_IMPLEMENTATION = 2


class SearchGrid(NamedTuple):
    """The candidates of a setting that trains a network for each learning rate and weight decay.

    `rungs` are (candidates, steps) of a search in several rounds, empty for a single one.
    `n_measurements` candidates are trained; `search_steps` is the sum of their steps,
    `final_steps` that of the final training.
    """

    learning_rates: tuple[float, ...]
    weight_decays: tuple[float, ...]
    rungs: tuple[tuple[int, int], ...]
    n_measurements: int
    search_steps: int
    final_steps: int
    batch_size: int


class Setting(Noun):
    """A method of transfer with its options. `protocol` names the preset that the fields come from.

    The method called `name` (`headstart.registry.METHODS`) has the class of its settings; their
    fields are its options. `random` is whether the outcome depends on the trial's seed even on
    fixed examples, `pretrained` whether it depends on the model's weights, `chosen` which
    hyperparameters are selected on validation, by their names in `Selection.chosen`. `renamed` are
    options that records have under an older name: new name -> name in records.
    """

    random: ClassVar[bool] = True
    pretrained: ClassVar[bool] = True
    chosen: ClassVar[tuple[str, ...]] = ()
    renamed: ClassVar[Mapping[str, str]] = MappingProxyType({})

    name: str
    protocol: str
    precision: Precision = "fp32"

    @classmethod
    def options(cls) -> set[str]:
        """Return the names of the options, as in records."""
        return cls.model_fields.keys() - {"name", "protocol", "implementation"}

    @property
    def identity(self) -> dict[str, Any]:
        """All that may change the number: every field but the preset's name."""
        return self.model_dump(mode="json", exclude={"protocol"})

    @property
    def n_measurements(self) -> int:
        """Number of candidates that are measured on validation, unless some diverge."""
        return 1

    @property
    def grid(self) -> SearchGrid | None:
        """The networks that are trained; None if none are."""
        return None

    @property
    def title(self) -> str:
        """For a person: the name, and the steps of a training."""
        return f"{self.name}, {self.grid.final_steps:,} steps" if self.grid else self.name

    @property
    def columns(self) -> dict[str, Any]:
        """Options that are columns of the table of results."""
        fields = {**dict(self), **(self.model_extra or {})}
        return {name: fields[name] for name in ("steps", "batch_size") if name in fields}

    def check_budget(self, n_images: int, *, whole_epoch: bool) -> None:
        """Raise TrainingError unless so many training images suffice.

        With `whole_epoch`, a training of less than one epoch is refused.
        """

    def identity_of(self, model: Model) -> dict[str, Any]:
        """All of a model that may change the number."""
        return model.identity if self.pretrained else model.untrained_identity


class ForeignSetting(Setting):
    """A setting of a method that is not installed here, with whatever options were recorded."""

    model_config = ConfigDict(extra="allow")
