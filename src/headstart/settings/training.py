"""Fine-tuning, and training from random weights: the same way but for where the weights begin."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from headstart import metrics, models
from headstart.clock import Clock
from headstart.datasets.prepare import bytes_needed
from headstart.errors import TrainingError
from headstart.labels import kind_of
from headstart.settings.examples import Examples
from headstart.settings.needs import Needs
from headstart.settings.search import choose_best, next_candidates
from headstart.settings.way import Tested
from headstart.spec import (
    Candidate,
    Measurement,
    Model,
    Selection,
    TrainingSetting,
    Trial,
    Value,
    Weights,
    digest,
)
from headstart.workspace import TrainingProgress, Workspace

if TYPE_CHECKING:
    from headstart.models.network import Network
    from headstart.training import Crop, Hyperparameters, Progress, Trained

__all__ = ["TrainingWay", "epoch_steps"]

Rows = npt.NDArray[np.int64]


class TrainingWay:
    """A candidate is a learning rate, a weight decay, and for how long."""

    def needs(self, trial: Trial) -> Needs:
        """Say what a trial needs: weights unless it begins at random, and room for its images."""
        setting, dataset = _setting(trial), trial.dataset
        # A subset has a prepared form of its own; few images a class are taken from that of all.
        drawn: list[object] = []
        sizes = dataset.sizes
        if dataset.limit is not None:
            drawn, sizes = (
                [dataset.limit, dataset.examples_per_class, trial.seed],
                dataset.used_sizes,
            )
        n_bytes = bytes_needed(sum(n for _, n in sizes), setting.side)
        table = digest([dataset.images_revision, setting.side, *drawn])
        return Needs(setting.pretrained, False, table, table, n_bytes, n_bytes)

    def candidates(self, trial: Trial, measured: Sequence[Measurement]) -> tuple[Candidate, ...]:
        return next_candidates(_setting(trial), measured)

    def measure(self, trial: Trial, candidate: Candidate, workspace: Workspace) -> Measurement:
        clock = Clock()
        with clock("prepare"):
            training = Training.of(trial, workspace)
        with clock("select"):
            trained, network = training.train(
                candidate.values, training.examples.train_rows, "candidate"
            )
            curve = [
                {**candidate.values, "crop": crop, "accuracy": training.validate(network, crop)}
                for crop in training.setting.crops
                if trained.diverged_at is None
            ]
        return Measurement(
            candidate=candidate,
            examples=training.examples.splits.revision,
            status="complete" if curve else "diverged",
            curve=tuple(curve or [{**candidate.values, "accuracy": 0.0}]),
            seconds=clock.seconds,
            facts=_facts(trained),
        )

    def choose(self, trial: Trial, measured: Sequence[Measurement]) -> Selection:
        return choose_best(_setting(trial), measured)

    def test(self, trial: Trial, selection: Selection, workspace: Workspace) -> Tested:
        """Train on train + validation, for as long as the protocol says."""
        clock = Clock()
        training = Training.of(trial, workspace)
        values = {**selection.chosen, "steps": float(training.setting.steps)}
        examples = training.examples
        rows = examples.train_rows
        if trial.dataset.examples_per_class is None:
            rows = np.concatenate([rows, examples.validation_rows])
        with clock("refit"):
            trained, network = training.train(values, rows, "refit")
        if trained.diverged_at is not None:
            raise TrainingError(
                f"the choice (learning rate {float(values['learning_rate']):g}) diverged at step "
                f"{trained.diverged_at} when it was trained on train + validation: give lower "
                "learning_rates"
            )
        with clock("test"):
            crop: Crop = "central" if values["crop"] == "central" else "full"
            scores = training.scores(network, examples.test_rows, crop)
        facts = {"refit": _facts(trained), "skipped_images": examples.broken}
        return Tested(examples.test_places, scores, facts, clock.seconds, lambda: network)


@dataclass(frozen=True)
class Training:
    """A trial's examples, and how its candidates are trained on them.

    Parameters
    ----------
    trial, workspace
        What is measured, and where.
    examples
        Train, validation and test.
    """

    trial: Trial
    workspace: Workspace
    examples: Examples

    @classmethod
    def of(cls, trial: Trial, workspace: Workspace) -> "Training":
        """Read the examples, and decode their images or map them if that was done before.

        Raises
        ------
        DatasetError
            Leaving out broken images left a class or a split empty.
        """
        side = _setting(trial).side
        return cls(trial, workspace, Examples.read(trial.dataset, trial.seed, side, workspace))

    @property
    def setting(self) -> TrainingSetting:
        """The trial's."""
        return _setting(self.trial)

    def train(
        self, values: dict[str, Value], rows: Rows, what: Literal["candidate", "refit"]
    ) -> "tuple[Trained, Network]":
        """Train a fresh network on some rows; interrupted before, it goes on where it was."""
        from headstart.training import cosine

        trial = self.trial
        where = self.workspace
        network = models.load(
            _begun(trial), where.cache, trust=where.trust, note=where.watcher.note
        )
        network = network.with_head(self.examples.splits.n_classes, self._seed("head"))
        identity = digest({"trial": trial.key, "what": what, "values": values})
        place = self.workspace.cache / "training" / f"{identity}.safetensors"
        rate, decay = float(values["learning_rate"]), float(values["weight_decay"])

        def told(progress: "Progress") -> None:
            last = cosine(rate, progress.step - 1, progress.steps)
            self.workspace.watcher.trained(
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

        trained = self.examples.fit(
            network,
            rows,
            trial.model,
            self._hyperparameters(values),
            stage=f"{what}: rate {rate:.2g}, decay {decay:.2g}",
            checkpoint=place,
            identity=identity,
            told=told,
        )
        for note in trained.notes:
            self.workspace.watcher.note(f"{trial.title}: {note}")
        place.unlink(missing_ok=True)
        return trained, network

    def validate(self, network: "Network", crop: "Crop") -> float:
        """Score validation."""
        rows = self.examples.validation_rows
        scores = self.scores(network, rows, crop)
        return metrics.score(self.trial.dataset.metric, self.examples.labels[rows], scores)

    def scores(self, network: "Network", rows: Rows, crop: "Crop") -> npt.NDArray[np.float32]:
        """(n, K) decision values of some rows."""
        return self.examples.scores(network, rows, self.trial.model, crop, self.setting.precision)

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
            repeats=self.trial.dataset.examples_per_class is not None,
            precision=setting.precision,
            seed=self._seed("training"),
        )

    def _seed(self, what: str) -> int:
        return int(digest({"trial": self.trial.key, "what": what})[:12], 16)


def check_budget(setting: TrainingSetting, n_images: int, *, whole_epoch: bool = True) -> None:
    """Raise TrainingError for a budget that cannot train.

    A batch is not larger than the data; and with `whole_epoch` no run ends before it has seen every
    image once.
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
    """How many steps see every image once."""
    return -(-n_images // setting.batch_size)


def _begun(trial: Trial) -> Model:
    """Give the model with the weights that training begins with."""
    if trial.setting.pretrained:
        return trial.model
    seed = int(digest({"trial": trial.key, "what": "weights"})[:8], 16)
    return trial.model.model_copy(update={"weights": Weights(locator=f"random:{seed}")})


def _setting(trial: Trial) -> TrainingSetting:
    if not isinstance(trial.setting, TrainingSetting):
        raise TypeError(f"expected a setting that trains, found {trial.setting.name}")
    return trial.setting


def _facts(trained: "Trained") -> dict[str, Any]:
    """Say what a training run did, as JSON."""
    return {
        "steps": trained.steps,
        "losses": trained.losses,
        "images_per_second": trained.images_per_second,
        "diverged_at": trained.diverged_at,
        "resumed_at": trained.resumed_at,
    }
