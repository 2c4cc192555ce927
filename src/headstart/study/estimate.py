"""What a study takes: steps, images, hours, disk; and the speed of this device, measured."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from headstart import datasets, methods, models
from headstart.context import ProgressReporter
from headstart.devices import Device
from headstart.errors import HeadstartError, TrainingError
from headstart.features import bytes_needed
from headstart.spec import Dataset, Model, TrainingConfig, Trial, Weights
from headstart.store import ResultStore
from headstart.study.requirements import (
    dataset_requirement,
    last_measured,
    model_requirement,
    setting_variants,
    unread_dataset,
)
from headstart.study.run import bytes_kept
from headstart.study.study import Study, by_seed, seeded_names

if TYPE_CHECKING:
    import torch

    from headstart.models.network import Network
    from headstart.training.pixels import Batch

__all__ = [
    "StudyEstimate",
    "Throughput",
    "Workload",
    "complete_throughput",
    "device_name",
    "estimate_study",
    "measure_throughput",
]


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
    """What the trials of one model and one setting compute.

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

    def hours(self, throughput: Throughput | None) -> float | None:
        """Return the hours at a throughput; None where it is unknown."""
        parts = [
            (self.trained, throughput and throughput.training),
            (self.evaluated, throughput and throughput.forward),
        ]
        if any(images and not per_second for images, per_second in parts):
            return None
        return sum(images / per_second for images, per_second in parts if per_second) / 3600


@dataclass(frozen=True)
class StudyEstimate:
    """Resources that the trials of a study take which are not stored.

    Parameters
    ----------
    workloads
        By model and setting.
    batch_size
        The largest of the settings that train; None where none does.
    precision
        ``"bf16"`` where all settings compute in it.
    feature_bytes, image_bytes
        Disk for features, and for decoded images.
    problems
        Errors with which the study would be refused.
    """

    workloads: tuple[Workload, ...]
    batch_size: int | None
    precision: Literal["fp32", "bf16"]
    feature_bytes: int
    image_bytes: int
    problems: tuple[str, ...]

    def hours(self, rates: Mapping[str, Throughput], setting: str | None = None) -> float:
        """Return the hours of all workloads of known throughput, or of those of one setting."""
        wanted = [one for one in self.workloads if setting in (None, one.setting)]
        return sum(one.hours(rates.get(one.model.name)) or 0.0 for one in wanted)

    def unknown(self, rates: Mapping[str, Throughput]) -> tuple[str, ...]:
        """Return the models of unknown throughput, whose hours are not counted."""
        missing = [one for one in self.workloads if one.hours(rates.get(one.model.name)) is None]
        return tuple(dict.fromkeys(one.model.name for one in missing))


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


def estimate_study(study: Study, store: ResultStore, cache: Path) -> StudyEstimate:
    """Add up what the trials of a study take that are not stored; build and decode nothing.

    Candidates that are stored are not counted again. Datasets that are not on this machine are
    counted by their published sizes, those of unknown sizes are left out.
    """
    found, problems = _datasets(study, store, cache)
    every = _trials(study, found, cache)
    stored = store.keys({trial.key for trial in every})
    trials = [trial for trial in every if trial.key not in stored]
    partly = store.partly_measured({trial.key for trial in trials})
    workloads: dict[tuple[str, str], Workload] = {}
    needs, batches = [], []
    tables: dict[str, TableShare] = {}
    for trial in trials:
        measured = store.measurements(trial.key) if trial.key in partly else ()
        need = methods.needs(trial, measured)
        place = (trial.model.name, _label(trial))
        workload = workloads.get(place) or Workload(trial.model, _label(trial))
        workload = replace(workload, trials=workload.trials + 1)
        if need.batch_size:
            batches.append(need.batch_size)
            workload = replace(
                workload,
                steps=workload.steps + need.steps,
                trained=workload.trained + need.steps * need.batch_size,
            )
        evaluated = need.evaluated
        if need.features:
            table = tables.setdefault(need.table, TableShare(trial))
            before = table.n_images
            table.add(trial)
            evaluated += table.n_images - before
        else:
            needs.append(need)
        workloads[place] = replace(workload, evaluated=workload.evaluated + evaluated)
    return StudyEstimate(
        workloads=tuple(workloads.values()),
        batch_size=max(batches, default=None),
        precision="bf16" if {t.setting.precision for t in trials} == {"bf16"} else "fp32",
        feature_bytes=sum(table.n_bytes for table in tables.values()),
        image_bytes=bytes_kept(needs),
        problems=tuple(problems),
    )


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


Seeded = tuple[Dataset, tuple[int, ...]]


def _datasets(study: Study, store: ResultStore, cache: Path) -> tuple[list[Seeded], list[str]]:
    """Return the datasets whose sizes are known with the seeds of their trials.

    Of those that are not read here a stand-in. Then what the study would be refused for.
    """
    measured = partial(last_measured, store, study)
    found, problems = list[Seeded](), list[str]()
    every = [
        (title, name, seeds)
        for title in dict.fromkeys(study.datasets)
        for name, seeds in seeded_names(title, dict.fromkeys(study.seeds))
    ]
    for title, name, seeds in every:
        data = dataset_requirement(name, study, cache, measured)
        if not data.sizes:
            continue
        try:
            known = datasets.describe(name)
            sized = data.sized or study.sized(unread_dataset(known, data.sizes, study))
            study.check_budgets(list(sized))
        except HeadstartError as error:
            problems.append(f"{name}: {error}")
            sized = data.sized
        # Those that were not read have no revision: each is another.
        changed = {"revision": f"not read: {name}"}
        sized = tuple(one if one.revision else one.model_copy(update=changed) for one in sized)
        found += [(one if title == name else by_seed(one), seeds) for one in sized]
    return found, problems


def _trials(study: Study, found: Sequence[Seeded], cache: Path) -> list[Trial]:
    """Make all trials that can be made."""
    its_models = [model for name in study.models if (model := model_requirement(name, cache)[0])]
    chosen = [one for each in study.settings for one in setting_variants(study, each)[0]]
    trials = [
        Trial(model=model, dataset=dataset, setting=setting, seed=seed)
        for dataset, seeds in found
        for seed in seeds
        for model in its_models
        for setting in chosen
    ]
    return list({trial.key: trial for trial in trials}.values())


def _label(trial: Trial) -> str:
    setting = trial.setting
    return f"{setting.name} {setting.protocol}"


# Of the measurement of one network, and of all: what is not measured then is estimated.
SECONDS, ALL_SECONDS = 2.0, 30.0
# Fewer than two images have no batch statistics. A batch grows while there is time.
SMALLEST, GROWTH = 2, 4
CLASSES = 10
SEED = 0


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
    """Images a second of training steps, in the largest batch that there is time and room for.

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
    """Images a second of forward passes by torch, as features are computed."""
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
