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
from headstart.context import RunContext
from headstart.datasets import JoinedImages, Splits
from headstart.datasets.image_cache import PreparedForm, PreparedImages, prepare_images
from headstart.devices import resolve_device
from headstart.errors import StorageError, TrainingError
from headstart.methods import Rows, usable_rows
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
    train_rows, validation_rows, test_rows
        Rows of each split, without broken images.
    broken
        Name of a broken image -> reason given by the decoder.
    """

    dataset: Dataset
    context: RunContext
    splits: Splits
    prepared: PreparedImages
    labels: Rows
    train_rows: Rows
    validation_rows: Rows
    test_rows: Rows
    broken: dict[str, str]

    @classmethod
    def read(
        cls, dataset: Dataset, splits: Splits, side: int, context: RunContext
    ) -> "TrainingImages":
        """Decode the images of some splits, or memory-map them if cached.

        `side` is the shorter side of cached images, in pixels.

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
        rows = usable_rows(dataset, splits, prepared.broken)
        return cls(dataset, context, splits, prepared, labels, *rows, broken)

    @property
    def test_places(self) -> Rows:
        """Indices of `test_rows` into the test split."""
        return self.test_rows - len(self.labels)

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
        network, model
            The network, trained in place, and its description.
        rows
            Rows of train and validation.
        stage
            Label of the progress.
        checkpoint
            What to resume from; copies go to the context's remote folder. The caller removes it by
            `remove_checkpoint`.
        on_progress, ranks
            As in `headstart.training.train`; the reporter has the progress in any case.
        """
        from headstart.training import train

        device = resolve_device(self.context.device)
        if ranks:
            device = ranks.place(device)
        reporter = self.context.reporter
        reporter.stage(stage, total=config.steps, unit="steps")
        self._warn(device)
        done = 0

        def advance(progress: "Progress") -> None:
            nonlocal done
            reporter.advance(progress.step - done)
            done = progress.step
            if on_progress:
                on_progress(progress)

        trained = train(
            network,
            self._pixels.of(rows, device),
            self.labels[rows],
            input_of(model),
            config,
            device=device,
            checkpoint=replace(checkpoint, remote=_remote_checkpoints(self.context)),
            on_progress=advance,
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
