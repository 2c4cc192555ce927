"""What goes on -> runs of a log: one a trial, one a candidate that is trained."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from headstart.logs.base import About, Log, Outcome, Parameter, Run
from headstart.spec import Measurement, Result, Trial, Value
from headstart.spec.labels import number_label
from headstart.workspace import TrainingProgress, Watcher

__all__ = ["LogWatcher"]

RATE = "learning_rate"
# A candidate with all that tells it from others of its trial.
Key = tuple[tuple[str, Value], ...]


class LogWatcher(Watcher):
    """Writes curves, choices and outcomes to a log.

    Curves are of the loss, the learning rate and images a second, at the steps at which a run is
    looked at, a few a second. A trial's own run has those of the final training, what was chosen
    and what the test images say. A log that fails, as on a full disk, is told and ends; the run
    goes on. Leaving it as a context manager ends what is open.

    Parameters
    ----------
    log
        Where to.
    note
        Told, in a line, that the log has failed.
    """

    def __init__(self, log: Log, note: Callable[[str], None] | None = None) -> None:
        self._log = log
        self._note = note or (lambda _: None)
        self._failed = False
        self._trial: Trial | None = None
        self._own: Run | None = None
        self._candidates: dict[Key, Run] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._try(lambda: self._end("interrupted" if kind else "failed"))

    def search_started(self, trial: Trial, measured: Sequence[Measurement]) -> None:  # noqa: ARG002
        """Begin the trial's run."""
        self._try(lambda: self._begin(trial))

    def trained(self, progress: TrainingProgress) -> None:
        """Add a point to the curves of a candidate, or of the trial in its final training."""
        values = {"loss": progress.loss, RATE: progress.learning_rate}
        if progress.images_per_second is not None:
            values["images_per_second"] = progress.images_per_second

        def write() -> None:
            run = self._own if progress.part == "refit" else self._candidate(progress.values)
            if run is not None:
                run.point(progress.step, values)

        self._try(write)

    def measured(self, measurement: Measurement) -> None:
        """End a candidate's run; a path of lambdas is a curve of the trial's."""
        self._try(lambda: self._measured(measurement))

    def tested(self, result: Result) -> None:
        """End the trial's run with what it chose and reached."""
        self._try(lambda: self._tested(result))

    def trial_finished(self) -> None:
        """End what is open: a trial that is over by now has failed."""
        self._try(lambda: self._end("failed"))

    def _begin(self, trial: Trial) -> None:
        self._end("failed")
        self._trial = trial
        self._own = self._log.run(About(trial, None, _parameters(trial)))

    def _candidate(self, values: Mapping[str, Value]) -> Run | None:
        """Give a candidate's run, begun if need be."""
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
            # A trial that was measured elsewhere, from its beginning to its end.
            self._begin(result.trial)
        assert self._own is not None  # noqa: S101
        chosen = result.selection.chosen if result.selection else {}
        metrics = {f"test/{name}": value for name, value in result.metrics.items()}
        self._own.end("complete", metrics, {**_parameters(result.trial), **chosen})
        self._own = None
        self._end("complete")

    def _end(self, outcome: Outcome) -> None:
        """End all that is open."""
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
        """Write, unless the log has failed: hours of training are worth more than their log."""
        if self._failed:
            return
        try:
            write()
        # Whatever a library may raise.
        except Exception as error:
            self._failed = True
            said = str(error).splitlines()[:1] or [type(error).__name__]
            self._note(f"the log ends here, the run goes on: {said[0]}")


def _parameters(trial: Trial) -> dict[str, Parameter]:
    """Say what is measured, and all of its setting that is a number, a word, yes or no."""
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
    said = (f"{n.replace('_', ' ')} {_label(value)}" for n, value in values.items())
    return ", ".join(said)


def _label(value: Value) -> str:
    return value if isinstance(value, str) else number_label(value)


def _key(values: Mapping[str, Value]) -> Key:
    return tuple(sorted(values.items()))
