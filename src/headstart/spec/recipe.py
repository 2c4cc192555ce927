"""How an upstream network is trained."""

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from headstart.spec.dataset import Dataset
from headstart.spec.digest import digest
from headstart.spec.model import Model
from headstart.spec.noun import Noun
from headstart.spec.setting import Precision

__all__ = ["SWITCHES", "Recipe"]

Share = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Part = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
# What Kornblith et al. (2019) switch, in the order of their Figure 3.
SWITCHES = ("bn_scale", "label_smoothing", "dropout", "aux_head")


class Recipe(Noun):
    """How an upstream network is trained, from random weights: every choice is a field.

    Stochastic gradient descent with Nesterov momentum on all parameters, a learning rate that falls
    to zero along half a cosine, `steps` updates of `batch_size` random resized crops and flips.
    Nothing is chosen on validation, so that train and validation are trained on together.
    `weight_decay` is the coefficient of ``||w||^2 / 2`` in the objective, of layers' weights alone,
    as torch's SGD takes it. `side` is the shorter side that images are kept at, `view` what of a
    test image is seen: the full image, or its central 87.5 %.

    The switches: without `bn_scale` the scales of batch norms stay 1 and are not learned;
    `label_smoothing` is the share of a label that is spread evenly over all classes; `dropout` is
    the rate before the classifier (0 also where the library's own is another); with `aux_head` the
    architecture's auxiliary classifiers are trained beside the main one, with the library's own
    weights of their losses.

    Of `model`, only what training from random weights depends on counts.
    """

    model: Model
    dataset: Dataset
    steps: PositiveInt
    batch_size: PositiveInt = 256
    learning_rate: Annotated[PositiveFloat, Field(allow_inf_nan=False)] = 0.1
    weight_decay: Annotated[NonNegativeFloat, Field(allow_inf_nan=False)] = 1e-4
    momentum: Share = 0.9
    crop_area: tuple[Part, Part] = (0.08, 1.0)
    crop_aspect: tuple[PositiveFloat, PositiveFloat] = (3 / 4, 4 / 3)
    flip: bool = True
    side: PositiveInt = 256
    view: Literal["full", "central"] = "central"
    bn_scale: bool = True
    label_smoothing: Share = 0.0
    dropout: Share = 0.0
    aux_head: bool = False
    seed: NonNegativeInt = 0
    precision: Precision = "fp32"
    # Raised whenever the code changes so that the same fields may give other weights.
    implementation: int = 1

    @property
    def identity(self) -> dict[str, Any]:
        """All that may change the weights, and nothing else."""
        return {
            **self.model_dump(mode="json", exclude={"model", "dataset"}),
            "model": self.bare_model.untrained_identity,
            "head": self.model.head,
            "dataset": self.dataset.identity,
        }

    @property
    def key(self) -> str:
        """Digest of the identity (64 hex digits)."""
        return digest(self.identity)

    @property
    def bare_model(self) -> Model:
        """The model without switches of its own: those of the recipe hold."""
        return self.model.model_copy(update={"bn_scale": True, "dropout": None})

    @property
    def tags(self) -> dict[str, str]:
        """What a model says of how it was trained, as the catalogue says it."""
        return {
            "batch_norm_scale": "yes" if self.bn_scale else "no",
            "label_smoothing": f"{self.label_smoothing:g}",
            "dropout": f"{self.dropout:g}",
            "auxiliary_head": "dropped after training" if self.aux_head else "none",
        }

    def seed_of(self, what: str) -> int:
        """Return a seed of what is random: a function of network, data and seed alone.

        Recipes that differ in nothing else begin with the same weights and see the same crops, so
        that what they reach differs by less chance.
        """
        of = {
            "model": self.bare_model.untrained_identity,
            "dataset": self.dataset.identity,
            "seed": self.seed,
            "what": what,
        }
        return int(digest(of)[:8], 16)
