"""A reporter that writes runs of a log: one per trial, and one per trained candidate."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from threading import Lock
from typing import Any, Self

from headstart.context import ProgressReporter, TrainingProgress
from headstart.logs.trackers import About, Log, Outcome, Parameter, Run
from headstart.spec import Measurement, Result, Trial, Value
from headstart.spec.formatting import number_label

__all__ = ["CurveReporter"]

RATE = "learning_rate"
# Hyperparameters that identify a candidate within its trial.
Key = tuple[tuple[str, Value], ...]


class CurveReporter(ProgressReporter):
    """Writes training curves, selections and outcomes to a log.

    Curves show loss, learning rate and images per second, a few points per second. The run of a
    trial has the curves of the final training, the selection and the test metrics. If the log
    fails, for example on a full disk, logging ends with a note and training continues. Used as a
    context manager, it ends all open runs.

    Each trial is written by a reporter of its own; they take turns at the log.

    Parameters
    ----------
    log
        Destination.
    note
        Receives one line if the log fails.
    """

    def __init__(self, log: Log, note: Callable[[str], None] | None = None) -> None:
        self._log = log
        self._note = note or (lambda _: None)
        # Reporters of trials under way; itself of what is outside of any.
        self._trials: list[CurveReporter] = []
        self._parent = self
        self._lock, self._failed = Lock(), False
        self._trial: Trial | None = None
        self._own: Run | None = None
        self._candidates: dict[Key, Run] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for reporter in [*self._trials, self]:
            reporter._try(partial(reporter._end, "interrupted" if kind else "failed"))

    def trial_started(self, title: str, number: int, total: int) -> "CurveReporter":  # noqa: ARG002
        """Return a reporter of this trial."""
        trial = CurveReporter(self._log, self._note)
        trial._parent = self._parent
        self._parent._trials.append(trial)
        return trial

    def search_started(self, trial: Trial, measured: Sequence[Measurement]) -> None:  # noqa: ARG002
        """Start the run of the trial."""
        self._try(lambda: self._begin(trial))

    def trained(self, progress: TrainingProgress) -> None:
        """Add a point to the curves of a candidate, or of the trial's final training."""
        values = {"loss": progress.loss, RATE: progress.learning_rate}
        if progress.images_per_second is not None:
            values["images_per_second"] = progress.images_per_second

        def write() -> None:
            run = self._own if progress.part == "refit" else self._candidate(progress.values)
            if run is not None:
                run.point(progress.step, values)

        self._try(write)

    def measured(self, measurement: Measurement) -> None:
        """End the run of a candidate; a path of lambdas becomes a curve of the trial's run."""
        self._try(lambda: self._measured(measurement))

    def tested(self, result: Result) -> None:
        """End the run of the trial with its selection and test metrics."""
        self._try(lambda: self._tested(result))

    def trial_finished(self) -> None:
        """End open runs: a trial that has not been tested by now has failed."""
        self._try(lambda: self._end("failed"))
        if self in self._parent._trials:
            self._parent._trials.remove(self)

    def _begin(self, trial: Trial) -> None:
        self._end("failed")
        self._trial = trial
        self._own = self._log.run(About(trial, None, _parameters(trial)))

    def _candidate(self, values: Mapping[str, Value]) -> Run | None:
        """Return the run of a candidate; start it on first use."""
        if self._trial is None:
            return None
        key = _key(values)
        if key not in self._candidates:
            parameters = {**_parameters(self._trial), **values}
            about = About(self._trial, _named(values), parameters)
            self._candidates[key] = self._log.run(about)
        return self._candidates[key]

    def _measured(self, measurement: Measurement) -> None:
        trial, values = self._trial, measurement.candidate.values
        if trial is None or self._own is None:
            return
        metric = f"validation/{trial.dataset.metric}"
        if RATE not in values:
            for place, row in enumerate(measurement.curve):
                point = {"lambda": float(row["lambda"]), metric: float(row["accuracy"])}
                self._own.point(place, point)
            return
        reached: dict[str, float] = {}
        if measurement.status == "complete":
            reached = {
                f"validation/{row['crop']}/{trial.dataset.metric}": float(row["accuracy"])
                for row in measurement.curve
            }
            reached[metric] = max(reached.values())
        if (run := self._candidate(values)) is not None:
            run.end(measurement.status, reached, {**_parameters(trial), **values})
        del self._candidates[_key(values)]

    def _tested(self, result: Result) -> None:
        if self._trial is None or self._trial.key != result.trial.key:
            # A trial that ran entirely in a worker process.
            self._begin(result.trial)
        assert self._own is not None  # noqa: S101
        chosen = result.selection.chosen if result.selection else {}
        metrics = {f"test/{name}": value for name, value in result.metrics.items()}
        self._own.end("complete", metrics, {**_parameters(result.trial), **chosen})
        self._own = None
        self._end("complete")

    def _end(self, outcome: Outcome) -> None:
        """End all open runs."""
        trial, own = self._trial, self._own
        open_runs, self._candidates = self._candidates, {}
        self._trial = self._own = None
        if trial is None:
            return
        for key, run in open_runs.items():
            run.end(outcome, {}, {**_parameters(trial), **dict(key)})
        if own is not None:
            own.end(outcome, {}, _parameters(trial))

    def _try(self, write: Callable[[], None]) -> None:
        """Write unless the log has failed; a failure must not stop training."""
        log = self._parent
        with log._lock:
            if log._failed:
                return
            try:
                write()
            # Logging libraries may raise anything.
            except Exception as error:
                log._failed = True
                said = str(error).splitlines()[:1] or [type(error).__name__]
                self._note(f"the log ends here, the run goes on: {said[0]}")


def _parameters(trial: Trial) -> dict[str, Parameter]:
    """Return the parameters of a trial, with all scalar options of its setting."""
    setting: dict[str, Any] = trial.setting.model_dump(mode="json", exclude={"name"})
    plain = {n: v for n, v in setting.items() if isinstance(v, str | int | float | bool)}
    few = trial.dataset.examples_per_class
    sized = {"limit": trial.dataset.limit, "examples_per_class": few}
    return {
        "model": trial.model.name,
        "weights": trial.model.weights_name,
        "dataset": trial.dataset.name,
        "setting": trial.setting.name,
        "seed": trial.seed,
        "trial": trial.key,
        **{name: value for name, value in sized.items() if value is not None},
        **plain,
    }


def _named(values: Mapping[str, Value]) -> str:
    said = (f"{n.replace('_', ' ')} {number_label(value)}" for n, value in values.items())
    return ", ".join(said)


def _key(values: Mapping[str, Value]) -> Key:
    return tuple(sorted(values.items()))
