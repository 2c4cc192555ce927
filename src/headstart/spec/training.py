"""The settings that train a network: fine-tuning, and training from random weights."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from headstart.spec.setting import Setting

__all__ = ["FinetuneSetting", "Rung", "ScratchSetting", "TrainingSetting"]


def _log_spaced(first: float, last: float, n: int) -> tuple[float, ...]:
    """Values whose logarithms are evenly spaced, with 12 digits."""
    return tuple(float(f"{10 ** (first + (last - first) * i / (n - 1)):.12g}") for i in range(n))


# Kornblith et al. 2019 as restated by Chen et al. (SimCLR, 2020), appendix B.8.2.
FINETUNE_RATES = _log_spaced(-4, -1, 7)
SCRATCH_RATES = _log_spaced(-3, 0, 7)
DECAYS = (0.0, *_log_spaced(-6, -3, 7))

# How many candidates are trained, and for how many steps.
Rung = tuple[PositiveInt, PositiveInt]
Rates = Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]


class TrainingSetting(Setting):
    """Stochastic gradient descent on the whole network, hyperparameters chosen on validation.

    Nesterov momentum, a learning rate that falls to zero along half a cosine, `steps` updates of
    `batch_size` images; random resized crops and flips. Every pair of `learning_rates` and
    `decays` is a candidate: a decay is the share of a weight that is lost at a step of the full
    learning rate, so that the coefficient of ``||w||^2 / 2`` is the decay divided by the learning
    rate. Each candidate is scored on validation by every evaluation of `crops` (the full image, or
    its central 87.5 %), and the best pair of candidate and crop is chosen. The network is then
    trained on train + validation.

    `search` says how many of the candidates are trained for long: ``"grid"`` all of them;
    ``"rungs"`` those of `rungs`, (candidates, steps) each: all at the first, the best of them anew
    at the next. Every run has a whole cosine of its own, since accuracies in the middle of a long
    one favour small learning rates.

    `side` is the shorter side that images are kept at. `decayed` says which parameters decay:
    those of layers, or biases and batch norms too. For the other fields see
    `headstart.training.Hyperparameters`.
    """

    chosen: ClassVar[tuple[str, ...]] = ("learning_rate", "weight_decay", "crop")

    protocol: str = "kornblith2019"
    steps: PositiveInt = 20_000
    batch_size: PositiveInt = 256
    learning_rates: Rates = FINETUNE_RATES
    decays: Annotated[tuple[NonNegativeFloat, ...], Field(min_length=1)] = DECAYS
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = True
    batch_norm_window: PositiveFloat | None = 10.0
    decayed: Literal["weights", "all"] = "weights"
    crop_area: tuple[PositiveFloat, PositiveFloat] = (0.08, 1.0)
    crop_aspect: tuple[PositiveFloat, PositiveFloat] = (3 / 4, 4 / 3)
    flip: bool = True
    crops: Annotated[tuple[Literal["full", "central"], ...], Field(min_length=1)] = (
        "full",
        "central",
    )
    side: PositiveInt = 256
    search: Literal["grid", "rungs"] = "grid"
    rungs: tuple[Rung, ...] = ()
    micro_batch: PositiveInt | None = None
    # Raised whenever the code changes so that the same fields may give another number.
    implementation: int = 1

    @property
    def n_candidates(self) -> int:
        """How many pairs of learning rate and decay there are."""
        return len(self.learning_rates) * len(self.decays)

    @property
    def n_measurements(self) -> int:
        return sum(n for n, _ in self.rungs) if self.rungs else self.n_candidates

    @property
    def training_steps(self) -> int:
        """Updates of the whole search and of the final training."""
        if self.search == "grid":
            return (self.n_candidates + 1) * self.steps
        return sum(n * steps for n, steps in self.rungs) + self.steps

    @model_validator(mode="before")
    @classmethod
    def _without_repetition(cls, fields: Any) -> Any:
        if isinstance(fields, dict):
            for name in ("learning_rates", "decays"):
                if isinstance(fields.get(name), list | tuple):
                    fields = {**fields, name: tuple(dict.fromkeys(fields[name]))}
        return fields

    @model_validator(mode="after")
    def _rungs_fit(self) -> Self:
        if (self.search == "rungs") != bool(self.rungs):
            raise ValueError("rungs go with search = 'rungs', and it needs some")
        if self.rungs:
            counts = [n for n, _ in self.rungs]
            if counts[0] != self.n_candidates or counts != sorted(counts, reverse=True):
                raise ValueError(
                    f"the first rung has to train all {self.n_candidates} candidates, and each "
                    f"other no more than the one before: found {', '.join(map(str, counts))}"
                )
        return self


class FinetuneSetting(TrainingSetting):
    """Training that starts from the pretrained weights, with a fresh classifier."""

    name: Literal["finetune"] = "finetune"


class ScratchSetting(TrainingSetting):
    """Training that starts from random weights, drawn by the trial's seed."""

    pretrained: ClassVar[bool] = False

    name: Literal["scratch"] = "scratch"
    learning_rates: Rates = SCRATCH_RATES
