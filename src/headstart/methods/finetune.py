"""Fine-tuning, and training from scratch: one method with two initializations."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import product
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import (
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from headstart import metrics, models
from headstart.context import Clock, RunContext, TrainingProgress
from headstart.datasets import Splits
from headstart.datasets.image_cache import bytes_needed
from headstart.errors import TrainingError
from headstart.labels import kind_of
from headstart.methods import ResourceEstimate, TestScores, setting_of
from headstart.methods.training_images import TrainingImages, remove_checkpoint
from headstart.spec import (
    Candidate,
    Crop,
    Measurement,
    SearchGrid,
    Selection,
    Setting,
    TrainingConfig,
    Trial,
    Value,
    Weights,
    digest,
)
from headstart.spec.setting import EmbedsTraining

if TYPE_CHECKING:
    from headstart.models.network import Network
    from headstart.training import Progress, Trained

__all__ = [
    "FINETUNE",
    "SCRATCH",
    "FineTune",
    "FinetuneSetting",
    "PreparedTraining",
    "ScratchSetting",
    "TrainingSetting",
    "next_candidates",
    "select_best",
]

Rows = npt.NDArray[np.int64]
# Number of candidates, and steps of each.
Rung = tuple[PositiveInt, PositiveInt]
Rates = Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]

STEPS, RATE, DECAY, CROP = "steps", "learning_rate", "weight_decay", "crop"
ACCURACY = "accuracy"


def _log_spaced(first: float, last: float) -> tuple[float, ...]:
    """Return 7 values from 10^first to 10^last, evenly spaced in logarithms, with 12 digits."""
    return tuple(float(f"{10 ** (first + (last - first) * i / 6):.12g}") for i in range(7))


# Kornblith et al. 2019 as restated by Chen et al. (SimCLR, 2020), appendix B.8.2.
FINETUNE_RATES = _log_spaced(-4, -1)
SCRATCH_RATES = _log_spaced(-3, 0)
WEIGHT_DECAYS = (0.0, *_log_spaced(-6, -3))

# Successive halving: all candidates for few steps, a quarter for more, four for all steps.
HALVING = {"steps": 19_531, "search": "rungs", "rungs": ((56, 1_220), (14, 4_882), (4, 19_531))}
# All candidates for few steps, then only the best in full: the baseline of searches.
SHORT = {"steps": 19_531, "search": "rungs", "rungs": ((56, 1_220),)}
# Takes minutes on a CPU for a few hundred images.
QUICK = {"steps": 40, "batch_size": 32, "weight_decays": (0.0, 1e-5)}


class TrainingSetting(EmbedsTraining, Setting):
    """Training of the whole network, with hyperparameters selected on validation.

    Every pair of `learning_rates` and `weight_decays` is a candidate, trained as `training` says. A
    weight decay is the fraction of a weight that is lost at a step of the full learning rate: the
    coefficient of ``||w||^2 / 2`` is the weight decay divided by the learning rate. Each candidate
    is scored on validation by every evaluation of `crops` (the full image, or its central 87.5 %),
    and the best pair of candidate and crop is selected. The network is then trained on train +
    validation.

    `search` ``"grid"`` trains all candidates for the full number of steps. ``"rungs"`` trains those
    of `rungs`, (candidates, steps) each: all of them in the first rung, the best of them anew in
    the next. Every run has a whole cosine schedule, since accuracies in the middle of a longer one
    favour small learning rates.

    `side` is the shorter side of cached images, in pixels.
    """

    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    chosen: ClassVar[tuple[str, ...]] = (RATE, DECAY, CROP)
    renamed: ClassVar[Mapping[str, str]] = MappingProxyType({"weight_decays": "decays"})
    training_options: ClassVar[tuple[str, ...]] = (
        "steps",
        "batch_size",
        "momentum",
        "nesterov",
        "decayed",
        "batch_norm_window",
        "crop_area",
        "crop_aspect",
        "flip",
        "micro_batch",
    )
    training_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({"steps": 20_000})

    protocol: str = "kornblith2019"
    learning_rates: Rates = FINETUNE_RATES
    weight_decays: Annotated[tuple[NonNegativeFloat, ...], Field(min_length=1, alias="decays")] = (
        WEIGHT_DECAYS
    )
    crops: Annotated[tuple[Crop, ...], Field(min_length=1)] = ("full", "central")
    side: PositiveInt = 256
    search: Literal["grid", "rungs"] = "grid"
    rungs: tuple[Rung, ...] = ()
    # Increase it when a change of the code may change results of the same fields.
    implementation: int = 1

    @classmethod
    def options(cls) -> set[str]:
        names = super().options() - {"training", *cls.renamed}
        return names | {*cls.training_options, *cls.renamed.values()}

    @property
    def n_candidates(self) -> int:
        """Number of pairs of learning rate and weight decay."""
        return len(self.learning_rates) * len(self.weight_decays)

    @property
    def n_measurements(self) -> int:
        return sum(n for n, _ in self.rungs) if self.rungs else self.n_candidates

    @property
    def grid(self) -> SearchGrid:
        steps = self.training.steps
        rungs = self.rungs or ((self.n_candidates, steps),)
        return SearchGrid(
            self.learning_rates,
            self.weight_decays,
            self.rungs,
            self.n_measurements,
            sum(n * rung_steps for n, rung_steps in rungs),
            steps,
            self.training.batch_size,
        )

    @property
    def columns(self) -> dict[str, Any]:
        return {"steps": self.training.steps, "batch_size": self.training.batch_size}

    def check_budget(self, n_images: int, *, whole_epoch: bool) -> None:
        batch_size = self.training.batch_size
        if batch_size > n_images:
            raise TrainingError(
                f"setting '{self.name}': a batch of {batch_size} is larger than the data, "
                f"{n_images:,} training images: lower batch_size",
                code="training.batch_too_large",
                batch_size=batch_size,
                n_images=n_images,
            )
        epoch = -(-n_images // batch_size)
        shortest = min([self.training.steps, *(steps for _, steps in self.rungs)])
        if whole_epoch and shortest < epoch:
            raise TrainingError(
                f"setting '{self.name}': {shortest:,} steps of {batch_size} images are less than "
                f"one epoch of {n_images:,} training images: raise steps to at least {epoch:,}, or "
                "lower --limit",
                code="training.less_than_epoch",
                steps=shortest,
                epoch=epoch,
            )

    @field_validator("learning_rates", "weight_decays")
    @classmethod
    def _without_repetition(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(dict.fromkeys(values))

    @model_validator(mode="after")
    def _rungs_fit(self) -> Self:
        if (self.search == "rungs") != bool(self.rungs):
            raise ValueError("search = 'rungs' needs rungs, and rungs need search = 'rungs'")
        if self.rungs:
            counts = [n for n, _ in self.rungs]
            if counts[0] != self.n_candidates or counts != sorted(counts, reverse=True):
                raise ValueError(
                    f"the first rung must train all {self.n_candidates} candidates, and each "
                    f"later one no more than the one before: found {', '.join(map(str, counts))}"
                )
        return self


class FinetuneSetting(TrainingSetting):
    """Training that starts from the pretrained weights, with a new classifier."""

    name: Literal["finetune"] = "finetune"


class ScratchSetting(TrainingSetting):
    """Training that starts from random weights, drawn by the trial's seed."""

    pretrained: ClassVar[bool] = False

    name: Literal["scratch"] = "scratch"
    learning_rates: Rates = SCRATCH_RATES


class FineTune:
    """A candidate is a learning rate, a weight decay, and a number of steps.

    Parameters
    ----------
    name, setting, protocols
        As in `Method`, for pretrained or random weights.
    """

    on_features = False

    def __init__(
        self, name: str, setting: type[TrainingSetting], protocols: Mapping[str, Mapping[str, Any]]
    ) -> None:
        self.name: str = name
        self.setting: type[Setting] = setting
        self.protocols: Mapping[str, Mapping[str, Any]] = MappingProxyType(dict(protocols))

    def needs(self, trial: Trial, measured: Sequence[Measurement] = ()) -> ResourceEstimate:
        """Return the resources: weights unless from scratch, disk for images, and steps."""
        setting, dataset = setting_of(trial, TrainingSetting), trial.dataset
        # A limited dataset is cached separately; few images per class share the whole cache.
        drawn: list[object] = []
        sizes = dataset.sizes
        if dataset.limit is not None:
            drawn = [dataset.limit, dataset.examples_per_class, trial.seed]
            sizes = dataset.used_sizes
        n_bytes = bytes_needed(sum(n for _, n in sizes), setting.side)
        table = digest([dataset.images_revision, setting.side, *drawn])
        grid, used = setting.grid, dataset.used_sizes
        done = [int(m.candidate.values[STEPS]) for m in measured]
        evaluations = (grid.n_measurements - len(done)) * len(setting.crops)
        return ResourceEstimate(
            weights=setting.pretrained,
            features=False,
            table=table,
            rows=table,
            n_bytes=n_bytes,
            whole=n_bytes,
            steps=grid.search_steps + grid.final_steps - sum(done),
            batch_size=grid.batch_size,
            evaluated=evaluations * used.validation + used.test,
        )

    def open(self, trial: Trial, context: RunContext, splits: Splits) -> "PreparedTraining":
        return PreparedTraining(trial, context, splits)


FINETUNE = FineTune(
    "finetune",
    FinetuneSetting,
    {
        "kornblith2019": {},
        "simclr2020": {"crops": ("central",)},
        "halving": HALVING,
        "short": SHORT,
        "quick": {**QUICK, "learning_rates": (0.001, 0.01, 0.1)},
    },
)
SCRATCH = FineTune(
    "scratch",
    ScratchSetting,
    {
        "kornblith2019": {},
        "simclr2020": {
            "crops": ("central",),
            "steps": 40_000,
            "weight_decays": tuple(float(f"{10 ** (-5 + i / 2):.12g}") for i in range(8)),
        },
        "halving": HALVING,
        "short": SHORT,
        "quick": {**QUICK, "learning_rates": (0.01, 0.1, 1.0)},
    },
)


class PreparedTraining:
    """An open trial that trains its network."""

    def __init__(self, trial: Trial, context: RunContext, splits: Splits) -> None:
        self.trial, self.context, self._splits = trial, context, splits
        self.setting = setting_of(trial, TrainingSetting)

    @cached_property
    def images(self) -> TrainingImages:
        """Images of train, validation and test.

        Raises
        ------
        DatasetError
            A class or a split is empty without broken images.
        """
        return TrainingImages.read(
            self.trial.dataset, self._splits, self.setting.side, self.context
        )

    def candidates(self, measured: Sequence[Measurement]) -> tuple[Candidate, ...]:
        return next_candidates(self.setting, measured)

    def measure(self, candidate: Candidate) -> Measurement:
        clock = Clock()
        with clock("prepare"):
            images = self.images
        with clock("select"):
            trained, network = self.train(candidate.values, images.train_rows, "candidate")
            rows, curve = images.validation_rows, []
            for crop in self.setting.crops if trained.diverged_at is None else ():
                scores = self.scores(network, rows, crop)
                accuracy = metrics.score(self.trial.dataset.metric, images.labels[rows], scores)
                curve.append({**candidate.values, "crop": crop, "accuracy": accuracy})
        return Measurement(
            candidate=candidate,
            examples=images.splits.revision,
            status="complete" if curve else "diverged",
            curve=tuple(curve or [{**candidate.values, "accuracy": 0.0}]),
            seconds=clock.seconds,
            facts=_facts(trained),
        )

    def select(self, measured: Sequence[Measurement]) -> Selection:
        return select_best(self.setting, measured)

    def test(self, selection: Selection) -> TestScores:
        """Train on train + validation for the full number of steps; score the test images."""
        clock = Clock()
        images = self.images
        values = {**selection.chosen, "steps": float(self.setting.training.steps)}
        rows = images.train_rows
        if self.trial.dataset.examples_per_class is None:
            rows = np.concatenate([rows, images.validation_rows])
        with clock("refit"):
            trained, network = self.train(values, rows, "refit")
        if trained.diverged_at is not None:
            raise TrainingError(
                f"the selected learning rate {float(values['learning_rate']):g} diverged at step "
                f"{trained.diverged_at} when trained on train + validation: use lower "
                "learning_rates",
                code="training.diverged",
                step=trained.diverged_at,
            )
        with clock("test"):
            crop: Crop = "central" if values["crop"] == "central" else "full"
            scores = self.scores(network, images.test_rows, crop)
        facts = {"refit": _facts(trained), "skipped_images": images.broken}
        return TestScores(images.test_places, scores, facts, clock.seconds, lambda: network)

    def train(
        self, values: dict[str, Value], rows: Rows, what: Literal["candidate", "refit"]
    ) -> "tuple[Trained, Network]":
        """Train a new network on some rows; resume from the checkpoint if there is one."""
        from headstart.training import CheckpointOptions, cosine

        trial = self.trial
        where = self.context
        model = trial.model
        if not trial.setting.pretrained:
            seed = int(digest({"trial": trial.key, "what": "weights"})[:8], 16)
            model = model.model_copy(update={"weights": Weights(locator=f"random:{seed}")})
        network = models.load(model, where.cache, trust=where.trust, note=where.reporter.note)
        network = network.with_head(self.images.splits.n_classes, self._seed("head"))
        identity = digest({"trial": trial.key, "what": what, "values": values})
        place = where.cache / "training" / f"{identity}.safetensors"
        rate, decay = float(values["learning_rate"]), float(values["weight_decay"])

        def on_progress(progress: "Progress") -> None:
            last = cosine(rate, progress.step - 1, progress.steps)
            where.reporter.trained(
                TrainingProgress(what, values, learning_rate=last, **vars(progress))
            )

        trained = self.images.fit(
            network,
            rows,
            trial.model,
            self.config_of(values),
            stage=f"{what}: rate {rate:.2g}, decay {decay:.2g}",
            checkpoint=CheckpointOptions(place, identity),
            on_progress=on_progress,
        )
        for note in trained.notes:
            where.reporter.note(f"{trial.title}: {note}")
        remove_checkpoint(place, where)
        return trained, network

    def scores(self, network: "Network", rows: Rows, crop: "Crop") -> npt.NDArray[np.float32]:
        """Return (n, K) float32 decision values of some rows."""
        return self.images.scores(network, rows, self.trial.model, crop, self.setting.precision)

    def config_of(self, values: dict[str, Value]) -> TrainingConfig:
        """Return the configuration of a candidate's run."""
        training, dataset = self.setting.training, self.trial.dataset
        rate, weight_decay = float(values["learning_rate"]), float(values["weight_decay"])
        return training.replace(
            steps=int(values["steps"]),
            learning_rate=rate,
            optimizer=training.optimizer.replace(weight_decay=weight_decay / rate),
            loss=kind_of(dataset.metric).loss,
            auxiliary_weight=models.auxiliary_weight(self.trial.model),
            allow_repeats=dataset.examples_per_class is not None,
            precision=self.setting.precision,
            seed=self._seed("training"),
        )

    def _seed(self, what: str) -> int:
        return int(digest({"trial": self.trial.key, "what": what})[:12], 16)


def next_candidates(
    setting: TrainingSetting, measured: Sequence[Measurement]
) -> tuple[Candidate, ...]:
    """Return the candidates to train next; an empty tuple ends the search.

    `measured` are all measurements so far, in any order.
    """

    def order(one: Measurement) -> tuple[float, float, float]:
        accuracy = max(float(row[ACCURACY]) for row in one.curve)
        return -accuracy, -_number(one, DECAY), _number(one, RATE)

    known = {measurement.candidate.key: measurement for measurement in measured}
    rungs = setting.rungs or ((setting.n_candidates, setting.training.steps),)
    wanted = [
        Candidate(values={RATE: rate, DECAY: decay, STEPS: rungs[0][1]})
        for rate, decay in product(setting.learning_rates, setting.weight_decays)
    ]
    for place, (n, steps) in enumerate(rungs):
        if place:
            # All of the previous rung are measured at this point; diverged ones end here.
            below = [one for c in wanted if (one := known[c.key]).status == "complete"]
            wanted = [
                Candidate(values={**measurement.candidate.values, STEPS: steps})
                for measurement in sorted(below, key=order)[:n]
            ]
        if left := tuple(candidate for candidate in wanted if candidate.key not in known):
            return left
    return ()


def select_best(setting: TrainingSetting, measured: Sequence[Measurement]) -> Selection:
    """Select learning rate, weight decay and crop on validation, among full-length candidates.

    Ties go to the strongest decay, then the lowest learning rate.

    Raises
    ------
    TrainingError
        Every candidate diverged.
    """
    # Longest first, so that a table shows the last rung on top.
    ordered = sorted(
        measured, key=lambda m: (-_number(m, STEPS), _number(m, RATE), _number(m, DECAY))
    )
    steps = setting.rungs[-1][1] if setting.rungs else setting.training.steps
    last = [m for m in ordered if _number(m, STEPS) == steps and m.status == "complete"]
    if not last:
        raise TrainingError(
            f"all {len(measured)} candidates diverged, learning rates "
            f"{min(setting.learning_rates):g} to {max(setting.learning_rates):g}: try lower ones",
            code="training.all_diverged",
            n=len(measured),
        )
    rows = [row for measurement in last for row in measurement.curve]
    best = max(rows, key=lambda row: (row[ACCURACY], row[DECAY], -float(row[RATE])))
    return Selection(
        examples=last[0].examples,
        chosen={name: best[name] for name in (RATE, DECAY, CROP)},
        validation_curve=tuple(row for measurement in ordered for row in measurement.curve),
    )


def _number(measurement: Measurement, name: str) -> float:
    value: Value = measurement.candidate.values[name]
    return float(value)


def _facts(trained: "Trained") -> dict[str, Any]:
    """Return the facts of a training run to store, as JSON."""
    return {
        "steps": trained.steps,
        "losses": trained.losses,
        "images_per_second": trained.images_per_second,
        "diverged_at": trained.diverged_at,
        "resumed_at": trained.resumed_at,
    }
