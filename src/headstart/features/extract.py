"""Images in, features out: from the cache if present, else computed and cached."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstart import models
from headstart.context import RunContext
from headstart.datasets import Decodable, JoinedImages, Splits
from headstart.datasets.images import map_ahead
from headstart.errors import FeatureError
from headstart.features.feature_table import Block, Features, FeatureTable
from headstart.features.preprocess import Decoder
from headstart.features.runtime import FeatureRuntime, Runtime, choose_runtime
from headstart.spec import Dataset, Model
from headstart.spec.setting import FEATURES_IMPLEMENTATION, Precision, Resize

if TYPE_CHECKING:
    import torch

    from headstart.models.network import Network

__all__ = [
    "FeatureRequest",
    "bytes_needed",
    "features_content",
    "make_runtime",
    "penultimate_features",
]


@dataclass(frozen=True)
class FeatureRequest:
    """Which images of a dataset to compute features of, and how to preprocess them.

    Parameters
    ----------
    images
        n images.
    rows
        (n,) int64 row of each image in the table. A table has the images of train, validation and
        test, in this order.
    revision, total
        Digest of the dataset, and its number of images.
    resize
        How images are resized to the network's input: ``"whole"`` squeezes the whole image,
        ``"center-crop"`` resizes the shorter side and crops the centre.
    precision
        Precision of the network's arithmetic.
    skip_broken
        Whether broken images get NaN as features; otherwise they raise BrokenImageError.
    """

    images: Decodable
    rows: npt.NDArray[np.int64]
    revision: str
    total: int
    resize: Resize = "whole"
    precision: Precision = "fp32"
    skip_broken: bool = False

    def __post_init__(self) -> None:
        # Two images in one row would silently share features.
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
    """Return all that determines the features of a dataset, as JSON; its digest is their key.

    It does not depend on a trial's subset: trials of other sizes or seeds share features.
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
    """Return the size on disk, in bytes, of the features of this many images."""
    return n_images * model.feature_dim * 4


def penultimate_features(model: Model, request: FeatureRequest, context: RunContext) -> Features:
    """Return penultimate features of unaugmented images; compute those that are not cached.

    Parameters
    ----------
    model
        The network.
    request
        n images. With `skip_broken`, broken ones have NaN as features and are listed in the result.

    Returns
    -------
    Features
        (n, ``model.feature_dim``) float32.

    Raises
    ------
    BrokenImageError, FeatureError, DeviceError, WeightsMissingError, WeightsError, StorageError
    """
    from headstart.devices import resolve_device

    runtime = choose_runtime(resolve_device(context.device).type, request.precision)
    content = features_content(model, request.revision, request.resize, request.precision, runtime)
    table = FeatureTable(context.cache / "features", content, (request.total, model.feature_dim))
    warn, skip_broken = context.reporter.note, request.skip_broken
    with table.locked(lambda: context.reporter.stage("waiting for another process's features")):
        found = table.read(request.rows, warn, skip_broken=skip_broken)
        if found is None:
            places = table.missing(request.rows, warn, skip_broken=skip_broken)
            _extract(table, model, request, places, context, runtime)
            found = table.read(request.rows, warn, skip_broken=skip_broken)
    if found is None:
        raise FeatureError(
            f"features of '{model.name}' were damaged while written: check the disk",
            code="features.damaged",
            model=model.name,
        )
    return found


def make_runtime(
    runtime: Runtime,
    network: "Network",
    model: Model,
    precision: Precision,
    device: "torch.device",
    note: Callable[[str], None],
) -> FeatureRuntime:
    """Prepare a network for a runtime; fall back to torch, with a note, if OpenVINO fails.

    The network is modified and must not be used elsewhere.
    """
    from headstart.features.inference import ConversionError, Extractor, converted

    extractor = Extractor(network, model, precision, device)
    if runtime == "torch":
        return extractor

    try:
        return converted(extractor, model)
    except ConversionError as error:
        note(f"features of '{model.name}' come from torch, since OpenVINO {error}")
        return extractor


def _extract(
    table: FeatureTable,
    model: Model,
    request: FeatureRequest,
    places: npt.NDArray[np.int64],
    context: RunContext,
    runtime: Runtime,
) -> None:
    """Compute the features of the images at these positions and add them to the table."""
    from headstart.devices import resolve_device

    context.reporter.stage("loading the network")
    device = resolve_device(context.device)
    network = models.load(model, context.cache, trust=context.trust, note=context.reporter.note)
    for line in models.remarks(model):
        context.reporter.note(line)
    extractor = make_runtime(
        runtime, network, model, request.precision, device, context.reporter.note
    )
    decoder = Decoder(request.images, model, request.resize, request.skip_broken)

    def blocks() -> Iterator[Block]:
        context.reporter.stage("features", total=len(request.rows), unit="images")
        context.reporter.advance(len(request.rows) - len(places))
        size = extractor.batch_size
        batches = [places[i : i + size].tolist() for i in range(0, len(places), size)]
        for some, batch in zip(batches, map_ahead(decoder, batches), strict=True):
            values = extractor(batch.pixels)
            values[list(batch.broken)] = np.nan
            _check_finite(model, request.images, some, values, batch.broken, request.precision)
            yield values, batch.broken
            context.reporter.advance(len(some))

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
        # The weights are finite (checked on loading), so it is an overflow.
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
    """Return device and software versions, with the runtime that is actually used."""
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
