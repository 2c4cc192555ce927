"""Fine-tuning, and training from scratch: one method with two initializations."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import product
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from headstart import metrics, models
from headstart.clock import Clock
from headstart.context import RunContext, TrainingProgress
from headstart.datasets.image_cache_prepare import bytes_needed
from headstart.errors import TrainingError
from headstart.labels import kind_of
from headstart.methods.base import ResourceEstimate, TestScores
from headstart.methods.training_images import TrainingImages
from headstart.spec import (
    Candidate,
    FinetuneSetting,
    Measurement,
    Model,
    ScratchSetting,
    Selection,
    Setting,
    TrainingSetting,
    Trial,
    Value,
    Weights,
    digest,
)

if TYPE_CHECKING:
    from headstart.models.network import Network
    from headstart.training import Crop, Hyperparameters, Progress, Trained

__all__ = [
    "FINETUNE",
    "SCRATCH",
    "FineTune",
    "PreparedTraining",
    "check_budget",
    "epoch_steps",
    "next_candidates",
    "select_best",
]

Rows = npt.NDArray[np.int64]


STEPS, RATE, DECAY, CROP = "steps", "learning_rate", "weight_decay", "crop"
ACCURACY = "accuracy"


# Successive halving: all candidates for few steps, a quarter for more, four for all steps.
HALVING = {"steps": 19_531, "search": "rungs", "rungs": ((56, 1_220), (14, 4_882), (4, 19_531))}
# All candidates for few steps, then only the best in full: the baseline of searches.
SHORT = {"steps": 19_531, "search": "rungs", "rungs": ((56, 1_220),)}
# Takes minutes on a CPU for a few hundred images.
QUICK = {"steps": 40, "batch_size": 32, "decays": (0.0, 1e-5)}


class FineTune:
    """A candidate is a learning rate, a weight decay, and a number of steps.

    Parameters
    ----------
    name, setting, protocols
        As in `Method`, for pretrained or random weights.
    """

    on_features = False

    def __init__(
        self,
        name: str,
        setting: type[TrainingSetting],
        protocols: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self.name: str = name
        self.setting: type[Setting] = setting
        self.protocols: Mapping[str, Mapping[str, Any]] = MappingProxyType(dict(protocols))

    def needs(self, trial: Trial) -> ResourceEstimate:
        """Return the resources of a trial: weights unless from scratch, disk for its images."""
        setting, dataset = _setting(trial), trial.dataset
        # A limited dataset is cached separately; few images per class share the whole cache.
        drawn: list[object] = []
        sizes = dataset.sizes
        if dataset.limit is not None:
            drawn, sizes = (
                [dataset.limit, dataset.examples_per_class, trial.seed],
                dataset.used_sizes,
            )
        n_bytes = bytes_needed(sum(n for _, n in sizes), setting.side)
        table = digest([dataset.images_revision, setting.side, *drawn])
        return ResourceEstimate(setting.pretrained, False, table, table, n_bytes, n_bytes)

    def open(self, trial: Trial, context: RunContext) -> "PreparedTraining":
        return PreparedTraining(trial, context)


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
            "decays": tuple(float(f"{10 ** (-5 + i / 2):.12g}") for i in range(8)),
        },
        "halving": HALVING,
        "short": SHORT,
        "quick": {**QUICK, "learning_rates": (0.01, 0.1, 1.0)},
    },
)


class PreparedTraining:
    """An open trial that trains its network."""

    def __init__(self, trial: Trial, context: RunContext) -> None:
        self.trial, self.context = trial, context
        self.setting = _setting(trial)

    @cached_property
    def images(self) -> TrainingImages:
        """Images of train, validation and test.

        Raises
        ------
        DatasetError
            A class or a split is empty without broken images.
        """
        trial = self.trial
        return TrainingImages.read(trial.dataset, trial.seed, self.setting.side, self.context)

    def candidates(self, measured: Sequence[Measurement]) -> tuple[Candidate, ...]:
        return next_candidates(self.setting, measured)

    def measure(self, candidate: Candidate) -> Measurement:
        clock = Clock()
        with clock("prepare"):
            images = self.images
        with clock("select"):
            trained, network = self.train(candidate.values, images.train_rows, "candidate")
            curve = [
                {**candidate.values, "crop": crop, "accuracy": self.validate(network, crop)}
                for crop in self.setting.crops
                if trained.diverged_at is None
            ]
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
        values = {**selection.chosen, "steps": float(self.setting.steps)}
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
        from headstart.training import cosine

        trial = self.trial
        where = self.context
        network = models.load(
            _begun(trial), where.cache, trust=where.trust, note=where.reporter.note
        )
        network = network.with_head(self.images.splits.n_classes, self._seed("head"))
        identity = digest({"trial": trial.key, "what": what, "values": values})
        place = self.context.cache / "training" / f"{identity}.safetensors"
        rate, decay = float(values["learning_rate"]), float(values["weight_decay"])

        def on_progress(progress: "Progress") -> None:
            last = cosine(rate, progress.step - 1, progress.steps)
            self.context.reporter.trained(
                TrainingProgress(
                    what,
                    values,
                    progress.step,
                    progress.steps,
                    progress.loss,
                    last,
                    progress.images_per_second,
                )
            )

        trained = self.images.fit(
            network,
            rows,
            trial.model,
            self._hyperparameters(values),
            stage=f"{what}: rate {rate:.2g}, decay {decay:.2g}",
            checkpoint=place,
            identity=identity,
            on_progress=on_progress,
        )
        for note in trained.notes:
            self.context.reporter.note(f"{trial.title}: {note}")
        place.unlink(missing_ok=True)
        return trained, network

    def validate(self, network: "Network", crop: "Crop") -> float:
        """Return the validation score of a network."""
        rows = self.images.validation_rows
        scores = self.scores(network, rows, crop)
        return metrics.score(self.trial.dataset.metric, self.images.labels[rows], scores)

    def scores(self, network: "Network", rows: Rows, crop: "Crop") -> npt.NDArray[np.float32]:
        """Return (n, K) float32 decision values of some rows."""
        return self.images.scores(network, rows, self.trial.model, crop, self.setting.precision)

    def _hyperparameters(self, values: dict[str, Value]) -> "Hyperparameters":
        from headstart.training import Hyperparameters

        setting, rate = self.setting, float(values["learning_rate"])
        return Hyperparameters(
            steps=int(values["steps"]),
            learning_rate=rate,
            weight_decay=float(values["weight_decay"]) / rate,
            batch_size=setting.batch_size,
            decayed=setting.decayed,
            momentum=setting.momentum,
            nesterov=setting.nesterov,
            batch_norm_window=setting.batch_norm_window,
            loss=kind_of(self.trial.dataset.metric).loss,
            auxiliary_weight=models.auxiliary_weight(self.trial.model),
            crop_area=setting.crop_area,
            crop_aspect=setting.crop_aspect,
            flip=setting.flip,
            micro_batch=setting.micro_batch,
            allow_repeats=self.trial.dataset.examples_per_class is not None,
            precision=setting.precision,
            seed=self._seed("training"),
        )

    def _seed(self, what: str) -> int:
        return int(digest({"trial": self.trial.key, "what": what})[:12], 16)


def next_candidates(
    setting: TrainingSetting, measured: Sequence[Measurement]
) -> tuple[Candidate, ...]:
    """Return the candidates to train next; an empty tuple ends the search.

    Parameters
    ----------
    setting
        The grid, and the search strategy.
    measured
        All measurements so far, in any order.
    """
    known = {measurement.candidate.key: measurement for measurement in measured}
    rungs = setting.rungs or ((setting.n_candidates, setting.steps),)
    wanted = [
        Candidate(values={RATE: rate, DECAY: decay, STEPS: rungs[0][1]})
        for rate, decay in product(setting.learning_rates, setting.decays)
    ]
    for place, (n, steps) in enumerate(rungs):
        if place:
            # All candidates of the previous rung are measured at this point.
            below = [known[candidate.key] for candidate in wanted]
            wanted = [
                Candidate(values={**measurement.candidate.values, STEPS: steps})
                for measurement in _best_first(below)[:n]
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
    steps = setting.rungs[-1][1] if setting.rungs else setting.steps
    last = [m for m in ordered if _number(m, STEPS) == steps and m.status == "complete"]
    if not last:
        raise TrainingError(
            f"all {len(measured)} candidates diverged, learning rates "
            f"{min(setting.learning_rates):g} to {max(setting.learning_rates):g}: try lower ones"
        )
    rows = [row for measurement in last for row in measurement.curve]
    best = max(rows, key=lambda row: (row[ACCURACY], row[DECAY], -float(row[RATE])))
    return Selection(
        examples=last[0].examples,
        chosen={name: best[name] for name in (RATE, DECAY, CROP)},
        validation_curve=tuple(row for measurement in ordered for row in measurement.curve),
    )


def _best_first(measured: Sequence[Measurement]) -> list[Measurement]:
    """Sort complete measurements by best accuracy; omit diverged ones."""
    complete = [measurement for measurement in measured if measurement.status == "complete"]
    return sorted(complete, key=lambda m: (-_accuracy(m), -_number(m, DECAY), _number(m, RATE)))


def _accuracy(measurement: Measurement) -> float:
    return max(float(row[ACCURACY]) for row in measurement.curve)


def _number(measurement: Measurement, name: str) -> float:
    value: Value = measurement.candidate.values[name]
    return float(value)


def check_budget(setting: TrainingSetting, n_images: int, *, whole_epoch: bool = True) -> None:
    """Raise TrainingError if a batch is larger than the data.

    With `whole_epoch`, also raise it if a run is shorter than one epoch.
    """
    if setting.batch_size > n_images:
        raise TrainingError(
            f"setting '{setting.name}': a batch of {setting.batch_size} is larger than the data, "
            f"{n_images:,} training images: lower batch_size"
        )
    shortest = min([setting.steps, *(steps for _, steps in setting.rungs)])
    if whole_epoch and shortest < epoch_steps(setting, n_images):
        raise TrainingError(
            f"setting '{setting.name}': {shortest:,} steps of {setting.batch_size} images are less "
            f"than one epoch of {n_images:,} training images: raise steps to "
            f"{epoch_steps(setting, n_images):,} at least, or lower --limit"
        )


def epoch_steps(setting: TrainingSetting, n_images: int) -> int:
    """Return the number of steps of one epoch."""
    return -(-n_images // setting.batch_size)


def _begun(trial: Trial) -> Model:
    """Return the model with its initial weights."""
    if trial.setting.pretrained:
        return trial.model
    seed = int(digest({"trial": trial.key, "what": "weights"})[:8], 16)
    return trial.model.model_copy(update={"weights": Weights(locator=f"random:{seed}")})


def _setting(trial: Trial) -> TrainingSetting:
    if not isinstance(trial.setting, TrainingSetting):
        raise TypeError(f"expected a setting that trains, found {trial.setting.name}")
    return trial.setting


def _facts(trained: "Trained") -> dict[str, Any]:
    """Return the facts of a training run to store, as JSON."""
    return {
        "steps": trained.steps,
        "losses": trained.losses,
        "images_per_second": trained.images_per_second,
        "diverged_at": trained.diverged_at,
        "resumed_at": trained.resumed_at,
    }
