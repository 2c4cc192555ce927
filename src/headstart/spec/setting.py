"""A setting: a method of transfer with its options; the configuration of a training run.

Recipes of upstream networks embed that configuration, too.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import (
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from headstart.spec.dataset import Dataset
from headstart.spec.model import Model
from headstart.spec.noun import Noun, digest

__all__ = [
    "FEATURES_IMPLEMENTATION",
    "OPTIMIZERS",
    "SGD",
    "SWITCHES",
    "Crop",
    "EmbedsTraining",
    "ForeignSetting",
    "Fraction",
    "Precision",
    "Recipe",
    "Resize",
    "SearchGrid",
    "Setting",
    "Share",
    "TrainingConfig",
]

Precision = Literal["fp32", "bf16"]
Resize = Literal["whole", "center-crop"]
Share = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Fraction = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Crop = Literal["full", "central"]

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


class SGD(Noun):
    """Stochastic gradient descent with momentum.

    `weight_decay` is the coefficient of ``||w||^2 / 2`` in the objective, as in torch's SGD.
    `decayed` selects the parameters that it applies to: ``"weights"`` of layers only, or ``"all"``,
    also biases and batch norms.
    """

    kind: Literal["sgd"] = "sgd"
    weight_decay: Annotated[NonNegativeFloat, Field(allow_inf_nan=False)] = 0.0
    decayed: Literal["weights", "all"] = "weights"
    momentum: Share = 0.9
    nesterov: bool = True


# By the name in records and study files, which leave out "sgd".
OPTIMIZERS: Mapping[str, type[SGD]] = MappingProxyType({"sgd": SGD})


class TrainingConfig(Noun):
    """One training run: an optimizer, a half-cosine schedule, and random crops.

    `steps` updates of `batch_size` images; `learning_rate` is that of the first step, and falls to
    zero. `batch_norm_window` is the momentum of batch norm's running statistics: they keep
    ``max(1 - window / steps_per_epoch, 0.9)`` of their value at each step (Kornblith et al. 2019:
    10); None keeps the network's momentum.

    `loss` is ``"softmax"`` over classes, or ``"binary"`` per class, without labels marked
    difficult. `label_smoothing` is the probability that is spread evenly over all classes, for the
    softmax loss only (Szegedy et al. 2016, section 7). `auxiliary_weight` is the weight of the loss
    of each auxiliary classifier; 0 does not train them.

    `crop_area` and `crop_aspect` are ranges of area fraction and aspect ratio of random crops, as
    in torchvision's ``RandomResizedCrop``; an area of (1, 1) takes the whole image. `flip` mirrors
    each image with probability 1/2.

    `micro_batch` is the number of images per forward pass, for gradient accumulation; batch norm
    then uses micro-batch statistics. None passes the whole batch at once. With `allow_repeats` a
    batch may be larger than the data; it then repeats images, each with its own crop.
    `precision` ``"bf16"`` uses autocast to bfloat16; weights stay float32. `seed` is that of image
    order, crops, flips and dropout.
    """

    steps: PositiveInt
    learning_rate: Annotated[PositiveFloat, Field(allow_inf_nan=False)] = 0.1
    optimizer: SGD = SGD()
    batch_size: PositiveInt = 256
    batch_norm_window: PositiveFloat | None = 10.0
    loss: Literal["softmax", "binary"] = "softmax"
    label_smoothing: Share = 0.0
    auxiliary_weight: NonNegativeFloat = 0.0
    crop_area: tuple[Fraction, Fraction] = (0.08, 1.0)
    crop_aspect: tuple[PositiveFloat, PositiveFloat] = (3 / 4, 4 / 3)
    flip: bool = True
    micro_batch: PositiveInt | None = None
    allow_repeats: bool = False
    precision: Precision = "fp32"
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _smooths_a_distribution(self) -> Self:
        if self.label_smoothing and self.loss != "softmax":
            raise ValueError(f"label_smoothing 0 with {self.loss} loss")
        return self

    @property
    def options(self) -> dict[str, Any]:
        """All fields by name, those of the optimizer among them, as `EmbedsTraining` takes them."""
        fields = {**dict(self), **dict(self.optimizer)}
        kind = fields.pop("kind")
        return {**fields, "optimizer": kind}


class EmbedsTraining(Noun):
    """A noun with a `TrainingConfig`, whose options are written beside the noun's own fields.

    A study file has ``{name = "finetune", batch_size = 32, momentum = 0.8}``, and so have records;
    in Python the same are ``setting.training.batch_size`` and
    ``setting.training.optimizer.momentum``. `training_options` are the names of the options;
    whatever else a run needs is set for each run.
    """

    training_options: ClassVar[tuple[str, ...]] = ()
    training_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    training: TrainingConfig

    @model_validator(mode="before")
    @classmethod
    def _nest(cls, fields: Any) -> Any:
        if not isinstance(fields, Mapping):
            return fields
        options = (*cls.training_options, "optimizer")
        own = {name: value for name, value in fields.items() if name in options}
        rest = {name: value for name, value in fields.items() if name not in own}
        given = rest.pop("training", None)
        training = {**(given.options if given else cls.training_defaults), **own}
        kind = training.pop("optimizer", "sgd")
        # An unknown kind is refused by the validation of the optimizer.
        fields_of_kind = OPTIMIZERS.get(str(kind), SGD).model_fields
        known = {name: training.pop(name) for name in fields_of_kind if name in training}
        return {**rest, "training": {**training, "optimizer": {"kind": kind, **known}}}

    @model_serializer(mode="wrap")
    def _flatten(
        self, handler: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> dict[str, Any]:
        fields: dict[str, Any] = handler(self)
        training = fields.pop("training")
        optimizer = training.pop("optimizer")
        training |= optimizer
        # Records from before there were other optimizers have no kind.
        named = {} if optimizer["kind"] == "sgd" else {"optimizer": optimizer["kind"]}
        excluded = info.exclude or ()
        kept = [name for name in self.training_options if name not in excluded]
        return {**fields, **{name: training[name] for name in kept}, **named}

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:  # noqa: ARG002
        """Return a copy; unlike pydantic's it is validated, and may change training options."""
        return self.replace(**(update or {}))


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
