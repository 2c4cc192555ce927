"""The miniature, part by part: pretraining, transfer, ablation, convergence, dataset size."""

import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import monotonic
from types import MappingProxyType
from typing import Any

from headstart.context import ProgressReporter, RunContext
from headstart.contrib.miniature.scale import ChainScale, short
from headstart.errors import HeadstartError, StorageError
from headstart.executors import Executor
from headstart.files import replaced, storage_errors, writable_folder
from headstart.pretraining import PretrainJob, make_recipe, pretrain_all
from headstart.spec import Recipe, Result, Trial
from headstart.store import DATABASE_NAME, ResultStore
from headstart.study import Study
from headstart.study.run import run_study
from headstart.study.sweep_studies import configurations, possible

__all__ = ["STAGES", "Miniature", "TimingLog", "run_miniature"]

ABLATION = "ablation"
# The ablation's networks start from other random weights than those of the main study: with equal
# weights they would be the same trials.
MAIN_SEED, ABLATION_SEED = 0, 1


class TimingLog:
    """Seconds of each stage in a JSON file, including those of earlier runs.

    Parameters
    ----------
    file
        Read if it exists; written after each stage, even an interrupted one.
    facts
        Additional entries: the command, the scale, the device.

    Raises
    ------
    StorageError
        The file exists and is not a timing log.
    """

    def __init__(self, file: Path, facts: dict[str, Any]) -> None:
        self._file = file
        self._facts = {**facts, "processors": os.cpu_count(), "platform": platform.platform()}
        self.seconds: dict[str, float] = {}
        if file.exists():
            with storage_errors(file, reading=True):
                text = file.read_text(encoding="utf-8")
            try:
                self.seconds = {name: float(s) for name, s in json.loads(text)["seconds"].items()}
            except (ValueError, KeyError, AttributeError, TypeError) as error:
                raise StorageError(
                    f"timing log {file} is damaged ({type(error).__name__}): remove it; what was "
                    "measured is in the store",
                    code="miniature.timing_damaged",
                    path=str(file),
                ) from error

    @property
    def total(self) -> float:
        """Total seconds of all stages."""
        return sum(self.seconds.values())

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block as part of a stage."""
        began = monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + monotonic() - began
            self._write()

    def _write(self) -> None:
        rounded = {name: round(seconds, 1) for name, seconds in self.seconds.items()}
        content = {**self._facts, "seconds": rounded, "minutes": round(self.total / 60, 1)}
        with replaced(self._file) as temporary:
            temporary.write_text(
                json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
            )


@dataclass(frozen=True)
class Miniature:
    """Outcome of a run of the miniature.

    Parameters
    ----------
    store
        Store with all results.
    failures
        Failed trials; the next run tries them again.
    timing_log
        Time of each part.
    """

    store: ResultStore
    failures: tuple[Result, ...]
    timing_log: TimingLog


def run_miniature(
    scale: ChainScale,
    out: Path,
    context: RunContext,
    executor: Executor | None = None,
    facts: Mapping[str, Any] = MappingProxyType({}),
) -> Miniature:
    """Run the miniature part by part, without the trials that are already stored.

    Parameters
    ----------
    scale
        Size of the miniature.
    out
        Folder of the results database and the timing log.
    context
        Where to run; its cache holds networks and images.
    executor
        Runs networks and trials in parallel; by default one by one in this process.
    facts
        Additional entries of the timing log.

    Raises
    ------
    HeadstartError
        A network cannot be pretrained, disk space is too small, or the device is missing.
    """
    store = ResultStore(writable_folder(out) / DATABASE_NAME, create=True)
    timing_log = TimingLog(out / "miniature.json", {"scale": scale.name, **facts})
    part = partial(_part, timing_log, context)
    with part("pretraining") as own:
        jobs = to_pretrain(scale, own)
        _pretrain_all(jobs, own, executor)
    failures: list[Result] = []
    for name, fields_of in STUDIES.items():
        with part(name) as own:
            trials = _trials(scale, fields_of(scale, jobs), own.reporter)
            if name == ABLATION:
                # The store's order is that of configurations in reports: run these in order.
                cell = trials[0].dataset, trials[0].setting
                first = [trial for trial in trials if (trial.dataset, trial.setting) == cell]
                run_study(first, store, own)
            run = run_study(trials, store, own, executor)
            failures += run.failures
    return Miniature(store, tuple(failures), timing_log)


def _trials(
    scale: ChainScale, fields: Mapping[str, Any], reporter: ProgressReporter
) -> list[Trial]:
    """Expand a study into trials, with the limit of each dataset."""
    by_limit: dict[int | None, list[str]] = {}
    for name in fields["datasets"]:
        by_limit.setdefault(scale.targets[name], []).append(name)
    studies = [
        Study(**{**fields, "datasets": names, "limit": limit}) for limit, names in by_limit.items()
    ]
    return [trial for study in studies for trial in study.trials(reporter)]


def to_pretrain(scale: ChainScale, context: RunContext) -> list[PretrainJob]:
    """Return the jobs of the main study, then those of the ablation."""

    def recipe(arch: str, seed: int) -> Recipe:
        return make_recipe(
            arch,
            scale.upstream,
            limit=scale.upstream_limit,
            reporter=context.reporter,
            seed=seed,
            **scale.pretraining,
        )

    mains = [
        PretrainJob(recipe(arch, MAIN_SEED), scale.name_of(arch), short(arch))
        for arch in scale.networks
    ]
    others = [
        PretrainJob(of, scale.name_of(arch, configuration), short(arch), configuration)
        for arch in scale.ablated
        for configuration, of in possible(
            configurations(recipe(arch, ABLATION_SEED)), context
        ).items()
    ]
    return mains + others


def _pretrain_all(
    jobs: Sequence[PretrainJob], context: RunContext, executor: Executor | None
) -> None:
    """Train all networks that are not registered yet; raise the first error."""
    for _, outcome in pretrain_all(jobs, context, executor):
        if isinstance(outcome, HeadstartError):
            raise outcome


def _main_study(scale: ChainScale, jobs: Sequence[PretrainJob]) -> dict[str, Any]:
    models = [one.found_by for one in jobs if one.configuration is None]
    return {"models": models, "datasets": tuple(scale.targets), "settings": scale.settings}


def _ablation(scale: ChainScale, jobs: Sequence[PretrainJob]) -> dict[str, Any]:
    models = [one.found_by for one in jobs if one.configuration is not None]
    chosen = [scale.setting(name) for name in scale.ablation_settings]
    return {"models": models, "datasets": tuple(scale.targets), "settings": chosen}


def _convergence(scale: ChainScale, _: Sequence[PretrainJob]) -> dict[str, Any]:
    model = f"pretrained:{scale.name_of(scale.convergence_model)}"
    curves = [scale.setting(name, steps=list(steps)) for name, steps in scale.curve_steps.items()]
    return {"models": [model], "datasets": scale.curve_targets, "settings": curves}


def _dataset_size(scale: ChainScale, _: Sequence[PretrainJob]) -> dict[str, Any]:
    model = f"pretrained:{scale.name_of(scale.size_model)}"
    swept = {"examples_per_class": scale.examples_per_class, "seeds": scale.seeds}
    study = {"models": [model], "datasets": scale.size_targets, "settings": scale.settings}
    return {**study, **swept}


STUDIES: dict[str, Callable[[ChainScale, Sequence[PretrainJob]], dict[str, Any]]] = {
    "transfer": _main_study,
    ABLATION: _ablation,
    "convergence": _convergence,
    "dataset size": _dataset_size,
}
STAGES = ("pretraining", *STUDIES)


@contextmanager
def _part(timing_log: TimingLog, context: RunContext, name: str) -> Iterator[RunContext]:
    """Measure the time of a part; its context has a reporter of its own."""
    reporter = context.reporter.trial_started(name, STAGES.index(name) + 1, len(STAGES))
    with timing_log.stage(name):
        yield replace(context, reporter=reporter)
    reporter.trial_finished()
