"""Runs the trials of a study that are not stored yet."""

import traceback
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from headstart import datasets, features, methods, models
from headstart.context import ProgressReporter, RunContext
from headstart.errors import HeadstartError
from headstart.executors import Executor, Send
from headstart.files import check_free_space, writable_folder
from headstart.methods import ResourceEstimate
from headstart.spec import Result, Trial
from headstart.store import ResultStore
from headstart.trial import run_trial

__all__ = ["StudyRun", "run_study"]

FLOAT32_BYTES = 4


@dataclass(frozen=True)
class StudyRun:
    """What became of a study's trials.

    Parameters
    ----------
    results
        Of all trials that are stored now, in the study's order.
    measured
        How many of them this run measured; the others were stored before.
    failures
        Trials that could not be measured, with their error. The next run tries them again.
    """

    results: tuple[Result, ...]
    measured: int
    failures: tuple[Result, ...]


def run_study(
    trials: list[Trial],
    store: ResultStore,
    context: RunContext,
    executor: Executor | None = None,
    *,
    whole_trials: bool = False,
) -> StudyRun:
    """Measure what is not stored, and store each result as soon as it is there.

    A trial that another process is measuring is left to it and looked at again in the end. A
    trial that fails does not stop the others. `executor` runs the candidates of a trial, trial
    after trial; in this process unless given. With `whole_trials` it runs trials beside each other,
    which is the better share where these are many and short.

    Raises
    ------
    HeadstartError
        Before anything is written: missing data or weights, no such device, no space.
    """
    stored = store.keys()
    pending = [trial for trial in trials if trial.key not in stored]
    if context.keep:
        done = [trial for trial in trials if trial.key in stored]
        for trial in done:
            # An earlier run may have ended between the result and this.
            models.settle(trial.key, context.keep)
        _tell_unkept(done, context)
    if pending:
        check_early(pending, context)
        store.make()
    if executor and whole_trials:
        outcomes = _beside_each_other(pending, store, context, executor)
    else:
        outcomes = _in_turn(pending, store, context, executor)
    by_key = {result.trial.key: result for result in store.results({trial.key for trial in trials})}
    return StudyRun(
        results=tuple(by_key[trial.key] for trial in trials if trial.key in by_key),
        measured=sum(outcome.status == "complete" for outcome in outcomes),
        failures=tuple(outcome for outcome in outcomes if outcome.status == "failed"),
    )


def _in_turn(
    pending: list[Trial], store: ResultStore, context: RunContext, executor: Executor | None
) -> list[Result]:
    reporter = context.reporter
    outcomes: list[Result] = []
    left_to_others = []
    for number, trial in enumerate(pending, start=1):
        reporter.trial_started(trial.title, number, len(pending))
        with store.claim(trial.key, wait=False) as claimed:
            if not claimed:
                left_to_others.append((number, trial))
                continue
            outcomes += _measure(trial, store, context, executor)
        reporter.trial_finished()
    for number, trial in left_to_others:
        reporter.trial_started(trial.title, number, len(pending))
        reporter.stage("waiting for another process")
        with store.claim(trial.key, wait=True):
            outcomes += _measure(trial, store, context, executor)
        reporter.trial_finished()
    return outcomes


def _beside_each_other(
    pending: list[Trial], store: ResultStore, context: RunContext, executor: Executor
) -> list[Result]:
    reporter = context.reporter
    outcomes: list[Result] = []
    away = partial(_measure_alone, store.path, replace(context, reporter=ProgressReporter()))
    reporter.stage("measuring trials", total=len(pending), unit="trials")
    for trial, outcome in executor.map(away, pending):
        outcomes += outcome
        for result in outcome:
            if result.status == "complete":
                reporter.tested(result)
        if outcome and outcome[0].error:
            reporter.note(f"{trial.title}: failed: {outcome[0].error}")
        reporter.advance()
    return outcomes


def _measure_alone(path: Path, context: RunContext, trial: Trial, _: Send) -> list[Result]:
    """Measure and store a trial wherever this runs; its predictions are in the store alone."""
    store = ResultStore(path, create=True)
    with store.claim(trial.key, wait=True):
        outcomes = _measure(trial, store, context, None)
    return [outcome.model_copy(update={"predictions": None}) for outcome in outcomes]


def check_early(trials: list[Trial], context: RunContext) -> None:
    """Find in a second what would otherwise stop the run after hours."""
    # A copy elsewhere, and images decoded otherwise, are looked at on their own.
    for dataset in {trial.dataset.model_dump_json(): trial.dataset for trial in trials}.values():
        datasets.fetch(dataset, context.cache, context.reporter)
        datasets.check_images(dataset, context.cache, context.reporter)
    needs = {trial.key: methods.needs(trial) for trial in trials}
    wanted = {t.model.weights.identity: t.model for t in trials if needs[t.key].weights}
    for model in wanted.values():
        if not models.presence(model, context.cache)[0]:
            context.reporter.note(f"fetching the weights of {model.name}")
        models.fetch(model, context.cache)
    _check_device(trials, context)
    check_free_space(context.cache, bytes_kept(needs.values()))
    writable_folder(context.cache / "features")
    if context.keep:
        n_bytes = FLOAT32_BYTES * sum(trial.model.parameters or 0 for trial in trials)
        writable_folder(context.keep)
        remedy = "keep models in a folder on another disk"
        check_free_space(context.keep, n_bytes, "trained networks", remedy)


def _tell_unkept(stored: list[Trial], context: RunContext) -> None:
    """State that networks of trials that were stored before are not there, and how to have them."""
    kept = context.keep or Path()
    lacking = [trial for trial in stored if not (kept / trial.key[: models.KEY_DIGITS]).is_dir()]
    if lacking:
        context.reporter.note(
            f"{len(lacking)} trials were stored before, and their networks are not in {kept}: "
            "another --store measures them anew"
        )


def _check_device(trials: list[Trial], context: RunContext) -> None:
    """Refuse a device, a precision or a runtime that this machine does not have."""
    # Here, since a run that finds everything stored needs no torch.
    from headstart.devices import require_fast, resolve_device

    device = resolve_device(context.device)
    for precision in {trial.setting.precision for trial in trials}:
        require_fast(precision, device)
    for precision in {t.setting.precision for t in trials if methods.needs(t).features}:
        features.choose_runtime(device.type, precision)


def bytes_kept(needs: Iterable[ResourceEstimate]) -> int:
    """Add up what trials keep: the same rows once, and of a table no more than all of it."""
    asked, whole = Counter[str](), dict[str, int]()
    for need in {(need.table, need.rows): need for need in needs}.values():
        asked[need.table] += need.n_bytes
        whole[need.table] = need.whole
    return sum(min(n_bytes, whole[table]) for table, n_bytes in asked.items())


def _measure(
    trial: Trial, store: ResultStore, context: RunContext, executor: Executor | None
) -> list[Result]:
    """Measure and store a trial; nothing if another process has stored it by now."""
    if trial.key in store:
        return []
    try:
        result = run_trial(trial, context, store, executor)
        store.add(result)
        if context.keep:
            models.settle(trial.key, context.keep)
    except HeadstartError as error:
        return [_failed(trial, str(error), context)]
    # Whatever a library may raise ends this trial alone; the place says where to look.
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        kind = f"unexpected {type(error).__name__} at {place.filename}:{place.lineno}"
        return [_failed(trial, f"{kind}: {error}".splitlines()[0], context)]
    return [result]


def _failed(trial: Trial, error: str, context: RunContext) -> Result:
    context.reporter.note(f"{trial.title}: failed: {error}")
    return Result(trial=trial, status="failed", error=error)
