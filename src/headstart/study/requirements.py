"""What a study needs before it is run: what is here, what is missing, how much it takes.

Nothing is downloaded or decoded, and no dataset's function is called. Networks whose arithmetic is
not published are built without weights, and it is counted.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from headstart import datasets, models
from headstart.datasets.dataset_name import DatasetName
from headstart.errors import (
    DatasetMissingError,
    HeadstartError,
    ModelError,
    WeightsMissingError,
)
from headstart.functions import is_function
from headstart.registry import METHODS
from headstart.spec import Dataset, Model, Setting, Sizes, Trial
from headstart.store import ResultStore
from headstart.study.study import Study, by_seed, distinct, repeated, seeded_names

__all__ = [
    "DryRunReport",
    "Requirement",
    "dataset_requirement",
    "dry_run",
    "last_measured",
    "matrix_rate",
    "model_requirement",
    "setting_variants",
    "unread_dataset",
]

FLOAT32_BYTES = 4
# Of a network's arithmetic against one large product of matrices, both in float32 on a processor:
# what benchmarks/features.py reached lies from 0.3 to 0.9 of it.
EFFICIENCY = 0.5
PRODUCT_SIDE = 1024
PRODUCT_SECONDS = 0.15

# Returns a dataset of this name as it was last measured, if it was.
Measured = Callable[[str], Dataset | None]


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
class DryRunReport:
    """What a study needs.

    Parameters
    ----------
    needs
        Every model, dataset and setting.
    n_trials, n_stored, n_ready
        Trials in all; those that are stored; those for which nothing is missing.
    weight_bytes, feature_bytes
        To download: float32 weights of the models that are missing. To keep on disk: features of
        the trials that are not stored.
    multiply_adds
        Of the forward passes of the trials that are not stored, None where a network's are unknown.
    unknown_sizes
        Datasets whose number of images shows only when they are there: the bytes are without them.
    notes
        What is named twice, or is the same as something else.
    refusal
        The error with which a run would end at once; None where it would begin, or where something
        is merely missing.
    """

    needs: tuple[Requirement, ...]
    n_trials: int
    n_stored: int
    n_ready: int
    weight_bytes: int
    feature_bytes: int
    multiply_adds: float | None
    unknown_sizes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    refusal: HeadstartError | None = None

    def hours(self, rate: float) -> float | None:
        """Estimate the hours of the forward passes from multiply-adds a second."""
        if self.multiply_adds is None:
            return None
        return self.multiply_adds / (EFFICIENCY * rate) / 3600


class DatasetRequirement(NamedTuple):
    """A dataset of a study, with each number of images per class, or what is known of it.

    `sized` is empty where it is not here, `n_sized` then how many there will be at most. `n_images`
    is how many images all its trials see, `seeds` are those of its trials.
    """

    need: Requirement
    sized: tuple[Dataset, ...] = ()
    sizes: Sizes | None = None
    n_sized: int = 1
    n_images: int = 0
    seeds: tuple[int, ...] = ()


def matrix_rate() -> float:
    """Measure the multiply-adds a second of large products of matrices, float32, here and now."""
    A = np.ones((PRODUCT_SIDE, PRODUCT_SIDE), dtype=np.float32)
    A @ A
    start, products = time.perf_counter(), 0
    while (spent := time.perf_counter() - start) < PRODUCT_SECONDS:
        A @ A
        products += 1
    return products * PRODUCT_SIDE**3 / spent


def dry_run(study: Study, store: ResultStore, cache: Path) -> DryRunReport:
    """State what a study needs: what is here, what is missing and how to get it, and how much.

    Parameters
    ----------
    study
        Names that are unknown are needs that are not met, like all else that is missing.
    store
        Where results are, if there are any.
    cache
        Where downloads and features are.
    """
    notes: list[str] = []
    its_models = _models(study, cache, notes)
    its_datasets = _datasets(study, partial(last_measured, store, study), cache, notes)
    its_settings, chosen, refusal = _settings(study, notes)
    notes += repeated("seed", study.seeds)
    pairs = [
        (model, here, data, _trials(model, data, chosen, data.seeds))
        for model, here in its_models
        if model is not None
        for data in its_datasets
    ]
    every = [trial for *_, trials in pairs for trial in trials]
    stored = store.keys({trial.key for trial in every})
    n_stored = n_ready = 0
    left: list[tuple[Model, int]] = []
    for model, here, data, trials in pairs:
        undone = [trial for trial in trials if trial.key not in stored]
        n_stored += len(trials) - len(undone)
        n_ready += len(undone) * here.present
        # Of a dataset that is not here nothing can be stored.
        wanted = [trial.setting for trial in undone] if data.sized else chosen
        if data.sizes and any(METHODS[one.name].on_features for one in wanted):
            left.append((model, data.n_images))
    n_settings = len(chosen) + sum(not need.present for need in its_settings)
    n_seeded = sum(data.n_sized * len(data.seeds) for data in its_datasets)
    needs = (
        *(need for _, need in its_models),
        *dict.fromkeys(data.need for data in its_datasets),
        *its_settings,
    )
    if all(need.present for need in needs):
        refusal = refusal or _seeds_refused(study, every)
    return DryRunReport(
        needs=needs,
        n_trials=len(its_models) * n_seeded * n_settings,
        n_stored=n_stored,
        n_ready=n_ready,
        weight_bytes=sum(
            FLOAT32_BYTES * (model.parameters or 0)
            for model, need in its_models
            if model and not need.present
        ),
        feature_bytes=sum(FLOAT32_BYTES * m.feature_dim * n_images for m, n_images in left),
        multiply_adds=_arithmetic(left, cache),
        unknown_sizes=tuple(data.need.name for data in its_datasets if not data.sizes),
        notes=tuple(notes),
        refusal=next((need.refusal for need in needs if need.refusal), refusal),
    )


def _arithmetic(left: Sequence[tuple[Model, int]], cache: Path) -> float | None:
    """Add up the multiply-adds of networks for so many images; None where one's are unknown."""
    total, each = 0.0, dict[str, int | None]()
    for model, n_images in left:
        if n_images:
            if model.name not in each:
                each[model.name] = models.multiply_adds(model, cache)
            cost = each[model.name]
            if cost is None:
                return None
            total += cost * n_images
    return total


def _models(study: Study, cache: Path, notes: list[str]) -> list[tuple[Model | None, Requirement]]:
    """Find each model once, and add notes on those that are named again."""
    notes += repeated("model", study.models)
    found = {name: model_requirement(name, cache) for name in dict.fromkeys(study.models)}
    kept, said = distinct("model", [(name, model) for name, (model, _) in found.items() if model])
    notes += said
    return [(model, need) for model, need in found.values() if model is None or model in kept]


def _datasets(
    study: Study, measured: Measured, cache: Path, notes: list[str]
) -> list[DatasetRequirement]:
    """Find each dataset once, with the seeds of its trials."""
    notes += repeated("dataset", study.datasets)
    found: list[DatasetRequirement] = []
    for name in dict.fromkeys(study.datasets):
        for seeded, seeds in seeded_names(name, dict.fromkeys(study.seeds)):
            data = dataset_requirement(seeded, study, cache, measured)
            if seeded != name:
                # The images are the same for all seeds, and so are their features.
                more = any(other.need.name == name for other in found)
                data = data._replace(
                    need=replace(data.need, name=name),
                    sized=tuple(by_seed(one) for one in data.sized),
                    n_images=0 if more else data.n_images,
                )
            found.append(data._replace(seeds=seeds))
    read = [(data.need.name, one) for data in found for one in data.sized if one.revision]
    kept, said = distinct("dataset", read)
    notes += said
    return [data for data in found if not data.sized or data.sized[0] in kept
            or not data.sized[0].revision]  # fmt: skip


def _settings(
    study: Study, notes: list[str]
) -> tuple[list[Requirement], list[Setting], HeadstartError | None]:
    """Make the settings that can be made; say why the study would be refused for them, if it is."""
    found = [setting_variants(study, setting) for setting in study.settings]
    needs = list(dict.fromkeys(need for _, need in found))
    if any(need.error for need in needs):
        return needs, [one for variants, _ in found for one in variants], None
    try:
        return needs, study.chosen_settings(notes), None
    except HeadstartError as error:
        return needs, [], error


def _seeds_refused(study: Study, trials: Sequence[Trial]) -> HeadstartError | None:
    try:
        study.check_seeds(trials)
    except HeadstartError as error:
        return error
    return None


def _trials(
    model: Model, data: DatasetRequirement, settings: Sequence[Setting], seeds: Sequence[int]
) -> list[Trial]:
    """Return the trials of one model on one dataset; none where that is not here."""
    return [
        Trial(model=model, dataset=dataset, setting=setting, seed=seed)
        for setting in settings
        for seed in seeds
        for dataset in data.sized
    ]


def model_requirement(name: str, cache: Path) -> tuple[Model | None, Requirement]:
    """Find a model, and say whether its weights are here."""
    try:
        model = models.find(name, cache)
        present, place = models.presence(model, cache)
    except HeadstartError as error:
        return None, Requirement("model", name, False, str(error), error)
    return model, Requirement("model", name, present, place)


def last_measured(store: ResultStore, study: Study, name: str) -> Dataset | None:
    """Return one of the twelve datasets as it was last measured in this way, if it was."""
    for result in store.newest(name):
        dataset = result.trial.dataset
        asked = (dataset.limit, dataset.skip_broken)
        if dataset.source == "study" and asked == (study.limit, study.skip_broken):
            return dataset.model_copy(update={"examples_per_class": None})
    return None


def unread_dataset(known: datasets.Description, sizes: Sizes, study: Study) -> Dataset:
    """Stand for a dataset that is here and was never measured: no trial on it is stored."""
    classes = tuple(str(number) for number in range(known.n_classes or 2))
    return Dataset(
        name=known.title,
        source="",
        revision="",
        classes=classes,
        sizes=sizes,
        metric=known.metric,
        limit=study.limit,
        skip_broken=study.skip_broken,
    )


def dataset_requirement(
    name: str, study: Study, cache: Path, measured: Measured
) -> DatasetRequirement:
    """Find a dataset if it is here; else what is published of it, if anything is.

    Of the twelve nothing is read: a run does that, and finds what may have changed since.
    """
    few = tuple(dict.fromkeys(study.examples_per_class))
    try:
        present, place = datasets.presence(name, cache)
        asked = DatasetName.parse(name)
        if is_function(asked.stem):
            return _of_function(name, study, present, place)
        known = datasets.describe(name)
        if present:
            if known.sizes and not datasets.is_packaged(asked.stem):
                title = asked.titled(known.title)
                dataset = measured(title) or unread_dataset(known, known.sizes, study)
            else:
                dataset = datasets.find(
                    name, limit=study.limit, skip_broken=study.skip_broken, cache=cache
                )
            sized, n_classes = study.sized(dataset), len(dataset.classes)
            most = max(one.examples_per_class or 0 for one in sized)
            n_images = _n_images(study, dataset.sizes, n_classes, most)
            need = Requirement("dataset", name, True, place)
            return DatasetRequirement(need, sized, dataset.sizes, len(sized), n_images)
    except HeadstartError as error:
        return DatasetRequirement(
            Requirement("dataset", name, False, str(error), error), n_sized=max(1, len(few))
        )
    need, sizes, n_classes = (
        Requirement("dataset", name, False, place),
        known.sizes,
        known.n_classes or 1,
    )
    if sizes is None:
        return DatasetRequirement(need, n_sized=max(1, len(few)))
    # How many the smallest class has shows when it is here: no more than all have on average.
    few = tuple(n for n in few if n * n_classes <= sizes.train)
    n_images = _n_images(study, sizes, n_classes, max(few, default=0))
    return DatasetRequirement(need, sizes=sizes, n_sized=max(1, len(few)), n_images=n_images)


def _of_function(name: str, study: Study, present: bool, place: str) -> DatasetRequirement:
    """State of a function whether its file is here: what it gives shows when it is called."""
    need, n_sized = (
        Requirement("dataset", name, present, place),
        max(1, len(study.examples_per_class)),
    )
    none = Sizes(train=0, validation=0, test=0)
    unread = unread_dataset(datasets.Description(title=name), none, study)
    return DatasetRequirement(need, sized=(unread,) * n_sized if present else (), n_sized=n_sized)


def _n_images(study: Study, sizes: Sizes, n_classes: int, few: int) -> int:
    """Count the images that trials see; at most, where each seed draws others."""
    used = {name: min(size, study.limit or size) for name, size in sizes}
    if few:
        used["train"] = min(used["train"], few * n_classes * len(set(study.seeds)))
    return sum(used.values())


def setting_variants(
    study: Study, setting: str | dict[str, Any]
) -> tuple[tuple[Setting, ...], Requirement]:
    """Make a setting with each number of steps, or say why there is none."""
    name = setting if isinstance(setting, str) else str(setting.get("name"))
    try:
        return study.variants(setting), Requirement("setting", name, True, "")
    except HeadstartError as error:
        return (), Requirement("setting", name, False, str(error), error)
