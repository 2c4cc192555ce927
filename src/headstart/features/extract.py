"""Images in, features out: from the cache where they are there, else computed and kept."""

from collections.abc import Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from headstart import models
from headstart.datasets import Decodable
from headstart.errors import FeatureError
from headstart.features.cache import Cache, Features, Rows
from headstart.features.runtime import FeatureRuntime, Runtime, choose_runtime, make_runtime
from headstart.features.stream import Decoder, ahead
from headstart.spec import LinearSetting, Model
from headstart.spec.setting import FEATURES_IMPLEMENTATION
from headstart.workspace import Workspace

if TYPE_CHECKING:
    import torch

__all__ = ["bytes_needed", "penultimate_features"]


def bytes_needed(model: Model, n_images: int) -> int:
    """Size on disk of the features of so many images."""
    return n_images * model.feature_dim * 4


def penultimate_features(
    model: Model,
    images: Decodable,
    revision: str,
    setting: LinearSetting,
    *,
    skip_broken: bool,
    workspace: Workspace,
) -> Features:
    """Give the penultimate features of unaugmented images, memory-mapped.

    Parameters
    ----------
    model, setting
        The network; how an image is fitted to it, and the precision.
    images, revision
        n images, and the digest of exactly these.
    skip_broken
        Leave NaN for an image that does not decode, and say so in the result; else raise.

    Returns
    -------
    Features
        (n, ``model.feature_dim``) float32.

    Raises
    ------
    BrokenImageError, FeatureError, DeviceError, WeightsMissingError, WeightsError, StorageError
    """
    from headstart.devices import resolve_device

    runtime = choose_runtime(resolve_device(workspace.device).type, setting.precision)
    content = {
        "model": model.identity,
        "resize": setting.resize,
        "precision": setting.precision,
        "runtime": runtime,
        "images": revision,
        "implementation": FEATURES_IMPLEMENTATION,
    }
    cache = Cache(workspace.cache / "features", content, (len(images), model.feature_dim))
    warn = workspace.watcher.note
    with cache.locked(lambda: workspace.watcher.stage("waiting for another process's features")):
        found = cache.read(warn)
        # Kept with holes by a run that skipped broken images, they do not serve one that does not.
        if found is None or (found.broken and not skip_broken):
            _extract(cache, model, images, setting, skip_broken, workspace, runtime)
            found = cache.read(warn)
    if found is None:
        raise FeatureError(f"features of '{model.name}' were damaged while written: check the disk")
    return found


def _extract(
    cache: Cache,
    model: Model,
    images: Decodable,
    setting: LinearSetting,
    skip_broken: bool,
    workspace: Workspace,
    runtime: Runtime,
) -> None:
    from headstart.devices import resolve_device

    workspace.watcher.stage("loading the network")
    device = resolve_device(workspace.device)
    network = models.load(model, workspace.cache, trust=workspace.trust)
    extractor = make_runtime(
        runtime, network, model, setting.precision, device, workspace.watcher.note
    )
    decoder = Decoder(images, model, setting.resize, skip_broken)

    def blocks(first: int) -> Iterator[Rows]:
        workspace.watcher.stage("features", total=len(images), unit="images")
        workspace.watcher.advance(first)
        size = extractor.batch_size
        batches = [range(i, min(i + size, len(images))) for i in range(first, len(images), size)]
        for rows, batch in zip(batches, ahead(decoder, batches), strict=True):
            values = extractor(batch.pixels)
            values[list(batch.broken)] = np.nan
            _check_finite(model, images, rows, values, batch.broken)
            yield values, batch.broken
            workspace.watcher.advance(len(rows))

    cache.write(blocks, made_by=_made_by(device, extractor), holes=skip_broken)


def _check_finite(
    model: Model, images: Decodable, rows: range, values: np.ndarray, broken: dict[int, str]
) -> None:
    bad = ~np.isfinite(values).all(axis=1)
    bad[list(broken)] = False
    if bad.any():
        row = rows[int(np.argmax(bad))]
        raise FeatureError(
            f"features of '{model.name}' hold NaN or infinity for image {images.where(row)}: "
            "no classifier can be fitted; try --precision fp32, or check the weights"
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
