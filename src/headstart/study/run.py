"""Runs the trials of a study that are not stored yet."""

from dataclasses import dataclass

from headstart import datasets, features, models
from headstart.errors import HeadstartError
from headstart.files import check_free_space, writable_folder
from headstart.spec import Result, Trial
from headstart.store import ResultStore
from headstart.trial import run_trial
from headstart.workspace import Workspace

__all__ = ["StudyRun", "run_study"]


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


def run_study(trials: list[Trial], store: ResultStore, workspace: Workspace) -> StudyRun:
    """Measure what is not stored, and store each result as soon as it is there.

    A trial that another process is measuring is left to it and looked at again in the end. A
    trial that fails does not stop the others.

    Raises
    ------
    HeadstartError
        Before anything runs: missing data or weights, no such device, no space, no permission.
    """
    stored = store.keys()
    pending = [trial for trial in trials if trial.key not in stored]
    if pending:
        check_early(pending, workspace)
    failures = []
    measured = 0
    left_to_others = []
    for number, trial in enumerate(pending, start=1):
        workspace.watcher.trial_started(trial.title, number, len(pending))
        outcome = _run_claimed(trial, store, workspace, wait=False)
        if outcome is None:
            left_to_others.append(trial)
        elif outcome.status == "failed":
            failures.append(outcome)
        else:
            measured += 1
        workspace.watcher.trial_finished()
    for trial in left_to_others:
        outcome = _run_claimed(trial, store, workspace, wait=True)
        if outcome is not None and outcome.status == "failed":
            failures.append(outcome)
        measured += outcome is not None and outcome.status == "complete"
    by_key = {result.trial.key: result for result in store.results()}
    results = tuple(by_key[trial.key] for trial in trials if trial.key in by_key)
    return StudyRun(results=results, measured=measured, failures=tuple(failures))


def check_early(trials: list[Trial], workspace: Workspace) -> None:
    """Find in a second what would otherwise stop the run after hours."""
    for dataset in {trial.dataset.name: trial.dataset for trial in trials}.values():
        datasets.prepare(dataset, workspace.cache)
    for model in {trial.model.name: trial.model for trial in trials}.values():
        models.require(model)
    folder = writable_folder(workspace.cache / "features")
    check_free_space(folder, sum(_feature_bytes(trial) for trial in trials))
    if workspace.device == "cuda":
        from headstart.features.forward import resolve_device

        resolve_device(workspace.device)


def _feature_bytes(trial: Trial) -> int:
    n_images = sum(size for _, size in datasets.limited_sizes(trial.dataset))
    return features.bytes_needed(trial.model, n_images)


def _run_claimed(
    trial: Trial, store: ResultStore, workspace: Workspace, *, wait: bool
) -> Result | None:
    """Measure and store a trial; None if another process has it, or has just stored it."""
    with store.claim(trial.key, wait=wait) as claimed:
        if not claimed or trial.key in store:
            return None
        try:
            result = run_trial(trial, workspace)
        except HeadstartError as error:
            workspace.watcher.note(f"{trial.title}: failed: {error}")
            return Result(trial=trial, status="failed", error=str(error))
        store.add(result)
        return result
