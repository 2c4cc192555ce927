"""What each trial computes, how fast networks are on this device, and the seconds that follow.

Expected are the seconds of trials like it that are stored, else its images at the rates that
`headstart plan` measured and kept. They decide which trial begins first and how long a job may
take: no number depends on them.
"""

import json
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from headstart import methods, models
from headstart.context import ProgressReporter, RunContext
from headstart.devices import Device
from headstart.errors import HeadstartError, TrainingError
from headstart.executors import ExpectedWork
from headstart.features import bytes_needed
from headstart.files import replaced, writable_folder
from headstart.methods import ResourceEstimate
from headstart.spec import Model, TrainingConfig, Trial, Weights
from headstart.spec.noun import digest
from headstart.store import ResultStore

if TYPE_CHECKING:
    import torch

    from headstart.models.network import Network
    from headstart.training.pixels import Batch

__all__ = [
    "TableShare",
    "Throughput",
    "Workload",
    "complete_throughput",
    "device_name",
    "expected_costs",
    "expected_work",
    "keep_throughput",
    "kept_throughput",
    "matrix_rate",
    "mean_seconds",
    "measure_throughput",
    "throughput_key",
    "workloads_of",
]

# Multiply-adds of a training step against those of a forward pass: backward takes two more.
TRAINING_PASSES = 3
PRODUCT_SIDE = 1024
PRODUCT_SECONDS = 0.15
# Of the measurement of one network, and of all: what is not measured then is estimated.
SECONDS, ALL_SECONDS = 2.0, 30.0
# Fewer than two images have no batch statistics. A batch grows while there is time.
SMALLEST, GROWTH = 2, 4
CLASSES = 10
SEED = 0
# Of the cache.
FOLDER = "throughput"


@dataclass(frozen=True)
class Throughput:
    """Images per second of one network on this device.

    Parameters
    ----------
    training
        In training steps, forward and backward; None if it was not measured.
    forward
        In forward passes.
    estimated
        Whether both follow from the network's multiply-adds and the throughput of others.
    """

    training: float | None
    forward: float | None
    estimated: bool = False


@dataclass(frozen=True)
class Workload:
    """What a trial, or the trials of one model and one setting, compute.

    Parameters
    ----------
    model, setting
        The model, and the setting's name and protocol.
    trials
        Number of trials that are not stored.
    steps, trained
        Updates of the search and of the final trainings, and images in them.
    evaluated
        Images of forward passes: for features, on validation and test.
    """

    model: Model
    setting: str
    trials: int = 0
    steps: int = 0
    trained: int = 0
    evaluated: int = 0

    def __add__(self, other: "Workload") -> "Workload":
        return replace(
            self,
            trials=self.trials + other.trials,
            steps=self.steps + other.steps,
            trained=self.trained + other.trained,
            evaluated=self.evaluated + other.evaluated,
        )

    def hours(self, throughput: Throughput | None) -> float | None:
        """Return the hours at a throughput; None where it is unknown."""
        parts = [
            (self.trained, throughput and throughput.training),
            (self.evaluated, throughput and throughput.forward),
        ]
        if any(images and not per_second for images, per_second in parts):
            return None
        return sum(images / per_second for images, per_second in parts if per_second) / 3600


class TableShare:
    """Images of one cached table of features; each is computed once for all trials.

    With one seed, a small number of images per class is a subset of a larger one; another seed
    draws other images.
    """

    def __init__(self, trial: Trial) -> None:
        self.model = trial.model
        self.whole: int = sum(n for _, n in trial.dataset.sizes)
        self.train: dict[int | None, int] = {}
        self.rest: dict[int | None, int] = {}

    def add(self, trial: Trial) -> None:
        """Add the images of a trial."""
        dataset, used = trial.dataset, trial.dataset.used_sizes
        drawn = trial.seed if dataset.is_drawn else None
        self.train[drawn] = max(self.train.get(drawn, 0), used.train)
        # Validation and test are whole where only images per class are limited.
        self.rest[drawn if dataset.limit else None] = used.validation + used.test

    @property
    def n_images(self) -> int:
        """Largest number of images in the table."""
        return min(sum(self.train.values()) + sum(self.rest.values()), self.whole)

    @property
    def n_bytes(self) -> int:
        """Size of their features."""
        return bytes_needed(self.model, self.n_images)


def workloads_of(
    trials: Iterable[Trial], store: ResultStore
) -> tuple[dict[str, Workload], list[TableShare], list[ResourceEstimate]]:
    """Return what each trial computes, by its key; their tables of features; what each needs.

    Features that several trials share count for the first of them. Candidates that are stored are
    not counted.
    """
    by_key = {trial.key: trial for trial in trials}
    partly = store.partly_measured(by_key)
    found: dict[str, Workload] = {}
    tables: dict[str, TableShare] = {}
    resources = []
    for key, trial in by_key.items():
        need = methods.needs(trial, store.measurements(key) if key in partly else ())
        evaluated = need.evaluated
        if need.features:
            table = tables.setdefault(need.table, TableShare(trial))
            evaluated -= table.n_images
            table.add(trial)
            evaluated += table.n_images
        found[key] = Workload(
            trial.model,
            f"{trial.setting.name} {trial.setting.protocol}",
            trials=1,
            steps=need.steps if need.batch_size else 0,
            trained=need.steps * (need.batch_size or 0),
            evaluated=evaluated,
        )
        resources.append(need)
    return found, list(tables.values()), resources


def mean_seconds(done: Iterable[tuple[Trial, float]]) -> Callable[..., float | None]:
    """Return a function: the mean of the seconds that trials like one took, None if there are none.

    Of the same model and setting; with ``any_model=True``, of the same setting.
    """
    taken: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for trial, seconds in done:
        model, setting = trial.model.name, trial.setting.name
        for like in ((model, setting), (setting,)):
            taken[like].append(seconds)
    means = {like: fmean(some) for like, some in taken.items()}

    def mean(trial: Trial, *, any_model: bool = False) -> float | None:
        setting = trial.setting.name
        return means.get((setting,) if any_model else (trial.model.name, setting))

    return mean


def expected_costs(
    pending: Sequence[Trial], stored: Sequence[Trial], store: ResultStore, context: RunContext
) -> tuple[dict[str, float], bool]:
    """Return what each pending trial is expected to cost, by key, and whether in seconds.

    Where the seconds of a trial are not known, all are in multiply-adds, which order them, too.
    `stored` are trials of the study that have a result.
    """
    workloads = workloads_of(pending, store)[0]
    times = store.times({trial.key for trial in stored})
    mean = mean_seconds((t, times[t.key][1]) for t in stored if t.key in times)
    rates = kept_throughput(context.cache, context.device)
    seconds: dict[str, float] = {}
    for trial in pending:
        rate = rates.get(throughput_key(trial.model, trial.setting.precision))
        hours = workloads[trial.key].hours(rate)
        by_rate = None if hours is None else 3600 * hours
        known = (mean(trial), by_rate, mean(trial, any_model=True))
        if (first := next((one for one in known if one is not None), None)) is not None:
            seconds[trial.key] = first
    if len(seconds) == len(pending):
        return seconds, True
    costs = [one.multiply_adds for trial in pending if (one := trial.model).multiply_adds]
    usual = median(costs) if costs else 1
    return {
        key: (TRAINING_PASSES * one.trained + one.evaluated) * (one.model.multiply_adds or usual)
        for key, one in workloads.items()
    }, False


def expected_work(
    trials: Sequence[Trial], store: ResultStore, context: RunContext
) -> ExpectedWork | None:
    """Return how long the trials that have no result are expected to take; None if unknown."""
    keys = store.keys({trial.key for trial in trials})
    pending = [trial for trial in trials if trial.key not in keys]
    stored = [trial for trial in trials if trial.key in keys]
    costs, in_seconds = expected_costs(pending, stored, store, context)
    if not (in_seconds and costs):
        return None
    return ExpectedWork(sum(costs.values()) / 60, max(costs.values()) / 60)


def complete_throughput(
    rates: Mapping[str, Throughput], wanted: Iterable[Model]
) -> dict[str, Throughput]:
    """Add estimates for models that were not measured, from those that were.

    The time of a network is proportional to its multiply-adds, at the median of the other networks'
    multiply-adds per second. A network of unknown multiply-adds has no throughput.

    Parameters
    ----------
    rates
        By the model's name; those of models that are not in `wanted` are not used.
    wanted
        All models.
    """
    every = list(wanted)
    measured = {m.name: rates[m.name] for m in every if m.name in rates}
    known = [(m.multiply_adds, measured[m.name]) for m in every if m.name in measured]
    training = [rate.training * cost for cost, rate in known if cost and rate.training]
    forward = [rate.forward * cost for cost, rate in known if cost and rate.forward]
    complete = dict(measured)
    for model in every:
        cost = model.multiply_adds
        if model.name not in measured and cost:
            slow, fast = (median(each) / cost if each else None for each in (training, forward))
            complete[model.name] = Throughput(slow, fast, estimated=True)
    return complete


def measure_throughput(
    wanted: Sequence[Model],
    device: Device,
    *,
    batch_size: int | None,
    precision: Literal["fp32", "bf16"] = "fp32",
    seconds: float = SECONDS,
    all_seconds: float = ALL_SECONDS,
    reporter: ProgressReporter | None = None,
) -> dict[str, Throughput]:
    """Time real steps of each network on random pixels at its input size, with random weights.

    Parameters
    ----------
    wanted
        Models, measured in this order until `all_seconds` are spent.
    batch_size
        Images per training step; None measures no training. It is lowered if the images take longer
        than `seconds`, or do not fit the memory.
    precision
        Precision of the arithmetic.

    Returns
    -------
    dict
        By the model's name; without models that cannot be built or do not fit the memory, of which
        the reporter is informed.
    """
    from headstart.devices import require_fast, resolve_device

    reporter = reporter or ProgressReporter()
    found, place = {}, resolve_device(device)
    require_fast(precision, place)
    began = time.monotonic()
    reporter.stage("measuring rates", total=len(wanted), unit="models")
    for model in wanted:
        if time.monotonic() - began < all_seconds:
            try:
                found[model.name] = _rate(model, place, batch_size, precision, seconds)
            except HeadstartError as error:
                reporter.note(f"{model.name}: not measured: {error}")
        reporter.advance()
    return found


def throughput_key(model: Model, precision: str) -> str:
    """Return the key of a network's throughput: weights do not change it."""
    return digest([model.untrained_identity, precision])


def keep_throughput(
    rates: Mapping[str, Throughput],
    wanted: Iterable[Model],
    precision: str,
    device: tuple[str, bool],
    cache: Path,
) -> None:
    """Keep measured throughput in the cache, beside what was kept of this device before.

    Parameters
    ----------
    rates
        By the model's name, as `measure_throughput` returns them.
    device
        Its name and whether it is a GPU, as `device_name` returns them.
    """
    name, is_gpu = device
    file = cache / FOLDER / f"{'gpu' if is_gpu else 'cpu'}-{digest(name)[:12]}.json"
    networks = _networks(file)
    for model in wanted:
        if rate := rates.get(model.name):
            before = networks.get(key := throughput_key(model, precision), rate)
            # Of a study without training, that of another one.
            networks[key] = Throughput(rate.training or before.training, rate.forward)
    record = {"device": name, "networks": {key: asdict(one) for key, one in networks.items()}}
    writable_folder(file.parent)
    with replaced(file) as temporary:
        temporary.write_text(json.dumps(record, indent=1))


def kept_throughput(cache: Path, device: Device) -> dict[str, Throughput]:
    """Return the throughput that was kept last, of GPUs or of processors as `device` says.

    On ``"auto"``, of a GPU if one was measured. By `throughput_key`; what cannot be read is left
    out.
    """
    kinds = {"cpu": ("cpu",), "cuda": ("gpu",)}.get(device, ("gpu", "cpu"))
    for kind in kinds:
        found: dict[str, Throughput] = {}
        with suppress(OSError):
            files = (cache / FOLDER).glob(f"{kind}-*.json")
            for file in sorted(files, key=lambda file: file.stat().st_mtime):
                found |= _networks(file)
        if found:
            return found
    return {}


def _networks(file: Path) -> dict[str, Throughput]:
    try:
        networks = json.loads(file.read_text())["networks"]
        return {
            key: Throughput(_rate_of(one["training"]), _rate_of(one["forward"]))
            for key, one in networks.items()
        }
    # Missing, or damaged: it is measured again at will.
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _rate_of(found: float | None) -> float | None:
    if found is None or 0 < float(found) < math.inf:
        return found
    raise ValueError(found)


def device_name(device: Device) -> tuple[str, bool]:
    """Name what is measured, a GPU or this processor with its threads; say whether it is a GPU."""
    import torch

    from headstart.devices import resolve_device

    if resolve_device(device).type == "cuda":
        return str(torch.cuda.get_device_name()), True
    threads = torch.get_num_threads()
    return f"this processor, {threads} thread{'s' if threads > 1 else ''}", False


def _rate(
    model: Model,
    device: "torch.device",
    batch_size: int | None,
    precision: Literal["fp32", "bf16"],
    seconds: float,
) -> Throughput:
    """Measure one network; training comes first, since features change the network."""
    random = model.model_copy(update={"weights": Weights(locator=f"random:{SEED}")})
    network = models.load(random).with_head(CLASSES, SEED)
    trained = None
    if batch_size is not None:
        trained = _trained(network, model, device, batch_size, precision, seconds)
    return Throughput(trained, _seen(network, model, device, precision, seconds))


def _trained(
    network: "Network",
    model: Model,
    device: "torch.device",
    batch_size: int,
    precision: Literal["fp32", "bf16"],
    seconds: float,
) -> float | None:
    """Images per second of training steps, in the largest batch that there is time and room for.

    None where even the first steps give no finite loss.
    """
    from headstart.methods.training_images import input_of
    from headstart.training import train as run

    input_spec = input_of(model)
    size, began, rate = min(SMALLEST, batch_size), time.monotonic(), None
    while True:
        # The first step finds memory and algorithms, and is not counted.
        config = TrainingConfig(steps=3, learning_rate=1e-6, batch_size=size, precision=precision)
        pixels = RandomPixels(size, model.input_size, device)
        labels = np.arange(size, dtype=np.int64) % CLASSES
        try:
            done = run(network, pixels, labels, input_spec, config, device=device)
        except TrainingError:
            if rate is None:
                raise
            return rate
        if done.images_per_second is None:
            return rate
        rate, size = done.images_per_second, min(GROWTH * size, batch_size)
        late = time.monotonic() - began + config.steps * size / rate > seconds
        if late or size == config.batch_size:
            return rate


def _seen(
    network: "Network",
    model: Model,
    device: "torch.device",
    precision: Literal["fp32", "bf16"],
    seconds: float,
) -> float:
    """Images per second of forward passes by torch, as features are computed."""
    from headstart.features.inference import Extractor

    extractor = Extractor(network.cpu().eval(), model, precision, device)
    size, rate, began = SMALLEST, 0.0, time.monotonic()
    # The first pass finds memory and algorithms, and is not counted.
    extractor(_pixels(size, model.input_size))
    while True:
        pixels, start = _pixels(size, model.input_size), time.monotonic()
        extractor(pixels)
        now = time.monotonic()
        rate, last = size / (now - start), size
        size = min(GROWTH * size, extractor.batch_size)
        if size == last or now - began + size / rate > seconds:
            return rate


class RandomPixels:
    """So many images of random pixels in the memory of a device."""

    def __init__(self, n: int, side: int, device: "torch.device") -> None:
        import torch

        self._pixels = torch.from_numpy(_pixels(n, side)).to(device).permute(0, 3, 1, 2)
        self._sizes = np.full((n, 2), side, np.int64)

    def __len__(self) -> int:
        return len(self._sizes)

    def batch(self, rows: npt.NDArray[np.int64]) -> "Batch":
        """Return the images of these rows."""
        from headstart.training.pixels import Batch

        return Batch(self._pixels[rows], self._sizes[rows])

    def batches(self, plan: Iterable[npt.NDArray[np.int64]]) -> "Iterator[Batch]":
        """Return batch after batch."""
        return map(self.batch, plan)


def _pixels(n: int, side: int) -> npt.NDArray[np.uint8]:
    return np.random.RandomState(SEED).randint(0, 256, (n, side, side, 3), dtype=np.uint8)


def matrix_rate() -> float:
    """Measure the multiply-adds per second of large products of matrices, float32, here and now."""
    A = np.ones((PRODUCT_SIDE, PRODUCT_SIDE), dtype=np.float32)
    A @ A
    start, products = time.perf_counter(), 0
    while (spent := time.perf_counter() - start) < PRODUCT_SECONDS:
        A @ A
        products += 1
    return products * PRODUCT_SIDE**3 / spent
