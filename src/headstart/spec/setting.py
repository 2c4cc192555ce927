"""One way to transfer, with every choice of the protocol as a field."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, FiniteFloat, field_validator

from headstart.spec.model import Model
from headstart.spec.noun import Noun

__all__ = [
    "FEATURES_IMPLEMENTATION",
    "KORNBLITH_LAMBDAS",
    "LinearSetting",
    "Precision",
    "Setting",
]

Precision = Literal["fp32", "bf16"]

# Raised whenever decoding, resizing or the network's forward pass changes so that the same image
# may give other features: in the key of features, and of every trial that uses them.
FEATURES_IMPLEMENTATION = 2

# 45 values, log-spaced from 1e5 down to 1e-6 (Kornblith et al. 2019): strong to weak, the order in
# which each solution is a good start for the next.
KORNBLITH_LAMBDAS = tuple(float(f"{10 ** (5 - 11 * i / 44):.12g}") for i in range(45))


class Setting(Noun):
    """One way to transfer. `protocol` names the preset that the fields come from.

    `random` says whether the outcome depends on the trial's seed even on fixed examples,
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


class LinearSetting(Setting):
    """Multinomial logistic regression on penultimate features.

    Minimises ``sum_i loss_i + (lambda/2) ||W||^2`` with an unpenalised bias for each of
    `lambdas`, chooses one on validation, refits on train + validation.

    `resize` is how an image meets the network's input size: ``"whole"`` squeezes the whole image
    (Kornblith et al.), ``"center-crop"`` resizes the shorter side and crops the centre (SimCLR
    and later work). `tolerance` is the relative duality gap at which a fit counts as converged.
    The lambdas are kept in decreasing order without repetition, however they are given: the path
    runs from the strongest penalty to the weakest.
    """

    random: ClassVar[bool] = False
    chosen: ClassVar[tuple[str, ...]] = ("lambda",)

    name: Literal["linear"] = "linear"
    protocol: str = "kornblith2019"
    resize: Literal["whole", "center-crop"] = "whole"
    lambdas: Annotated[tuple[Annotated[FiniteFloat, Field(gt=0)], ...], Field(min_length=1)] = (
        KORNBLITH_LAMBDAS
    )
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    # Raised whenever the code changes so that the same fields may give another number.
    implementation: int = 3

    @property
    def identity(self) -> dict[str, Any]:
        return {**super().identity, "features_implementation": FEATURES_IMPLEMENTATION}

    @field_validator("lambdas")
    @classmethod
    def _decreasing(cls, lambdas: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(sorted(set(lambdas), reverse=True))
