"""A dataset's images and labels, ready to train on and to be scored."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from headstart import datasets
from headstart.datasets import JoinedImages, Splits
from headstart.datasets.prepare import prepare_images
from headstart.datasets.prepared import Prepared, Recipe
from headstart.errors import DatasetError, TrainingError
from headstart.labels import kind_of
from headstart.spec import Dataset, Model
from headstart.workspace import Watcher, Workspace

if TYPE_CHECKING:
    from headstart.models.network import Network
    from headstart.spec.setting import Precision
    from headstart.training import Crop, Hyperparameters, Input, Progress, Trained
    from headstart.training.ranks import Ranks

__all__ = ["TrainingImages", "input_of"]

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TrainingImages:
    """A dataset's images and labels, decoded: train, validation, test in this order.

    Parameters
    ----------
    dataset, workspace
        Whose they are, and where.
    splits
        What a trial sees of them.
    prepared
        All images.
    labels
        (n,) or (n, K) int64 of train and validation.
    broken
        Name of an image that does not decode -> what was said. It is in none of the rows.
    """

    dataset: Dataset
    workspace: Workspace
    splits: Splits
    prepared: Prepared
    labels: Rows
    broken: dict[str, str]

    @classmethod
    def read(
        cls,
        dataset: Dataset,
        seed: int,
        side: int,
        workspace: Workspace,
        *,
        test_labels: bool = False,
    ) -> "TrainingImages":
        """Read the examples, and decode their images or map them if that was done before.

        Parameters
        ----------
        dataset, seed, test_labels
            As `datasets.load` takes them.
        side
            The shorter side that images are kept at, in pixels.

        Raises
        ------
        DatasetError
            Leaving out broken images left a class or a split empty.
        """
        watcher = workspace.watcher
        watcher.stage("reading the dataset")
        splits = datasets.load(dataset, seed, workspace.cache, test_labels=test_labels)
        places = splits.places
        images, revision = datasets.all_images(dataset, workspace.cache), dataset.revision
        if dataset.limit is not None:
            # Such a subset has a prepared form of its own: the rest is not decoded for it.
            parts = (splits.train, splits.validation, splits.test)
            images = JoinedImages([part.images for part in parts])
            revision, places = splits.revision, np.arange(len(images), dtype=np.int64)
        recipe = Recipe(revision, dataset.decoding, side)
        folder, skip = workspace.cache / "prepared", dataset.skip_broken
        whole = prepare_images(images, recipe, folder, watcher, skip_broken=skip)
        prepared = whole.take(places)
        labels = np.concatenate([splits.train.labels, splits.validation.labels])
        broken = {prepared.where(row): reason for row, reason in prepared.broken.items()}
        examples = cls(dataset, workspace, splits, prepared, labels, broken)
        examples.check_enough()
        return examples

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

    @property
    def test_places(self) -> Rows:
        """Places in the test set of `test_rows`."""
        return self.test_rows - len(self.labels)

    def check_enough(self) -> None:
        """Raise DatasetError if leaving out broken images left a class or a split empty."""
        dataset = self.dataset
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

    def fit(
        self,
        network: "Network",
        rows: Rows,
        model: Model,
        hyperparameters: "Hyperparameters",
        *,
        stage: str,
        checkpoint: Path,
        identity: str,
        save_seconds: float = 60.0,
        on_progress: "Callable[[Progress], None] | None" = None,
        ranks: "Ranks | None" = None,
    ) -> "Trained":
        """Train a network on some rows; interrupted before, it goes on from the checkpoint.

        Parameters
        ----------
        network
            Trained in place.
        rows
            Of train and validation.
        model
            What the network takes.
        stage
            What the watcher is told.
        checkpoint, identity, save_seconds, ranks
            As `headstart.training.train` takes them; the caller removes the checkpoint.
        on_progress
            Told, beside the watcher, how far it is.
        """
        from headstart.devices import resolve_device
        from headstart.training import load_pixels, train

        device = resolve_device(self.workspace.device)
        if ranks:
            device = ranks.place(device)
        self.workspace.watcher.stage(stage, total=hyperparameters.steps, unit="steps")
        return train(
            network,
            load_pixels(self.prepared.take(rows), device),
            self.labels[rows],
            input_of(model),
            hyperparameters,
            device=device,
            checkpoint=checkpoint,
            save_seconds=save_seconds,
            identity=identity,
            watch=_advancing(self.workspace.watcher, on_progress),
            ranks=ranks,
        )

    def scores(
        self, network: "Network", rows: Rows, model: Model, crop: "Crop", precision: "Precision"
    ) -> npt.NDArray[np.float32]:
        """(n, K) decision values of some rows."""
        from headstart.devices import resolve_device
        from headstart.training import decision_values, load_pixels

        device = resolve_device(self.workspace.device)
        return decision_values(
            network,
            load_pixels(self.prepared.take(rows), device),
            np.arange(len(rows)),
            input_of(model),
            crop,
            device=device,
            precision=precision,
        )

    def _whole(self, first: int, last: int) -> Rows:
        rows = np.arange(first, last, dtype=np.int64)
        return rows[~np.isin(rows, list(self.prepared.broken))]


def _advancing(
    watcher: Watcher, on_progress: "Callable[[Progress], None] | None"
) -> "Callable[[Progress], None]":
    """Move the watcher's stage on by the steps since the last time, and tell who else listens."""
    done = 0

    def watch(progress: "Progress") -> None:
        nonlocal done
        watcher.advance(progress.step - done)
        done = progress.step
        if on_progress:
            on_progress(progress)

    return watch


def input_of(model: Model) -> "Input":
    """Say what a model's network takes, for `headstart.training`."""
    from headstart.training import Input

    interpolation = model.interpolation
    if interpolation not in ("bicubic", "bilinear"):
        raise TrainingError(
            f"'{model.name}' resizes by {interpolation}, training by bicubic or bilinear alone: "
            "choose one with ?interpolation=",
            code="training.interpolation_unsupported", found=interpolation,
        )  # fmt: skip
    return Input(model.input_size, model.mean, model.std, interpolation)
