"""Images and labels of a dataset, for training and scoring."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from headstart import datasets
from headstart.artifacts import ArtifactFolder
from headstart.context import ProgressReporter, RunContext
from headstart.datasets import JoinedImages, Splits
from headstart.datasets.image_cache import PreparedForm, PreparedImages, prepare_images
from headstart.errors import DatasetError, StorageError, TrainingError
from headstart.labels import kind_of
from headstart.spec import Crop, Dataset, Model, TrainingConfig
from headstart.threads import crowding_note

if TYPE_CHECKING:
    import torch

    from headstart.models.network import Network
    from headstart.spec.setting import Precision
    from headstart.training import (
        CheckpointOptions,
        DevicePixels,
        InputSpec,
        Progress,
        Ranks,
        Trained,
    )

__all__ = ["TrainingImages", "input_of", "remove_checkpoint"]

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TrainingImages:
    """Decoded images and labels of a dataset: train, validation, test in this order.

    Parameters
    ----------
    dataset, context
        The dataset, and where to run.
    splits
        The splits of the trial.
    prepared
        All images.
    labels
        (n,) or (n, K) int64 labels of train and validation.
    broken
        Name of a broken image -> reason given by the decoder. No rows include it.
    """

    dataset: Dataset
    context: RunContext
    splits: Splits
    prepared: PreparedImages
    labels: Rows
    broken: dict[str, str]

    @classmethod
    def read(
        cls, dataset: Dataset, splits: Splits, side: int, context: RunContext
    ) -> "TrainingImages":
        """Decode the images of some splits, or memory-map them if cached.

        Parameters
        ----------
        dataset, splits
            The dataset and what `datasets.load` gave of it.
        side
            Shorter side of cached images, in pixels.

        Raises
        ------
        DatasetError
            A class or a split is empty without broken images.
        """
        reporter = context.reporter
        places = splits.places
        images, revision = datasets.all_images(dataset, context.cache), dataset.revision
        if dataset.limit is not None:
            # A subset is cached separately, without decoding the other images.
            parts = (splits.train, splits.validation, splits.test)
            images = JoinedImages([part.images for part in parts])
            revision, places = splits.revision, np.arange(len(images), dtype=np.int64)
        recipe = PreparedForm(revision, dataset.decoding, side)
        folder, skip = context.cache / "prepared", dataset.skip_broken
        remote = context.remote.within("prepared") if context.remote else None
        whole = prepare_images(images, recipe, folder, reporter, skip_broken=skip, remote=remote)
        prepared = whole.take(places)
        labels = np.concatenate([splits.train.labels, splits.validation.labels])
        broken = {prepared.where(row): reason for row, reason in prepared.broken.items()}
        examples = cls(dataset, context, splits, prepared, labels, broken)
        examples.check_enough()
        return examples

    @property
    def train_rows(self) -> Rows:
        """Rows of train without broken images."""
        return self._whole(0, len(self.splits.train))

    @property
    def validation_rows(self) -> Rows:
        """Rows of validation without broken images."""
        return self._whole(len(self.splits.train), len(self.labels))

    @property
    def test_rows(self) -> Rows:
        """Rows of test without broken images."""
        return self._whole(len(self.labels), len(self.prepared))

    @property
    def test_places(self) -> Rows:
        """Indices of `test_rows` into the test split."""
        return self.test_rows - len(self.labels)

    def check_enough(self) -> None:
        """Raise DatasetError if a class or a split is empty without broken images."""
        dataset = self.dataset
        for name, rows in (("validation", self.validation_rows), ("test", self.test_rows)):
            if not len(rows):
                raise DatasetError(
                    f"dataset '{dataset.name}' has no {name} image that decodes",
                    code="dataset.split_empty",
                    split=name,
                )
        kind = kind_of(dataset.metric)
        counts = kind.counts(self.labels[self.train_rows], self.splits.n_classes)
        if not counts.all():
            empty = dataset.classes[int(np.argmin(counts))]
            raise DatasetError(
                f"dataset '{dataset.name}' has a class with no training example that decodes: "
                f"'{empty}'",
                code="dataset.class_empty",
                name=empty,
            )

    def fit(
        self,
        network: "Network",
        rows: Rows,
        model: Model,
        config: TrainingConfig,
        *,
        stage: str,
        checkpoint: "CheckpointOptions",
        on_progress: "Callable[[Progress], None] | None" = None,
        ranks: "Ranks | None" = None,
    ) -> "Trained":
        """Train a network on some rows; resume from the checkpoint if there is one.

        Parameters
        ----------
        network
            Network to train in place.
        rows
            Rows of train and validation.
        model
            Description of the network, for its input size and normalization.
        stage
            Label of the progress.
        checkpoint
            What to resume from; copies go to the context's remote folder. The caller removes it by
            `remove_checkpoint`.
        ranks
            As in `headstart.training.train`.
        on_progress
            Receives the progress, in addition to the reporter.
        """
        from headstart.devices import resolve_device
        from headstart.training import train

        device = resolve_device(self.context.device)
        if ranks:
            device = ranks.place(device)
        reporter = self.context.reporter
        reporter.stage(stage, total=config.steps, unit="steps")
        self._warn(device)
        trained = train(
            network,
            self._pixels.of(rows, device),
            self.labels[rows],
            input_of(model),
            config,
            device=device,
            checkpoint=replace(checkpoint, remote=_remote_checkpoints(self.context)),
            on_progress=_advancing(reporter, on_progress),
            ranks=ranks,
        )
        self._warn(device)
        return trained

    def _warn(self, device: "torch.device") -> None:
        """Note, once, that others use the processor that is trained on."""
        if device.type == "cpu" and (note := crowding_note()):
            self.context.reporter.note(note)

    def scores(
        self, network: "Network", rows: Rows, model: Model, crop: Crop, precision: "Precision"
    ) -> npt.NDArray[np.float32]:
        """Return (n, K) float32 decision values of some rows."""
        from headstart.devices import resolve_device
        from headstart.training import decision_values

        device = resolve_device(self.context.device)
        return decision_values(
            network,
            self._pixels.of(rows, device),
            np.arange(len(rows)),
            input_of(model),
            crop,
            device=device,
            precision=precision,
        )

    @cached_property
    def _pixels(self) -> "DevicePixels":
        """Pixels of train and validation together, or of test: each is loaded once."""
        from headstart.training import DevicePixels

        fit = np.concatenate([self.train_rows, self.validation_rows])
        return DevicePixels(self.prepared, fit)

    def _whole(self, first: int, last: int) -> Rows:
        rows = np.arange(first, last, dtype=np.int64)
        return rows[~np.isin(rows, list(self.prepared.broken))]


def _advancing(
    reporter: ProgressReporter, on_progress: "Callable[[Progress], None] | None"
) -> "Callable[[Progress], None]":
    """Return a callback that advances the reporter and calls `on_progress`."""
    done = 0

    def advance(progress: "Progress") -> None:
        nonlocal done
        reporter.advance(progress.step - done)
        done = progress.step
        if on_progress:
            on_progress(progress)

    return advance


def input_of(model: Model) -> "InputSpec":
    """Return the input specification of a model, for `headstart.training`.

    Raises
    ------
    TrainingError
        Its interpolation is neither bicubic nor bilinear.
    """
    from headstart.training import InputSpec

    interpolation = model.interpolation
    if interpolation not in ("bicubic", "bilinear"):
        raise TrainingError(
            f"'{model.name}' resizes by {interpolation}, training by bicubic or bilinear alone: "
            "choose one with ?interpolation=",
            code="training.interpolation_unsupported", found=interpolation,
        )  # fmt: skip
    return InputSpec(model.input_size, model.mean, model.std, interpolation)


def remove_checkpoint(checkpoint: Path, context: RunContext) -> None:
    """Remove the checkpoint of a run that is over, and its copy for other machines."""
    checkpoint.unlink(missing_ok=True)
    if remote := _remote_checkpoints(context):
        # It is of no use any more, but does no harm either.
        with suppress(StorageError):
            remote.delete(checkpoint.name)


def _remote_checkpoints(context: RunContext) -> ArtifactFolder | None:
    return context.remote.within("training") if context.remote else None
