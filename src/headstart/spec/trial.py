"""A trial: one cell of the table of results."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Self

from pydantic import NonNegativeInt, SerializeAsAny, field_validator

from headstart.registry import METHODS
from headstart.shown_names import one_line
from headstart.spec.dataset import Dataset
from headstart.spec.model import Model
from headstart.spec.noun import Noun, digest
from headstart.spec.setting import ForeignSetting, Setting

__all__ = ["Trial"]


class Trial(Noun):
    """One cell of the table: a model, a dataset, a setting, a seed."""

    model: Model
    dataset: Dataset
    setting: SerializeAsAny[Setting]
    seed: NonNegativeInt = 0

    @field_validator("setting", mode="before")
    @classmethod
    def _of_its_method(cls, value: Any) -> Any:
        """Read a record by the class of its method's settings."""
        if isinstance(value, Mapping) and "name" in value:
            if value["name"] not in METHODS:
                # Measured by a plug-in that is not installed here: what it reached stays readable.
                return ForeignSetting.model_validate(value)
            return METHODS[str(value["name"])].setting.model_validate(value)
        return value

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:  # noqa: ARG002
        """Return a copy; unlike pydantic's it is validated, and has a key of its own."""
        return self.replace(**(update or {}))

    @property
    def uses_seed(self) -> bool:
        """Whether another seed may give another number."""
        return self.setting.random or self.dataset.is_drawn

    @property
    def uses_weights(self) -> bool:
        """Whether the network began with weights that somebody trained: not from random ones."""
        return self.setting.pretrained and self.model.weights.random_seed is None

    @cached_property
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
        cell = f"{name}, {self.dataset.name}, {self.setting.title}"
        if self.dataset.examples_per_class:
            cell += f", {self.dataset.examples_per_class:,} per class"
        return one_line(f"{cell}, seed {self.seed}" if self.seed else cell)
