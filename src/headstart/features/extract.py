"""Images in, features out: from the cache if present, else computed and cached."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstart import models
from headstart.context import Clock, RunContext
from headstart.datasets import Decodable, JoinedImages, Splits
from headstart.datasets.images import map_ahead
from headstart.devices import memory_of, resolve_device
from headstart.errors import FeatureError
from headstart.features.feature_table import Features, FeatureTable, pull, push
from headstart.features.preprocess import NetworkInput, Pixels, decode_for
from headstart.features.runtime import FeatureRuntime, Runtime, choose_runtime
from headstart.spec import Dataset, Model, digest
from headstart.spec.setting import FEATURES_IMPLEMENTATION, Precision, Resize
from headstart.threads import available_cpus

if TYPE_CHECKING:
    import torch

    from headstart.models.network import Network

__all__ = [
    "FeatureRequest",
    "bytes_needed",
    "extract_together",
    "features_content",
    "make_runtime",
    "penultimate_features",
    "runtime_key",
    "table_of",
]

WAITING = "waiting for another process's features"
# Share of the memory that the weights of networks may take that are loaded together; and bytes of
# it on a CPU, where several workers may load as much.
NETWORKS_SHARE, NETWORKS_BYTES = 0.25, 2 << 30
# Images per item of the decoding threads; how many batches of the largest size are decoded ahead,
# and at most how many bytes.
CHUNK, BATCHES_AHEAD, AHEAD_BYTES = 16, 4, 1 << 29


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


def penultimate_features(
    model: Model,
    request: FeatureRequest,
    context: RunContext,
    runtimes: "dict[str, FeatureRuntime] | None" = None,
    clock: Clock | None = None,
) -> Features:
    """Return penultimate features of unaugmented images; compute those that are not cached.

    Parameters
    ----------
    model
        The network.
    request
        n images. With `skip_broken`, broken ones have NaN as features and are listed in the result.
    runtimes
        Networks that are loaded, by `runtime_key`; one that has to be loaded is added.
    clock
        Times the loading of the network, as ``load``.

    Returns
    -------
    Features
        (n, ``model.feature_dim``) float32.

    Raises
    ------
    BrokenImageError, FeatureError, DeviceError, WeightsMissingError, WeightsError, StorageError
    """
    table = _requested_table(model, request, context)
    with table.locked(lambda: context.reporter.stage(WAITING)):
        found = table.read(request.rows)
        if found is None:
            wanted = Extraction(model, request, table)
            _extract([wanted], context, runtimes, clock or Clock())
            if wanted.error:
                raise wanted.error
            found = table.read(request.rows)
    if found is None:
        raise FeatureError(
            f"features of '{model.name}' were damaged while written: check the disk",
            code="features.damaged",
            model=model.name,
        )
    return found


def extract_together(
    requests: Sequence[tuple[Model, FeatureRequest]], context: RunContext
) -> list[Exception | None]:
    """Compute features of the same images by several networks; decode each image once.

    The features are, to the bit, those of `penultimate_features` for one network after another:
    each network resizes the decoded image itself and gets the same batches. What is cached already
    is not computed again.

    Networks are loaded until their weights take a quarter of the memory (a GPU's free memory; on a
    CPU, of which several processes may do the same, no more than 2 GB). What remains is another
    pass over the images.

    Parameters
    ----------
    requests
        A network and what is requested of it. The images and their rows are the same in all:
        requests differ in `resize` and `precision`.

    Returns
    -------
    list
        The error of each network, None if it has all its features. An error of one network does
        not stop the others.

    Raises
    ------
    BrokenImageError, StorageError
        An image stops all networks.
    """
    tables = [_requested_table(model, request, context) for model, request in requests]
    by_key = {
        table.key: Extraction(model, request, table)
        for (model, request), table in zip(requests, tables, strict=True)
    }
    with ExitStack() as locks:
        # In the order of their keys, so that two processes never wait for each other.
        for key in sorted(by_key):
            locks.enter_context(by_key[key].table.locked(lambda: context.reporter.stage(WAITING)))
        _extract(list(by_key.values()), context, None, Clock())
    return [by_key[table.key].error for table in tables]


def table_of(
    model: Model,
    revision: str,
    n_images: int,
    resize: Resize,
    precision: Precision,
    context: RunContext,
    *,
    skip_broken: bool = False,
) -> FeatureTable:
    """Return the table of a network's features of a dataset, as the device computes them.

    `revision` is the digest of the dataset. A GPU that is asked for need not be here: features may
    be computed elsewhere.
    """
    device = "cuda" if context.device == "cuda" else resolve_device(context.device).type
    runtime = choose_runtime(device, precision)
    content = features_content(model, revision, resize, precision, runtime)
    shape, note = (n_images, model.feature_dim), context.reporter.note
    folder = context.cache / "features"
    return FeatureTable(folder, content, shape, skip_broken=skip_broken, note=note)


def runtime_key(model: Model, precision: Precision) -> str:
    """Return what tells the loaded networks of one device apart."""
    return digest([model.identity, precision])


def _requested_table(model: Model, request: FeatureRequest, context: RunContext) -> FeatureTable:
    return table_of(
        model,
        request.revision,
        request.total,
        request.resize,
        request.precision,
        context,
        skip_broken=request.skip_broken,
    )


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


class Extraction:
    """Features that one network has yet to compute: its images arrive one by one.

    Parameters
    ----------
    model, request
        The network, and what is requested.
    table
        The table that is extended; locked.
    """

    def __init__(self, model: Model, request: FeatureRequest, table: FeatureTable) -> None:
        self.model, self.request, self.table = model, request, table
        self.form = NetworkInput.of(model, request.resize)
        self.error: Exception | None = None
        # Closed with an error, it keeps of the table what was synced; else all.
        self.opened = ExitStack()
        self._pending: list[tuple[int, Pixels | str]] = []

    def look(self) -> bool:
        """Return whether images are missing in the table."""
        rows = self.request.rows
        places = self.table.missing(rows)
        self._missing = rows[places]
        self.lacks = np.zeros(len(rows), bool)
        self.lacks[places] = True
        return len(places) > 0

    def open(self, context: RunContext, runtimes: "dict[str, FeatureRuntime]") -> int:
        """Load the network, and open the table; return the size of the weights in bytes.

        A network in `runtimes`, as one that computes features of images in two forms, has none.
        """
        model, precision, note = self.model, self.request.precision, context.reporter.note
        device = resolve_device(context.device)
        key, n_bytes = runtime_key(model, precision), 0
        if key not in runtimes:
            network = models.load(model, context.cache, trust=context.trust, note=note)
            for line in models.remarks(model):
                note(line)
            n_bytes = sum(weights.nbytes for weights in network.state_dict().values())
            runtime = choose_runtime(device.type, precision)
            runtimes[key] = make_runtime(runtime, network, model, precision, device, note)
        self.runtime = runtimes[key]
        extending = self.table.extending(self._missing, _made_by(device, self.runtime))
        self._append = self.opened.enter_context(extending)
        return n_bytes

    def add(self, place: int, image: dict[NetworkInput, Pixels] | str) -> None:
        """Take the next missing image, or why it is broken; compute when a batch is full."""
        self._pending.append((place, image if isinstance(image, str) else image[self.form]))
        if len(self._pending) == self.runtime.batch_size:
            with self.guarded():
                self._compute()

    def close(self) -> None:
        """Compute the last batch, and keep all."""
        with self.guarded():
            if self._pending:
                self._compute()
            self.opened.close()

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """After an error of this network, leave it out from here on."""
        try:
            yield
        except Exception as error:
            self.error, self._pending = error, []
            # The table raises the error again.
            with suppress(Exception):
                self.opened.__exit__(type(error), error, error.__traceback__)

    def _compute(self) -> None:
        places, found = zip(*self._pending, strict=True)
        self._pending = []
        broken = {i: one for i, one in enumerate(found) if isinstance(one, str)}
        pixels = self.form.stack([None if isinstance(one, str) else one for one in found])
        values = self.runtime(pixels)
        values[list(broken)] = np.nan
        _check_finite(self.model, self.request, places, values, broken)
        self._append((values, broken))


def _extract(
    wanted: list[Extraction],
    context: RunContext,
    kept: "dict[str, FeatureRuntime] | None",
    clock: Clock,
) -> None:
    """Compute what is missing in tables, in as many passes over the images as memory needs.

    Networks are released after each pass, those in `kept` stay.
    """
    device = resolve_device(context.device)
    remote = context.remote.within("features") if context.remote else None
    if remote:
        for one in wanted:
            pull(one.table, remote, one.request.rows)
    computed = [one for one in wanted if one.look()]
    left = list(computed)
    while left:
        # Before the next ones are loaded, those of the last pass are released here.
        runtimes: dict[str, FeatureRuntime] = {} if kept is None else kept
        context.reporter.stage("loading the network" + ("s" if len(left) > 1 else ""))
        room, loaded = NETWORKS_SHARE * memory_of(device), list[Extraction]()
        if device.type == "cpu":
            room = min(room, NETWORKS_BYTES)
        with ExitStack() as tables:
            while left and room > 0:
                one = left.pop(0)
                tables.enter_context(one.opened)
                with one.guarded(), clock("load"):
                    room -= one.open(context, runtimes)
                    loaded.append(one)
            if loaded:
                _decode_once(loaded, context)
        # Room for the networks of the next pass.
        for one in loaded:
            del one.runtime
    if remote:
        for one in computed:
            push(one.table, remote)


def _decode_once(networks: list[Extraction], context: RunContext) -> None:
    """Decode each image once, ahead of the networks, and hand it to those that lack it."""
    request, reporter = networks[0].request, context.reporter
    # In the order of the table, as each network's own images are.
    order = np.argsort(request.rows)
    order = order[np.logical_or.reduce([one.lacks for one in networks])[order]]
    chunks = [order[i : i + CHUNK].tolist() for i in range(0, len(order), CHUNK)]

    def takers(place: int) -> list[Extraction]:
        return [one for one in networks if one.lacks[place] and not one.error]

    def decode(places: list[int]) -> list[dict[NetworkInput, Pixels] | str]:
        images, skip = request.images, request.skip_broken
        return [decode_for({one.form for one in takers(row)}, images, row, skip) for row in places]

    n_networks = len({id(one.runtime) for one in networks})
    several = f" of {n_networks} networks" if n_networks > 1 else ""
    reporter.stage(f"features{several}", total=len(request.rows), unit="images")
    reporter.advance(len(request.rows) - len(order))
    ahead = BATCHES_AHEAD * max(one.runtime.batch_size for one in networks)
    chunk_bytes = CHUNK * sum(3 * form.size**2 for form in {one.form for one in networks})
    depth = min(max(-(-ahead // CHUNK), 2 * available_cpus()), AHEAD_BYTES // chunk_bytes)
    for places, found in zip(chunks, map_ahead(decode, chunks, max(1, depth)), strict=True):
        for place, image in zip(places, found, strict=True):
            for one in takers(place):
                one.add(place, image)
        if all(one.error for one in networks):
            return
        reporter.advance(len(places))
    for one in networks:
        if not one.error:
            one.close()


def _check_finite(
    model: Model,
    request: FeatureRequest,
    places: Sequence[int],
    values: npt.NDArray[np.float32],
    broken: dict[int, str],
) -> None:
    bad = np.asarray(~np.isfinite(values).all(axis=1))
    bad[list(broken)] = False
    if bad.any():
        where = request.images.where(places[int(np.argmax(bad))])
        # The weights are finite (checked on loading), so it is an overflow.
        remedy = (
            "its values overflow for this image: check its mean and std (?mean=, ?std=)"
            if request.precision == "fp32"
            else "use --precision fp32"
        )
        raise FeatureError(
            f"features of '{model.name}' hold NaN or infinity for image {where}: {remedy}",
            code="features.not_finite",
            model=model.name,
            image=where,
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
