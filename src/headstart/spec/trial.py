"""One cell of the table."""

from typing import Annotated

from pydantic import Field, NonNegativeInt

from headstart.spec.dataset import Dataset
from headstart.spec.digest import digest
from headstart.spec.model import Model
from headstart.spec.noun import Noun
from headstart.spec.setting import LinearSetting
from headstart.spec.training import FinetuneSetting, ScratchSetting, TrainingSetting

__all__ = ["AnySetting", "Trial"]

# What a trial may hold, told apart by its name.
AnySetting = LinearSetting | FinetuneSetting | ScratchSetting


class Trial(Noun):
    """One cell of the table: a model, a dataset, a setting, a seed."""

    model: Model
    dataset: Dataset
    setting: Annotated[AnySetting, Field(discriminator="name")]
    seed: NonNegativeInt = 0

    @property
    def uses_seed(self) -> bool:
        """Whether another seed may give another number."""
        return self.setting.random or self.dataset.is_drawn

    @property
    def key(self) -> str:
        """Digest of all that may change the number, and of nothing else (64 hex digits)."""
        return digest(
            {
                "model": self.setting.identity_of(self.model),
                "dataset": self.dataset.identity,
                "setting": self.setting.identity,
                "seed": self.seed if self.uses_seed else None,
            }
        )

    @property
    def title(self) -> str:
        """For a person: ``model, dataset, setting``, steps, examples, the seed unless it is 0."""
        configuration = self.model.tags.get("configuration")
        name = f"{self.model.name} ({configuration})" if configuration else self.model.name
        cell = f"{name}, {self.dataset.name}, {self.setting.name}"
        if isinstance(self.setting, TrainingSetting):
            cell += f", {self.setting.steps:,} steps"
        if self.dataset.examples_per_class:
            cell += f", {self.dataset.examples_per_class:,} a class"
        return f"{cell}, seed {self.seed}" if self.seed else cell
