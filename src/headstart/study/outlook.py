"""What a study needs before it is run: what is here, what is missing, how much it takes.

Nothing is built, downloaded or decoded.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headstart import datasets, models
from headstart.errors import HeadstartError
from headstart.spec import AnySetting, Dataset, Model, Sizes, Trial
from headstart.store import ResultStore
from headstart.study.study import Study

__all__ = ["Need", "Outlook", "matrix_rate", "outlook"]

FLOAT32_BYTES = 4
# Of a network's arithmetic against one large product of matrices, both in float32 on a processor:
# what benchmarks/features.py reached lies from 0.3 to 0.9 of it.
EFFICIENCY = 0.5
PRODUCT_SIDE = 1024
PRODUCT_SECONDS = 0.15


@dataclass(frozen=True)
class Need:
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
    """

    kind: str
    name: str
    present: bool
    place: str


@dataclass(frozen=True)
class Outlook:
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
    """

    needs: tuple[Need, ...]
    n_trials: int
    n_stored: int
    n_ready: int
    weight_bytes: int
    feature_bytes: int
    multiply_adds: float | None
    unknown_sizes: tuple[str, ...]

    def hours(self, rate: float) -> float | None:
        """Estimate the hours of the forward passes from multiply-adds a second."""
        if self.multiply_adds is None:
            return None
        return self.multiply_adds / (EFFICIENCY * rate) / 3600


def matrix_rate() -> float:
    """Measure the multiply-adds a second of large products of matrices, float32, here and now."""
    A = np.ones((PRODUCT_SIDE, PRODUCT_SIDE), dtype=np.float32)
    A @ A
    start, products = time.perf_counter(), 0
    while (spent := time.perf_counter() - start) < PRODUCT_SECONDS:
        A @ A
        products += 1
    return products * PRODUCT_SIDE**3 / spent


def outlook(study: Study, store: ResultStore, cache: Path) -> Outlook:
    """Say what a study needs: what is here, what is missing and how to get it, and how much.

    Parameters
    ----------
    study
        Names that are unknown are needs that are not met, like all else that is missing.
    store
        Where results are, if there are any.
    cache
        Where downloads and features are.
    """
    its_models = [_model(name, cache) for name in study.models]
    its_datasets = [_dataset(name, study, cache) for name in study.datasets]
    its_settings = [_setting(study, setting) for setting in study.settings]
    chosen = [setting for setting, _ in its_settings if setting]
    stored = store.keys()
    n_stored = n_ready = 0
    left: list[tuple[Model, Sizes]] = []
    for model, here in its_models:
        for dataset, sizes, _ in its_datasets:
            if model is None:
                continue
            trials = [
                Trial(model=model, dataset=dataset, setting=setting, seed=seed)
                for setting in chosen
                for seed in study.seeds
                if dataset
            ]
            done = sum(trial.key in stored for trial in trials)
            n_stored += done
            n_ready += (len(trials) - done) * here.present
            if sizes and chosen and not (trials and done == len(trials)):
                left.append((model, sizes))
    costs = [
        None if model.multiply_adds is None else model.multiply_adds * _used(sizes, study.limit)
        for model, sizes in left
    ]
    return Outlook(
        needs=(
            *(need for _, need in its_models),
            *(need for _, _, need in its_datasets),
            *(need for _, need in its_settings),
        ),
        n_trials=len(study.models) * len(study.datasets) * len(study.settings) * len(study.seeds),
        n_stored=n_stored,
        n_ready=n_ready,
        weight_bytes=sum(
            FLOAT32_BYTES * (model.parameters or 0)
            for model, need in its_models
            if model and not need.present
        ),
        feature_bytes=sum(FLOAT32_BYTES * m.feature_dim * _used(n, study.limit) for m, n in left),
        multiply_adds=None if None in costs else sum(cost or 0.0 for cost in costs),
        unknown_sizes=tuple(need.name for _, sizes, need in its_datasets if not sizes),
    )


def _model(name: str, cache: Path) -> tuple[Model | None, Need]:
    try:
        model = models.find(name, cache)
        present, place = models.presence(model, cache)
    except HeadstartError as error:
        return None, Need("model", name, False, str(error))
    return model, Need("model", name, present, place)


def _dataset(name: str, study: Study, cache: Path) -> tuple[Dataset | None, Sizes | None, Need]:
    """Find a dataset if it is here; else its published sizes, if there are any."""
    try:
        present, place = datasets.presence(name, cache)
        sizes = datasets.describe(name).sizes
        if not present:
            return None, sizes, Need("dataset", name, False, place)
        dataset = datasets.find(name, limit=study.limit, skip_broken=study.skip_broken, cache=cache)
    except HeadstartError as error:
        return None, None, Need("dataset", name, False, str(error))
    return dataset, dataset.sizes, Need("dataset", name, True, place)


def _setting(study: Study, setting: str | dict[str, Any]) -> tuple[AnySetting | None, Need]:
    name = setting if isinstance(setting, str) else str(setting.get("name"))
    try:
        return study.setting(setting), Need("setting", name, True, "")
    except HeadstartError as error:
        return None, Need("setting", name, False, str(error))


def _used(sizes: Sizes, limit: int | None) -> int:
    return sum(min(size, limit or size) for _, size in sizes)
