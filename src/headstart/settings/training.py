"""Fine-tuning, and training from random weights: the same way but for where the weights begin."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstart import datasets, metrics, models
from headstart.clock import Clock
from headstart.datasets import JoinedImages, Splits
from headstart.datasets.prepare import bytes_needed, prepare_images
from headstart.datasets.prepared import Prepared, Recipe
from headstart.errors import DatasetError, TrainingError
from headstart.labels import kind_of
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
from headstart.workspace import Workspace

if TYPE_CHECKING:
    from headstart.models.network import Network
    from headstart.training import Crop, Input, Progress, Trained
    from headstart.training import Recipe as TrainingRecipe

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
            trained, network = training.train(candidate.values, training.train_rows, "candidate")
            curve = [
                {**candidate.values, "crop": crop, "accuracy": training.validate(network, crop)}
                for crop in training.setting.crops
                if trained.diverged_at is None
            ]
        return Measurement(
            candidate=candidate,
            examples=training.splits.revision,
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
        rows = training.train_rows
        if trial.dataset.examples_per_class is None:
            rows = np.concatenate([rows, training.validation_rows])
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
            scores = training.scores(network, training.test_rows, crop)
        first = len(training.splits.train) + len(training.splits.validation)
        facts = {"refit": _facts(trained), "skipped_images": training.broken}
        places = training.test_rows - first
        return Tested(places, scores, facts, clock.seconds, lambda: network)


@dataclass(frozen=True)
class Training:
    """A trial's images and labels, ready to train on: train, validation, test in this order.

    Parameters
    ----------
    trial, workspace
        What is measured, and where.
    splits
        Its examples.
    prepared
        All its images.
    labels
        (n,) or (n, K) int64 of train and validation.
    broken
        Name of an image that does not decode -> what was said. It is in none of the rows.
    """

    trial: Trial
    workspace: Workspace
    splits: Splits
    prepared: Prepared
    labels: Rows
    broken: dict[str, str]

    @classmethod
    def of(cls, trial: Trial, workspace: Workspace) -> "Training":
        """Read the examples, and decode their images or map them if that was done before.

        Raises
        ------
        DatasetError
            Leaving out broken images left a class or a split empty.
        """
        watcher, setting = workspace.watcher, _setting(trial)
        watcher.stage("reading the dataset")
        splits = datasets.load(trial.dataset, trial.seed, workspace.cache)
        dataset, places = trial.dataset, splits.places
        images, revision = datasets.all_images(dataset, workspace.cache), dataset.revision
        if dataset.limit is not None:
            # Such a subset has a prepared form of its own: the rest is not decoded for it.
            parts = (splits.train, splits.validation, splits.test)
            images = JoinedImages([part.images for part in parts])
            revision, places = splits.revision, np.arange(len(images), dtype=np.int64)
        recipe = Recipe(revision, dataset.decoding, setting.side)
        folder, skip = workspace.cache / "prepared", dataset.skip_broken
        whole = prepare_images(images, recipe, folder, watcher, skip_broken=skip)
        prepared = whole.take(places)
        labels = np.concatenate([splits.train.labels, splits.validation.labels])
        broken = {prepared.where(row): reason for row, reason in prepared.broken.items()}
        training = cls(trial, workspace, splits, prepared, labels, broken)
        training.check_enough()
        return training

    @property
    def setting(self) -> TrainingSetting:
        """The trial's."""
        return _setting(self.trial)

    @property
    def train_rows(self) -> Rows:
        """Rows of train that decode."""
        return self._whole(0, len(self.splits.train))

    @property
    def validation_rows(self) -> Rows:
        """Rows of validation that decode."""
        return self._whole(len(self.splits.train), len(self.labels))

    @property
    def test_rows(self) -> Rows:
        """Rows of test that decode."""
        return self._whole(len(self.labels), len(self.prepared))

    def check_enough(self) -> None:
        """Raise DatasetError if leaving out broken images left a class or a split empty."""
        dataset = self.trial.dataset
        for name, rows in (("validation", self.validation_rows), ("test", self.test_rows)):
            if not len(rows):
                raise DatasetError(f"dataset '{dataset.name}' has no {name} image that decodes")
        kind = kind_of(dataset.metric)
        counts = kind.counts(self.labels[self.train_rows], self.splits.n_classes)
        if not counts.all():
            raise DatasetError(
                f"dataset '{dataset.name}' has a class with no training example that decodes: "
                f"'{dataset.classes[int(np.argmin(counts))]}'"
            )

    def train(self, values: dict[str, Value], rows: Rows, what: str) -> "tuple[Trained, Network]":
        """Train a fresh network on some rows; interrupted before, it goes on where it was."""
        from headstart.devices import resolve_device
        from headstart.training import load_pixels, train

        watcher, trial = self.workspace.watcher, self.trial
        device = resolve_device(self.workspace.device)
        recipe = self._recipe(values)
        network = models.load(_begun(trial), self.workspace.cache, trust=self.workspace.trust)
        network = network.with_head(self.splits.n_classes, self._seed("head"))
        identity = digest({"trial": trial.key, "what": what, "values": values})
        place = self.workspace.cache / "training" / f"{identity}.safetensors"
        said = (
            f"rate {float(values['learning_rate']):.2g}, decay {float(values['weight_decay']):.2g}"
        )
        watcher.stage(f"{what}: {said}", total=recipe.steps, unit="steps")
        done = 0

        def watch(progress: "Progress") -> None:
            nonlocal done
            watcher.advance(progress.step - done)
            done = progress.step

        trained = train(
            network,
            load_pixels(self.prepared.take(rows), device),
            self.labels[rows],
            _input(trial.model),
            recipe,
            device=device,
            checkpoint=place,
            identity=identity,
            watch=watch,
        )
        for note in trained.notes:
            watcher.note(f"{trial.title}: {note}")
        place.unlink(missing_ok=True)
        return trained, network

    def validate(self, network: "Network", crop: "Crop") -> float:
        """Score validation."""
        rows = self.validation_rows
        scores = self.scores(network, rows, crop)
        return metrics.score(self.trial.dataset.metric, self.labels[rows], scores)

    def scores(self, network: "Network", rows: Rows, crop: "Crop") -> npt.NDArray[np.float32]:
        """(n, K) decision values of some rows."""
        from headstart.devices import resolve_device
        from headstart.training import decision_values, load_pixels

        device = resolve_device(self.workspace.device)
        return decision_values(
            network,
            load_pixels(self.prepared.take(rows), device),
            np.arange(len(rows)),
            _input(self.trial.model),
            crop,
            device=device,
            precision=self.setting.precision,
        )

    def _recipe(self, values: dict[str, Value]) -> "TrainingRecipe":
        from headstart.training import Recipe

        setting, rate = self.setting, float(values["learning_rate"])
        return Recipe(
            steps=int(values["steps"]),
            learning_rate=rate,
            weight_decay=float(values["weight_decay"]) / rate,
            batch_size=setting.batch_size,
            decayed=setting.decayed,
            momentum=setting.momentum,
            nesterov=setting.nesterov,
            batch_norm_window=setting.batch_norm_window,
            loss=kind_of(self.trial.dataset.metric).loss,
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

    def _whole(self, first: int, last: int) -> Rows:
        rows = np.arange(first, last, dtype=np.int64)
        return rows[~np.isin(rows, list(self.prepared.broken))]


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


def _input(model: Model) -> "Input":
    from headstart.training import Input

    return Input(model.input_size, model.mean, model.std, model.interpolation)


def _facts(trained: "Trained") -> dict[str, Any]:
    """Say what a training run did, as JSON."""
    return {
        "steps": trained.steps,
        "losses": trained.losses,
        "images_per_second": trained.images_per_second,
        "diverged_at": trained.diverged_at,
        "resumed_at": trained.resumed_at,
    }
