"""Group the features missing for several models on the same images: each image decoded once."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart import datasets
from headstart.context import RunContext
from headstart.errors import HeadstartError
from headstart.executors import Send
from headstart.features import FeatureRequest, extract_together, table_of
from headstart.features.feature_table import FeatureTable
from headstart.methods.base import method_of
from headstart.spec import Trial
from headstart.spec.formatting import count

__all__ = ["ExtractionGroup", "extract_group", "plan_extractions"]


@dataclass(frozen=True)
class ExtractionGroup:
    """Trials on features of the same images, of which several tables lack some.

    Parameters
    ----------
    trials
        All trials that need one of these tables. They should wait for the job, or they compute
        their features themselves.
    """

    trials: tuple[Trial, ...]

    @property
    def title(self) -> str:
        """What the job does, in one line."""
        n_models = len({trial.model.name for trial in self.trials})
        return f"features of {count(n_models, 'model')} on {self.trials[0].dataset.name}"


def plan_extractions(trials: Sequence[Trial], context: RunContext) -> list[ExtractionGroup]:
    """Group the trials that lack features of the same images, if these are of several tables.

    Only cards of feature tables are read; and the labels of a dataset if a trial's seed draws its
    images and a table may or may not have them. Nothing is changed.

    Parameters
    ----------
    trials
        Trials that are not stored yet, of any methods and datasets.

    Returns
    -------
    list
        Groups in the order of their first trials. A trial is in one at most.
    """
    by_images: dict[tuple[str, int], list[Trial]] = {}
    for trial in trials:
        if method_of(trial).on_features and _resize(trial):
            dataset = trial.dataset
            images = (dataset.model_dump_json(), trial.seed if dataset.is_drawn else 0)
            by_images.setdefault(images, []).append(trial)
    groups = []
    for some in by_images.values():
        tables = {trial.key: _table(trial, context) for trial in some}
        if len({table.key for table in tables.values()}) < 2:
            continue
        lacking = _lacking(some[0], tables, context)
        needing = tuple(trial for trial in some if tables[trial.key].key in lacking)
        if len(lacking) > 1:
            groups.append(ExtractionGroup(needing))
    return groups


def extract_group(group: ExtractionGroup, context: RunContext, send: Send | None = None) -> None:
    """Compute the features that the trials of a group lack; decode each image once.

    It may run in another process, and beside the trials: the second to open a table waits for the
    first. Errors are not raised: a trial that lacks features afterwards computes them itself, and
    meets the error where it is reported.

    Parameters
    ----------
    group
        As `plan_extractions` returns it.
    context
        Where to run.
    send
        Sends notes to the coordinating process; None reports to the context's own reporter.
    """
    context = context.reporting_to(send) if send else context
    first = group.trials[0]
    with suppress(Exception):
        context.reporter.stage("reading the dataset")
        splits = datasets.load(first.dataset, first.seed, context.cache)
        extract_together(
            [(trial.model, _request(trial, splits)) for trial in group.trials], context
        )


def _lacking(trial: Trial, tables: dict[str, FeatureTable], context: RunContext) -> set[str]:
    """Return the keys of the tables that lack images of this trial."""
    dataset = trial.dataset
    skip, n_used = dataset.skip_broken, sum(n for _, n in dataset.used_sizes)
    by_key = {table.key: table for table in tables.values()}
    lacking = {key for key, table in by_key.items() if table.lacks(n_used, skip_broken=skip)}
    if len(lacking) == len(by_key):
        return lacking
    rows = np.arange(n_used)
    if dataset.is_drawn:
        try:
            rows = datasets.load(dataset, trial.seed, context.cache).places
        except HeadstartError:
            # The trial reports it.
            return lacking
    return {key for key, table in by_key.items() if table.lacks(rows, skip_broken=skip)}


def _table(trial: Trial, context: RunContext) -> FeatureTable:
    dataset, total = trial.dataset, sum(n for _, n in trial.dataset.sizes)
    precision = trial.setting.precision
    revision = dataset.images_revision
    return table_of(trial.model, revision, total, _resize(trial), precision, context)


def _request(trial: Trial, splits: datasets.Splits) -> FeatureRequest:
    return FeatureRequest.of(trial.dataset, splits, _resize(trial), trial.setting.precision)


def _resize(trial: Trial) -> Any:
    """How a trial resizes images; None for a method of others that does not say it so."""
    return getattr(trial.setting, "resize", None)
