"""One trial, read top to bottom: measure candidates on validation, choose, test once."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

from headstart import datasets, metrics, models
from headstart.clock import added
from headstart.context import RunContext
from headstart.executors import Executor, InProcess, Send
from headstart.labels import kind_of
from headstart.methods import PreparedTrial, TestScores, method_of
from headstart.metrics import at_chance
from headstart.spec import Candidate, Measurement, Prediction, Result, Selection, Trial
from headstart.versions import provenance

__all__ = ["TrialStore", "run_trial"]


class TrialStore(Protocol):
    """Where what was measured of a trial is kept: the results database is one."""

    def add_trial(self, trial: Trial) -> None:
        """Keep what a trial is, before anything is measured of it."""
        ...

    def measurements(self, trial: str) -> list[Measurement]:
        """Return what was measured of the trial of this key."""
        ...

    def add_measurement(self, trial: str, measurement: Measurement) -> None:
        """Keep a measurement."""
        ...

    def add_selection(self, trial: str, selection: Selection) -> None:
        """Keep what was chosen."""
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
        Runs the candidates; one after the other in this process unless given.

    Raises
    ------
    HeadstartError
        Whatever makes the trial impossible. Candidates that were measured are kept then.
    """
    prepared = method_of(trial).open(trial, context)
    splits = datasets.load(trial.dataset, trial.seed, context.cache, test_labels=True)
    if store:
        store.add_trial(trial)
    measured = _still_true(store.measurements(trial.key) if store else [], splits.revision)
    run, reporter = _runner(prepared, trial, context, executor), context.reporter
    reporter.search_started(trial, measured)
    while wanted := prepared.candidates(measured):
        for measurement in run(wanted):
            measured.append(measurement)
            if store:
                store.add_measurement(trial.key, measurement)
            reporter.measured(measurement)
    selection = prepared.select(measured)
    if store:
        store.add_selection(trial.key, selection)
    tested = prepared.test(selection)
    predictions = _labelled(splits.test, selection, tested)
    seconds = added([*(m.seconds for m in measured), tested.seconds])
    facts = {**provenance(), "examples": splits.revision, **tested.facts}
    if warnings := datasets.warnings_of(trial.dataset, context.cache):
        facts["data_warnings"] = warnings
    if chance := at_chance(trial.dataset.metric, predictions.label, predictions.scores):
        facts["at_chance"] = chance._asdict()
        reporter.note(f"warning: {trial.title}: {chance.text}")
    result = _result(trial, selection, predictions, facts, seconds)
    if context.keep and tested.network:
        models.keep(tested.network(), result, context.keep)
        if not store:
            models.settle(trial.key, context.keep)
    reporter.tested(result)
    return result


def _result(
    trial: Trial,
    selection: Selection,
    predictions: Prediction,
    facts: dict[str, Any],
    seconds: dict[str, float],
) -> Result:
    """Score the predictions."""
    return Result(
        trial=trial,
        metrics=_scored(trial, predictions),
        n_test=len(predictions.label),
        selection=selection,
        predictions=predictions,
        provenance=facts,
        seconds=seconds,
    )


def _labelled(test: datasets.SealedTest, selection: Selection, tested: TestScores) -> Prediction:
    """Open the door, once: it wants the choice that was made without looking."""
    labels = test.open(selection)[tested.places]
    return Prediction(example=test.rows[tested.places], label=labels, scores=tested.scores)


def _scored(trial: Trial, predictions: Prediction) -> dict[str, float]:
    """Compute all metrics that fit the labels, and what the probabilities are worth."""
    labels, scores = predictions.label, predictions.scores
    names = kind_of(trial.dataset.metric).metrics
    scored = {name: metrics.score(name, labels, scores) for name in names}
    calibration = {name: of(labels, scores) for name, of in metrics.CALIBRATION.items()}
    return {**scored, **calibration}


def measure(trial: Trial, context: RunContext, candidate: Candidate, send: Send) -> Measurement:
    """Measure a candidate wherever this runs: it takes all that it needs from its arguments."""
    prepared = method_of(trial).open(trial, context.reporting_to(send))
    return prepared.measure(candidate)


def _runner(
    prepared: PreparedTrial, trial: Trial, context: RunContext, executor: Executor | None
) -> Any:
    """Return what measures candidates, and yields each measurement as soon as it is there."""

    def here(candidate: Candidate, _: Send) -> Measurement:
        return prepared.measure(candidate)

    def run(candidates: Sequence[Candidate]) -> Any:
        if executor:
            context.reporter.stage("measuring candidates in worker processes")
            away, on_message = (
                partial(measure, trial, context),
                context.reporter.receive,
            )
            mapped = executor.map(away, candidates, on_message)
        else:
            mapped = InProcess().map(here, candidates)
        return (measurement for _, measurement in mapped)

    return run


def _still_true(measured: Sequence[Measurement], examples: str) -> list[Measurement]:
    """Leave out what was measured on other examples: the same trial always has the same."""
    return [measurement for measurement in measured if measurement.examples == examples]
