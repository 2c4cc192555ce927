"""What a study takes: steps, images, hours, disk. Arithmetic on its trials and on given rates."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Literal

from headstart import datasets, methods
from headstart.errors import HeadstartError
from headstart.features import bytes_needed
from headstart.spec import Dataset, Model, Trial
from headstart.store import ResultStore
from headstart.study.outlook import (
    dataset_need,
    measured_datasets,
    model_need,
    setting_variants,
    unread_dataset,
)
from headstart.study.run import bytes_kept
from headstart.study.study import Study, by_seed, seeded_names

__all__ = ["Load", "Plan", "Rate", "complete_rates", "plan"]


@dataclass(frozen=True)
class Rate:
    """Images a second of one network on this device.

    Parameters
    ----------
    trained
        Of training steps, forward and backward; None if that was not measured.
    seen
        Of forward passes.
    estimated
        Whether they follow from the network's multiply-adds and the rates of others.
    """

    trained: float | None
    seen: float | None
    estimated: bool = False


@dataclass(frozen=True)
class Load:
    """What the trials of one model and one setting ask of a device.

    Parameters
    ----------
    model, setting
        The model, and the setting's name and protocol.
    trials
        How many are not stored.
    steps, trained
        Updates of the search and of the final trainings, and images in them.
    seen
        Images of forward passes: for features, on validation and test.
    """

    model: Model
    setting: str
    trials: int = 0
    steps: int = 0
    trained: int = 0
    seen: int = 0

    def hours(self, rate: Rate | None) -> float | None:
        """Hours at a rate; None where it is unknown."""
        parts = [(self.trained, rate and rate.trained), (self.seen, rate and rate.seen)]
        spent = 0.0
        for images, per_second in parts:
            if images and not per_second:
                return None
            spent += images / per_second if per_second else 0.0
        return spent / 3600


@dataclass(frozen=True)
class Plan:
    """What is left of a study.

    Parameters
    ----------
    loads
        By model and setting.
    batch_size
        The largest of the settings that train; None where none does.
    precision
        ``"bf16"`` where all settings compute in it.
    feature_bytes, image_bytes
        To keep: features, and decoded images.
    problems
        What the study would be refused for.
    """

    loads: tuple[Load, ...]
    batch_size: int | None
    precision: Literal["fp32", "bf16"]
    feature_bytes: int
    image_bytes: int
    problems: tuple[str, ...]

    def hours(self, rates: Mapping[str, Rate], setting: str | None = None) -> float:
        """Hours of all loads whose rate is known, or of those of one setting."""
        wanted = [load for load in self.loads if setting in (None, load.setting)]
        return sum(load.hours(rates.get(load.model.name)) or 0.0 for load in wanted)

    def unknown(self, rates: Mapping[str, Rate]) -> tuple[str, ...]:
        """Models whose hours are not in them."""
        missing = [load for load in self.loads if load.hours(rates.get(load.model.name)) is None]
        return tuple(dict.fromkeys(load.model.name for load in missing))


class Seen:
    """Images of one table of features, each computed once, whichever trial asks first.

    Of one seed, few images per class are among more of them; another seed draws others.
    """

    def __init__(self, trial: Trial) -> None:
        self.model = trial.model
        self.whole: int = sum(n for _, n in trial.dataset.sizes)
        self.train: dict[int | None, int] = {}
        self.rest: dict[int | None, int] = {}

    def add(self, trial: Trial) -> None:
        """Ask for the images of a trial."""
        dataset, used = trial.dataset, trial.dataset.used_sizes
        drawn = trial.seed if dataset.is_drawn else None
        self.train[drawn] = max(self.train.get(drawn, 0), used.train)
        # Validation and test are whole where only images per class are limited.
        self.rest[drawn if dataset.limit else None] = used.validation + used.test

    @property
    def n_images(self) -> int:
        """How many that is at most."""
        return min(sum(self.train.values()) + sum(self.rest.values()), self.whole)

    @property
    def n_bytes(self) -> int:
        """What their features take."""
        return bytes_needed(self.model, self.n_images)


def plan(study: Study, store: ResultStore, cache: Path) -> Plan:
    """Add up what the trials of a study take that are not stored; nothing is built or decoded.

    What was measured already of a trial without a result is not counted again. Datasets that are
    not here are counted by their published sizes, those of unknown sizes are not.
    """
    stored, partly = store.keys(), store.partly_measured()
    found, problems = _datasets(study, store, cache)
    trials = [trial for trial in _trials(study, found, cache) if trial.key not in stored]
    loads: dict[tuple[str, str], Load] = {}
    needs, batches = [], []
    tables: dict[str, Seen] = {}
    for trial in trials:
        measured = store.measurements(trial.key) if trial.key in partly else ()
        need = methods.needs(trial, measured)
        place = (trial.model.name, _label(trial))
        load = loads.get(place) or Load(trial.model, _label(trial))
        load = replace(load, trials=load.trials + 1)
        if need.batch_size:
            batches.append(need.batch_size)
            load = replace(
                load,
                steps=load.steps + need.steps,
                trained=load.trained + need.steps * need.batch_size,
            )
        seen = need.evaluated
        if need.features:
            table = tables.setdefault(need.table, Seen(trial))
            before = table.n_images
            table.add(trial)
            seen += table.n_images - before
        else:
            needs.append(need)
        loads[place] = replace(load, seen=load.seen + seen)
    return Plan(
        loads=tuple(loads.values()),
        batch_size=max(batches, default=None),
        precision="bf16" if {t.setting.precision for t in trials} == {"bf16"} else "fp32",
        feature_bytes=sum(table.n_bytes for table in tables.values()),
        image_bytes=bytes_kept(needs),
        problems=tuple(problems),
    )


def complete_rates(rates: Mapping[str, Rate], wanted: Iterable[Model]) -> dict[str, Rate]:
    """Estimate the rates of models that were not measured from those that were.

    A network takes as long as it has multiply-adds; the rate of these is the median of the others.
    A network whose multiply-adds are unknown has no rate.

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
    trained = [rate.trained * cost for cost, rate in known if cost and rate.trained]
    seen = [rate.seen * cost for cost, rate in known if cost and rate.seen]
    complete = dict(measured)
    for model in every:
        cost = model.multiply_adds
        if model.name not in measured and cost:
            slow, fast = (median(each) / cost if each else None for each in (trained, seen))
            complete[model.name] = Rate(slow, fast, estimated=True)
    return complete


Seeded = tuple[Dataset, tuple[int, ...]]


def _datasets(study: Study, store: ResultStore, cache: Path) -> tuple[list[Seeded], list[str]]:
    """Return the datasets whose sizes are known with the seeds of their trials.

    Of those that are not read here a stand-in. Then what the study would be refused for.
    """
    measured, found, problems = measured_datasets(store, study), list[Seeded](), list[str]()
    every = [
        (title, name, seeds)
        for title in dict.fromkeys(study.datasets)
        for name, seeds in seeded_names(title, dict.fromkeys(study.seeds))
    ]
    for title, name, seeds in every:
        data = dataset_need(name, study, cache, measured)
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
    its_models = [model for name in study.models if (model := model_need(name, cache)[0])]
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
