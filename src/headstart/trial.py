"""One trial, read top to bottom: measure candidates on validation, choose, test once."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from headstart import datasets, methods, metrics, models
from headstart.context import MessageSender, RunContext, added
from headstart.executors import Executor, InProcess, Send
from headstart.labels import kind_of
from headstart.methods import PreparedTrial, TestScores, method_of
from headstart.metrics import at_chance
from headstart.spec import Candidate, Measurement, Prediction, Result, Selection, Trial
from headstart.versions import provenance

__all__ = ["TrialStore", "run_trial"]


class TrialStore(Protocol):
    """Where what was measured of a trial is kept: the results database is one."""

    def begin(self, trial: Trial) -> list[Measurement]:
        """Keep what a trial is, and return what was measured of it before."""
        ...

    def add_measurement(self, trial: str, measurement: Measurement) -> None:
        """Keep a measurement."""
        ...

    def add_selection(
        self, trial: str, selection: Selection, measurement: Measurement | None = None
    ) -> None:
        """Keep what was chosen, and the last measurement if that is not kept yet."""
        ...


def run_trial(
    trial: Trial,
    context: RunContext,
    store: TrialStore | None = None,
    executor: Executor | None = None,
) -> Result:
    """Measure one cell of the table.

    Parameters
    ----------
    trial
        What to measure.
    context
        Where and how. Where `store` is given, a network that is kept has a provisional name:
        `models.settle` gives it its own when the result is stored.
    store
        What it holds of the trial is not measured again. None forgets: the trial begins anew.
    executor
        Measures candidates and scores the test images; this process unless given. Test labels are
        opened in this process in any case.

    Raises
    ------
    HeadstartError
        Whatever makes the trial impossible. Candidates that were measured are kept then.
    """
    reporter = context.reporter
    reporter.stage("reading the dataset")
    splits = datasets.load(trial.dataset, trial.seed, context.cache, test_labels=True)
    prepared = method_of(trial).open(trial, context, splits.without_test_labels())
    # What was measured on other examples is left out: the same trial always has the same.
    before = store.begin(trial) if store else []
    measured = [measurement for measurement in before if measurement.examples == splits.revision]
    run = partial(_run, TrialJobs(trial, context, prepared), executor)
    reporter.search_started(trial, measured)

    def keep(measurement: Measurement) -> None:
        if store:
            store.add_measurement(trial.key, measurement)
        reporter.measured(measurement)

    last = _search(prepared, measured, run, keep, goes_on=executor is not None)
    selection = prepared.select(measured)
    if store:
        store.add_selection(trial.key, selection, last[0] if last else None)
    if last:
        reporter.measured(last[0])
        tested = last[1]
    else:
        (outcome,) = run([Job(selection)])
        tested = outcome.tested
    result = _scored(trial, context, splits, measured, selection, tested)
    if context.keep:
        models.describe(result, context.keep)
        if not store:
            models.settle(trial.key, context.keep)
    reporter.tested(result)
    return result


def _search(
    prepared: PreparedTrial,
    measured: list[Measurement],
    run: Callable[[list["Job"]], Iterator[Any]],
    keep: Callable[[Measurement], None],
    *,
    goes_on: bool,
) -> tuple[Measurement, TestScores] | None:
    """Measure the candidates that `measured` lacks; it grows.

    Where only one is wanted, a worker that finds the search complete goes on to the test if
    `goes_on`. What it gave is returned: that measurement is stored together with the choice, and
    reported after that as all are. Every other one is given to `keep`.
    """
    last = None
    while wanted := prepared.candidates(measured):
        before = tuple(measured) if goes_on and len(wanted) == 1 else None
        for outcome in run([Job(candidate, before) for candidate in wanted]):
            measured.append(outcome.measurement)
            if outcome.tested:
                last = (outcome.measurement, outcome.tested)
            else:
                keep(outcome.measurement)
    return last


@dataclass(frozen=True)
class Job:
    """What is run of a trial at a time: a candidate on validation, or a selection on test images.

    Parameters
    ----------
    what
        The candidate or selection.
    measured
        What was measured before, if the job is to go on to the test where `what` is the last
        candidate; else None.
    """

    what: Candidate | Selection
    measured: tuple[Measurement, ...] | None = None


@dataclass(frozen=True)
class JobOutcome:
    """What a job gave: a measurement, the scores of the test images, or both."""

    measurement: Measurement | None = None
    tested: TestScores | None = None


class TrialJobs:
    """Runs the jobs of a trial, in this process or a worker; never sees test labels.

    Pickling leaves the open trial behind: a worker opens it anew, and keeps it open for the jobs of
    the same trial that follow.

    Parameters
    ----------
    trial, context
        As in `run_trial`.
    prepared
        The open trial.
    """

    def __init__(self, trial: Trial, context: RunContext, prepared: PreparedTrial | None) -> None:
        self.trial, self.context, self._prepared = trial, context, prepared

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_prepared": None}

    def __call__(self, job: Job, send: Send) -> JobOutcome:
        prepared = self._prepared or _opened(self.trial, self.context, send)
        if isinstance(job.what, Selection):
            return JobOutcome(tested=self._test(prepared, job.what))
        measurement = prepared.measure(job.what)
        if job.measured is None or prepared.candidates([*job.measured, measurement]):
            return JobOutcome(measurement)
        selection = prepared.select([*job.measured, measurement])
        return JobOutcome(measurement, self._test(prepared, selection))

    def _test(self, prepared: PreparedTrial, selection: Selection) -> TestScores:
        tested = prepared.test(selection)
        if self.context.keep and tested.network:
            models.keep(tested.network(), self.trial.key, self.context.keep)
        return replace(tested, network=None)


@dataclass
class OpenTrial:
    """The trial that a worker process has open."""

    trial: Trial
    context: RunContext
    prepared: PreparedTrial
    sender: MessageSender


# At most one: its images or features may fill the memory of a GPU.
_open: list[OpenTrial] = []


def _opened(trial: Trial, context: RunContext, send: Send) -> PreparedTrial:
    """Return a trial open in this worker process; one that was open before is closed."""
    if _open and (_open[0].trial, _open[0].context) == (trial, context):
        _open[0].sender.send = send
        return _open[0].prepared
    _open.clear()
    sender = MessageSender(send)
    prepared = methods.open_trial(trial, replace(context, reporter=sender))
    _open.append(OpenTrial(trial, context, prepared, sender))
    return prepared


def _run(jobs: TrialJobs, executor: Executor | None, wanted: Sequence[Job]) -> Iterator[Any]:
    """Yield the outcome of each job as soon as it is there."""
    trial, reporter = jobs.trial, jobs.context.reporter
    group = (methods.needs(trial).table, trial.key)
    mapped = (executor or InProcess()).map(jobs, wanted, reporter.receive, group=group)
    return (outcome for _, outcome in mapped)


def _scored(
    trial: Trial,
    context: RunContext,
    splits: datasets.Splits,
    measured: Sequence[Measurement],
    selection: Selection,
    tested: TestScores,
) -> Result:
    """Open the test labels, score the test images, and say what made the numbers."""
    # The door opens once, and wants the choice that was made without looking.
    labels = splits.test.open(selection)[tested.places]
    example = splits.test.rows[tested.places]
    predictions = Prediction(example=example, label=labels, scores=tested.scores)
    # All metrics that fit the labels, and what the probabilities are worth.
    names = kind_of(trial.dataset.metric).metrics
    scored = {name: metrics.score(name, labels, tested.scores) for name in names}
    scored |= {name: of(labels, tested.scores) for name, of in metrics.CALIBRATION.items()}
    facts = {**provenance(), "examples": splits.revision, **tested.facts}
    if warnings := datasets.warnings_of(trial.dataset, context.cache):
        facts["data_warnings"] = warnings
    if chance := at_chance(trial.dataset.metric, labels, tested.scores):
        facts["at_chance"] = chance._asdict()
        context.reporter.note(f"warning: {trial.title}: {chance.text}")
    return Result(
        trial=trial,
        metrics=scored,
        n_test=len(labels),
        selection=selection,
        predictions=predictions,
        provenance=facts,
        seconds=added([*(m.seconds for m in measured), tested.seconds]),
    )
