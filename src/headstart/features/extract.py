"""Images in, features out: from the cache where they are there, else computed and kept."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstart import models
from headstart.datasets import Decodable, JoinedImages, Splits
from headstart.datasets.ahead import ahead
from headstart.errors import FeatureError
from headstart.features.cache import Block, Features, Table
from headstart.features.runtime import FeatureRuntime, Runtime, choose_runtime, make_runtime
from headstart.features.stream import Decoder
from headstart.spec import Dataset, Model
from headstart.spec.setting import FEATURES_IMPLEMENTATION, Precision, Resize
from headstart.workspace import Workspace

if TYPE_CHECKING:
    import torch

__all__ = ["FeatureRequest", "bytes_needed", "features_content", "penultimate_features"]


@dataclass(frozen=True)
class FeatureRequest:
    """Images of one dataset, which rows of its table they are, and how a network sees them.

    Parameters
    ----------
    images
        n images.
    rows
        (n,) int64, the place of each among all images of the dataset: its train, validation and
        test in this order are the rows of the table.
    revision, total
        Digest of the dataset, and how many images it has.
    resize
        How an image meets the network's input size: ``"whole"`` squeezes the whole image,
        ``"center-crop"`` resizes the shorter side and crops the centre.
    precision
        Of the network's arithmetic.
    skip_broken
        Whether the features of an image that does not decode are NaN; else it raises.
    """

    images: Decodable
    rows: npt.NDArray[np.int64]
    revision: str
    total: int
    resize: Resize = "whole"
    precision: Precision = "fp32"
    skip_broken: bool = False

    def __post_init__(self) -> None:
        # Two images in one row would give one of them the other's features, without a word.
        rows = np.unique(self.rows)
        if len(rows) != len(self.images) or rows[0] < 0 or rows[-1] >= self.total:
            raise ValueError(f"expected {len(self.images)} different rows under {self.total}")

    @classmethod
    def of(
        cls, dataset: Dataset, splits: Splits, resize: Resize, precision: Precision
    ) -> "FeatureRequest":
        """Request all images of a trial: train, validation, test."""
        train, validation, test = splits.train, splits.validation, splits.test
        images = JoinedImages([train.images, validation.images, test.images])
        total = sum(size for _, size in dataset.sizes)
        revision = dataset.images_revision
        return cls(images, splits.places, revision, total, resize, precision, dataset.skip_broken)

    @classmethod
    def all_of(cls, images: Decodable, revision: str, **options: Any) -> "FeatureRequest":
        """Request all images of a collection with this digest; `options` are other fields."""
        n = len(images)
        return cls(images, np.arange(n, dtype=np.int64), revision, n, **options)


def features_content(
    model: Model, revision: str, resize: Resize, precision: Precision, runtime: Runtime
) -> dict[str, Any]:
    """Say all that decides the features of a dataset's images, as JSON: their key is its digest.

    Which of the images a trial takes is not part of it: a trial of another size or seed finds the
    features that they have in common.
    """
    return {
        "model": model.identity,
        "resize": resize,
        "precision": precision,
        "runtime": runtime,
        "dataset": revision,
        "implementation": FEATURES_IMPLEMENTATION,
    }


def bytes_needed(model: Model, n_images: int) -> int:
    """Size on disk of the features of so many images."""
    return n_images * model.feature_dim * 4


def penultimate_features(model: Model, request: FeatureRequest, workspace: Workspace) -> Features:
    """Give the penultimate features of unaugmented images, computed where they are not kept yet.

    Parameters
    ----------
    model
        The network.
    request
        n images. A broken one that is skipped has NaN for features, and the result names it.

    Returns
    -------
    Features
        (n, ``model.feature_dim``) float32.

    Raises
    ------
    BrokenImageError, FeatureError, DeviceError, WeightsMissingError, WeightsError, StorageError
    """
    from headstart.devices import resolve_device

    runtime = choose_runtime(resolve_device(workspace.device).type, request.precision)
    content = features_content(model, request.revision, request.resize, request.precision, runtime)
    table = Table(workspace.cache / "features", content, (request.total, model.feature_dim))
    warn, holes = workspace.watcher.note, request.skip_broken
    with table.locked(lambda: workspace.watcher.stage("waiting for another process's features")):
        found = table.read(request.rows, warn, holes=holes)
        if found is None:
            places = table.missing(request.rows, warn, holes=holes)
            _extract(table, model, request, places, workspace, runtime)
            found = table.read(request.rows, warn, holes=holes)
    if found is None:
        raise FeatureError(f"features of '{model.name}' were damaged while written: check the disk")
    return found


def _extract(
    table: Table,
    model: Model,
    request: FeatureRequest,
    places: npt.NDArray[np.int64],
    workspace: Workspace,
    runtime: Runtime,
) -> None:
    """Compute the features of the images at these places and put them into the table."""
    from headstart.devices import resolve_device

    workspace.watcher.stage("loading the network")
    device = resolve_device(workspace.device)
    network = models.load(
        model, workspace.cache, trust=workspace.trust, note=workspace.watcher.note
    )
    for line in models.remarks(model):
        workspace.watcher.note(line)
    extractor = make_runtime(
        runtime, network, model, request.precision, device, workspace.watcher.note
    )
    decoder = Decoder(request.images, model, request.resize, request.skip_broken)

    def blocks() -> Iterator[Block]:
        workspace.watcher.stage("features", total=len(request.rows), unit="images")
        workspace.watcher.advance(len(request.rows) - len(places))
        size = extractor.batch_size
        batches = [places[i : i + size].tolist() for i in range(0, len(places), size)]
        for some, batch in zip(batches, ahead(decoder, batches), strict=True):
            values = extractor(batch.pixels)
            values[list(batch.broken)] = np.nan
            _check_finite(model, request.images, some, values, batch.broken, request.precision)
            yield values, batch.broken
            workspace.watcher.advance(len(some))

    table.extend(request.rows[places], blocks(), _made_by(device, extractor))


def _check_finite(
    model: Model,
    images: Decodable,
    places: list[int],
    values: npt.NDArray[np.float32],
    broken: dict[int, str],
    precision: str,
) -> None:
    bad = np.asarray(~np.isfinite(values).all(axis=1))
    bad[list(broken)] = False
    if bad.any():
        row = places[int(np.argmax(bad))]
        # Its weights are finite: that was checked when they were read.
        remedy = (
            "its values overflow for this image: check its mean and std (?mean=, ?std=)"
            if precision == "fp32"
            else "use --precision fp32"
        )
        raise FeatureError(
            f"features of '{model.name}' hold NaN or infinity for image {images.where(row)}: "
            f"{remedy}",
            code="features.not_finite",
            model=model.name,
            image=images.where(row),
        )


def _made_by(device: "torch.device", runtime: FeatureRuntime) -> dict[str, str]:
    """Say what computes features on this device; the runtime is the one really used."""
    import torch

    if device.type == "cuda":
        name = torch.cuda.get_device_name()
    else:
        name = f"cpu, {torch.get_num_threads()} threads"
    used = {"runtime": runtime.name, runtime.name: runtime.version}
    return {
        "device": name,
        **used,
        **{package: version(package) for package in ("torch", "pillow")},
    }
