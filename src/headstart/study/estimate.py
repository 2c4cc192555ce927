"""Estimate a study before it runs: what is missing, steps, images, hours, disk.

Nothing is downloaded or decoded, and no dataset's function is called. Networks whose arithmetic is
not published are built without weights, and it is counted.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from headstart import datasets, models
from headstart.datasets.dataset_name import DatasetName
from headstart.errors import DatasetMissingError, HeadstartError, ModelError, WeightsMissingError
from headstart.functions import is_function
from headstart.spec import Dataset, Model, Setting, Sizes, Trial
from headstart.store import ResultStore
from headstart.study.run import bytes_kept
from headstart.study.study import (
    Study,
    by_seed,
    distinct,
    repeated,
    seeded_names,
    setting_name,
)
from headstart.study.workload import TableShare, Throughput, Workload, workloads_of

__all__ = ["Requirement", "StudyEstimate", "Workload", "estimate_study"]

FLOAT32_BYTES = 4
# Of a network's arithmetic against one large product of matrices, both in float32 on a processor:
# what benchmarks/features.py reached lies from 0.3 to 0.9 of it.
EFFICIENCY = 0.5


class LastMeasured(Protocol):
    """Returns a dataset of this title as it was last measured, if it was."""

    def __call__(self, name: str, *, present: bool) -> Dataset | None: ...


@dataclass(frozen=True)
class Requirement:
    """A model, a dataset or a setting that a study names.

    Parameters
    ----------
    kind
        ``"model"``, ``"dataset"`` or ``"setting"``.
    name
        As the study has it.
    present
        Whether it can be used now.
    place
        Where it is; of what is missing how to get it.
    error
        Why it cannot be used, where that is known.
    """

    kind: str
    name: str
    present: bool
    place: str
    error: HeadstartError | None = None

    @property
    def refusal(self) -> HeadstartError | None:
        """The error with which a run would end, of what is not merely missing: a wrong name."""
        missing = isinstance(self.error, DatasetMissingError | WeightsMissingError)
        # Of this code: its library is not installed.
        missing |= isinstance(self.error, ModelError) and self.error.code == ModelError.code
        return None if missing else self.error


@dataclass(frozen=True)
class StudyEstimate:
    """What a study needs, and what its trials take which are not stored.

    Parameters
    ----------
    needs
        Every model, dataset and setting.
    n_trials, n_stored, n_ready
        Trials in all; those that are stored; those for which nothing is missing.
    workloads
        By model and setting, of all trials that are not stored on datasets of known size.
    each
        Titles and workloads of these trials; features that several share count for the first.
    batch_size
        The largest of the settings that train; None where none does.
    precision
        ``"bf16"`` where all settings compute in it.
    weight_bytes
        To download: float32 weights of the models that are missing.
    feature_bytes, image_bytes
        Disk for features, and for decoded images.
    multiply_adds
        Of the forward passes for features, None where a network's are unknown.
    unknown_sizes
        Datasets whose number of images shows only when they are there: nothing counts them.
    notes
        What is named twice, or is the same as something else.
    problems
        Errors with which the study would be refused for its datasets.
    refusal
        The error with which a run would end at once; None where it would begin, or where something
        is merely missing.
    """

    needs: tuple[Requirement, ...]
    n_trials: int
    n_stored: int
    n_ready: int
    workloads: tuple[Workload, ...]
    each: tuple[tuple[str, Workload], ...]
    batch_size: int | None
    precision: Literal["fp32", "bf16"]
    weight_bytes: int
    feature_bytes: int
    image_bytes: int
    multiply_adds: float | None
    unknown_sizes: tuple[str, ...]
    notes: tuple[str, ...]
    problems: tuple[str, ...]
    refusal: HeadstartError | None

    def hours(self, rates: Mapping[str, Throughput], setting: str | None = None) -> float:
        """Return the hours of all workloads of known throughput, or of those of one setting."""
        wanted = [one for one in self.workloads if setting in (None, one.setting)]
        return sum(one.hours(rates.get(one.model.name)) or 0.0 for one in wanted)

    def longest(self, rates: Mapping[str, Throughput]) -> tuple[str, float] | None:
        """Return the trial that takes longest and its hours; None where no throughput is known."""
        hours = [(title, one.hours(rates.get(one.model.name))) for title, one in self.each]
        known = [(title, each) for title, each in hours if each is not None]
        return max(known, key=lambda pair: pair[1], default=None)

    def unknown(self, rates: Mapping[str, Throughput]) -> tuple[str, ...]:
        """Return the models of unknown throughput, whose hours are not counted."""
        missing = [one for one in self.workloads if one.hours(rates.get(one.model.name)) is None]
        return tuple(dict.fromkeys(one.model.name for one in missing))

    def feature_hours(self, rate: float) -> float | None:
        """Estimate the hours of the forward passes for features from multiply-adds per second."""
        if self.multiply_adds is None:
            return None
        return self.multiply_adds / (EFFICIENCY * rate) / 3600


class DatasetRequirement(NamedTuple):
    """A dataset of a study, with each number of images per class, or what is known of it.

    `here` is empty where it is not here, `counted` where its sizes are unknown; `n_sized` is how
    many there will be at most, `seeds` are those of its trials, `problem` is what it would be
    refused for.
    """

    need: Requirement
    here: tuple[Dataset, ...] = ()
    counted: tuple[Dataset, ...] = ()
    n_sized: int = 1
    seeds: tuple[int, ...] = ()
    problem: str = ""


def estimate_study(study: Study, store: ResultStore, cache: Path) -> StudyEstimate:
    """State what a study needs: what is here, what is missing and how to get it, and how much.

    Candidates that are stored are not counted again. Datasets that are not on this machine are
    counted by their published sizes, those of unknown sizes are left out.

    Parameters
    ----------
    study
        Names that are unknown are needs that are not met, like all else that is missing.
    store
        Where results are, if there are any.
    cache
        Where downloads and features are.
    """
    named = _named(study, store, cache)
    here, counted = named.trials(here=True), named.trials()
    stored = store.keys({trial.key for trial, _ in (*here, *counted)})
    ready = [present for trial, present in here if trial.key not in stored]
    left = {trial.key: trial for trial, _ in counted if trial.key not in stored}
    each, tables, resources = workloads_of(left.values(), store)
    refusal = named.refusal
    if refusal is None and all(need.present for need in named.needs):
        try:
            study.check_seeds([trial for trial, _ in here])
        except HeadstartError as error:
            refusal = error
    # By model and setting.
    workloads: dict[tuple[str, str], Workload] = {}
    for one in each.values():
        key = one.model.name, one.setting
        workloads[key] = workloads[key] + one if key in workloads else one
    precisions = {trial.setting.precision for trial in left.values()}
    missing = [model for model, need in named.models if model and not need.present]
    return StudyEstimate(
        needs=named.needs,
        n_trials=named.n_trials,
        n_stored=sum(trial.key in stored for trial, _ in counted),
        n_ready=sum(ready),
        workloads=tuple(workloads.values()),
        each=tuple((left[key].title, one) for key, one in each.items()),
        batch_size=max((one.batch_size for one in resources if one.batch_size), default=None),
        precision="bf16" if precisions == {"bf16"} else "fp32",
        weight_bytes=sum(FLOAT32_BYTES * (model.parameters or 0) for model in missing),
        feature_bytes=sum(table.n_bytes for table in tables),
        image_bytes=bytes_kept(one for one in resources if not one.features),
        multiply_adds=_arithmetic(tables, cache),
        unknown_sizes=tuple(data.need.name for data in named.datasets if not data.counted),
        notes=tuple(named.notes),
        problems=tuple(data.problem for data in named.datasets if data.problem),
        refusal=refusal,
    )


def known_trials(study: Study, store: ResultStore, cache: Path) -> tuple[list[Trial], int]:
    """Return a study's trials as far as they are known here, and how many there are in all.

    Datasets need not be on this machine: they are those that the store has results of. Nothing is
    known of one without, but how many trials it has.

    Raises
    ------
    HeadstartError
        A run would be refused: a wrong name.
    """
    named = _named(study, store, cache)
    if named.refusal:
        raise named.refusal
    return [trial for trial, _ in named.trials()], named.n_trials


class Named(NamedTuple):
    """All that a study names, with whether it is here.

    `chosen` are the settings that can be made, with each number of steps; `refused` is why the
    study would be refused for its settings together.
    """

    models: list[tuple[Model | None, Requirement]]
    datasets: list[DatasetRequirement]
    settings: list[Requirement]
    chosen: list[Setting]
    refused: HeadstartError | None
    notes: list[str]

    @property
    def needs(self) -> tuple[Requirement, ...]:
        its_models = [need for _, need in self.models]
        its_datasets = dict.fromkeys(data.need for data in self.datasets)
        return (*its_models, *its_datasets, *self.settings)

    @property
    def refusal(self) -> HeadstartError | None:
        """The error with which a run would end at once, but for the seeds."""
        return next((need.refusal for need in self.needs if need.refusal), self.refused)

    @property
    def n_trials(self) -> int:
        n_settings = len(self.chosen) + sum(not need.present for need in self.settings)
        n_seeded = sum(data.n_sized * len(data.seeds) for data in self.datasets)
        return len(self.models) * n_seeded * n_settings

    def trials(self, *, here: bool = False) -> list[tuple[Trial, bool]]:
        """Return the trials on datasets of known size (or those here), and whether each can begin.

        That is whether what it needs of its model is here.
        """
        return [
            (
                Trial(model=model, dataset=dataset, setting=setting, seed=seed),
                need.present or not setting.pretrained,
            )
            for data in self.datasets
            for dataset in (data.here if here else data.counted)
            for seed in data.seeds
            for model, need in self.models
            if model
            for setting in self.chosen
        ]


def _named(study: Study, store: ResultStore, cache: Path) -> Named:
    """Find all that a study names, each once."""
    notes: list[str] = []
    its_models = _models(study, cache, notes)
    its_datasets = _datasets(study, partial(_last_measured, store, study), cache, notes)
    its_settings, chosen, refused = _settings(study, notes)
    if chosen and not any(setting.pretrained for setting in chosen):
        its_models = [
            (model, need if need.present or need.error
             else replace(need, present=True, place="its weights are not needed"))
            for model, need in its_models
        ]  # fmt: skip
    notes += repeated("seed", study.seeds)
    return Named(its_models, its_datasets, its_settings, chosen, refused, notes)


def _arithmetic(tables: Sequence[TableShare], cache: Path) -> float | None:
    """Add up the multiply-adds of forward passes; None where those of a network are unknown."""
    total, each = 0.0, dict[str, int | None]()
    for table in tables:
        name = table.model.name
        if table.n_images and name not in each:
            each[name] = models.multiply_adds(table.model, cache)
        cost = each.get(name, 0)
        if cost is None:
            return None
        total += cost * table.n_images
    return total


def _models(study: Study, cache: Path, notes: list[str]) -> list[tuple[Model | None, Requirement]]:
    """Find each model once, and add notes on those that are named again."""
    notes += repeated("model", study.models)
    found: dict[str, tuple[Model | None, Requirement]] = {}
    for name in dict.fromkeys(study.models):
        try:
            model = models.find(name, cache)
            present, place = models.presence(model, cache)
        except HeadstartError as error:
            found[name] = None, Requirement("model", name, False, str(error), error)
        else:
            found[name] = model, Requirement("model", name, present, place)
    kept, said = distinct("model", [(name, model) for name, (model, _) in found.items() if model])
    notes += said
    return [(model, need) for model, need in found.values() if model is None or model in kept]


def _datasets(
    study: Study, measured: LastMeasured, cache: Path, notes: list[str]
) -> list[DatasetRequirement]:
    """Find each dataset once, with the seeds of its trials."""
    notes += repeated("dataset", study.datasets)
    found: list[DatasetRequirement] = []
    for name in dict.fromkeys(study.datasets):
        for seeded, seeds in seeded_names(name, dict.fromkeys(study.seeds)):
            data = _dataset_requirement(seeded, study, cache, measured)
            if seeded != name:
                data = data._replace(
                    need=replace(data.need, name=name),
                    here=tuple(by_seed(one) for one in data.here),
                    counted=tuple(by_seed(one) for one in data.counted),
                )
            found.append(data._replace(seeds=seeds))
    read = [(data.need.name, one) for data in found for one in data.here]
    kept, said = distinct("dataset", read)
    notes += said
    return [data for data in found if not data.here or data.here[0] in kept]


def _settings(
    study: Study, notes: list[str]
) -> tuple[list[Requirement], list[Setting], HeadstartError | None]:
    """Make the settings that can be made; say why the study would be refused for them, if it is."""
    needs, chosen = list[Requirement](), list[Setting]()
    for setting in study.settings:
        name = setting_name(setting)
        try:
            chosen += study.variants(setting)
            needs.append(Requirement("setting", name, True, ""))
        except HeadstartError as error:
            needs.append(Requirement("setting", name, False, str(error), error))
    needs = list(dict.fromkeys(needs))
    if any(need.error for need in needs):
        return needs, chosen, None
    try:
        return needs, study.chosen_settings(notes), None
    except HeadstartError as error:
        return needs, [], error


def _last_measured(store: ResultStore, study: Study, name: str, *, present: bool) -> Dataset | None:
    """Return a dataset as it was last measured in this way, if it was.

    One that is present is looked at instead, but for the twelve.
    """
    for trial in chain((one.trial for one in store.newest(name)), _begun(store, name)):
        dataset = trial.dataset
        asked = (dataset.limit, dataset.skip_broken)
        fits = dataset.source == "study" or not present
        if fits and asked == (study.limit, study.skip_broken):
            return dataset.model_copy(update={"examples_per_class": None})
    return None


def _begun(store: ResultStore, name: str) -> Iterator[Trial]:
    """Yield the trials on a dataset that have no result yet."""
    keys = [*(lease.trial for lease in store.leases()), *store.partly_measured(), *store.failures()]
    found = (store.trial(key) for key in keys)
    yield from (trial for trial in found if trial and trial.dataset.name == name)


def _unread(name: str, known: datasets.Description, sizes: Sizes, study: Study) -> Dataset:
    """Stand for a dataset that was never measured: no trial on it is stored."""
    classes = tuple(str(number) for number in range(known.n_classes or 2))
    return Dataset(
        name=known.title,
        source="",
        # Each is another.
        revision=f"not read: {name}",
        classes=classes,
        sizes=sizes,
        metric=known.metric,
        limit=study.limit,
        skip_broken=study.skip_broken,
    )


def _dataset_requirement(
    name: str, study: Study, cache: Path, measured: LastMeasured
) -> DatasetRequirement:
    """Find a dataset if it is here; else what is published of it, if anything is.

    Of the twelve nothing is read: a run does that, and finds what may have changed since. Of a
    function nothing is known but whether its file is here: what it gives shows when it is called.
    """
    n_sized = max(1, len(dict.fromkeys(study.examples_per_class)))
    try:
        present, place = datasets.presence(name, cache)
        asked = DatasetName.parse(name)
        need = Requirement("dataset", name, present, place)
        if is_function(asked.stem):
            none = Sizes(train=0, validation=0, test=0)
            unread = _unread(name, datasets.Description(title=name), none, study)
            return DatasetRequirement(need, (unread,) * n_sized if present else (), n_sized=n_sized)
        known = datasets.describe(name)
        if present and (not known.sizes or datasets.is_packaged(asked.stem)):
            dataset = datasets.find(
                name, limit=study.limit, skip_broken=study.skip_broken, cache=cache
            )
        elif found := measured(asked.titled(known.title), present=present):
            dataset = found
        elif known.sizes:
            dataset = _unread(name, known, known.sizes, study)
        else:
            return DatasetRequirement(need, n_sized=n_sized)
        here = study.sized(dataset) if present else ()
    except HeadstartError as error:
        return DatasetRequirement(
            Requirement("dataset", name, False, str(error), error), n_sized=n_sized
        )
    sized, problem = here, ""
    try:
        sized = here or study.sized(dataset)
        study.check_budgets(list(sized))
    except HeadstartError as error:
        problem = f"{name}: {error}"
    return DatasetRequirement(need, here, sized, max(1, len(sized)), problem=problem)
