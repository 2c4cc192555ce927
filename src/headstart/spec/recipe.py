"""How an upstream network is trained."""

from types import MappingProxyType
from typing import Any, ClassVar

from pydantic import NonNegativeInt, PositiveInt

from headstart.spec.dataset import Dataset
from headstart.spec.model import Model
from headstart.spec.noun import digest
from headstart.spec.training import Crop, EmbedsTraining, Share

__all__ = ["SWITCHES", "Recipe"]

# What Kornblith et al. (2019) switch, in the order of their Figure 3.
SWITCHES = ("bn_scale", "label_smoothing", "dropout", "aux_head")


class Recipe(EmbedsTraining):
    """How an upstream network is trained, from random weights: every choice is a field.

    `training` is SGD with Nesterov momentum on all parameters, a half-cosine schedule, and random
    resized crops and flips. Nothing is selected on validation, so that train and validation are
    trained on together. Weight decay applies to layers' weights alone; batch norms keep the
    network's own momentum. `side` is the shorter side of cached images in pixels, `view` the part
    of a test image that is seen: the full image, or its central 87.5 %.

    The switches: without `bn_scale` the scales of batch norms stay 1 and are not learned;
    `label_smoothing` is an option of the training; `dropout` is the rate before the classifier (0
    also where the library's own is another); with `aux_head` the architecture's auxiliary
    classifiers are trained beside the main one, with the library's own weights of their losses.

    The key depends on the `model` without its weights.
    """

    training_options: ClassVar[tuple[str, ...]] = (
        "steps",
        "batch_size",
        "learning_rate",
        "weight_decay",
        "momentum",
        "crop_area",
        "crop_aspect",
        "flip",
        "label_smoothing",
        "precision",
    )
    training_defaults = MappingProxyType({"weight_decay": 1e-4, "batch_norm_window": None})

    model: Model
    dataset: Dataset
    side: PositiveInt = 256
    view: Crop = "central"
    bn_scale: bool = True
    dropout: Share = 0.0
    aux_head: bool = False
    seed: NonNegativeInt = 0
    # Increase it when a change of the code may change the weights of the same fields.
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
            "label_smoothing": f"{self.training.label_smoothing:g}",
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
