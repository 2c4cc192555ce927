"""Where and how to run, and who is informed of it. Nothing here may change a number."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from headstart.artifacts import default_cache
from headstart.devices import Device
from headstart.spec import Measurement, Result, Trial, Value

__all__ = [
    "Message",
    "MessageSender",
    "ProgressReporter",
    "ProgressReporters",
    "RunContext",
    "TrainingProgress",
    "default_cache",
]


@dataclass(frozen=True)
class TrainingProgress:
    """How far a network of a trial is in its training: small, since it travels between processes.

    Parameters
    ----------
    part
        Whether a candidate is trained, or the choice on train + validation.
    values
        The hyperparameters it is trained with.
    step, steps
        Updates done, of how many.
    loss
        Mean over the updates since the last time.
    learning_rate
        Of the update that came last.
    images_per_second
        None until two updates are done.
    """

    part: Literal["candidate", "refit"]
    values: dict[str, Value]
    step: int
    steps: int
    loss: float
    learning_rate: float
    images_per_second: float | None


# What a reporter in a worker sends: its progress, or something that a person should read.
Message = TrainingProgress | str


class ProgressReporter:
    """Informed of the progress of a run. This base class is silent."""

    def trial_started(self, title: str, number: int, total: int) -> None:
        """Trial `number` (from 1) of `total` begins."""

    def stage(self, name: str, total: int | None = None, unit: str = "") -> None:
        """A part of the trial begins: `total` steps of `unit` if that is known."""

    def advance(self, steps: int = 1) -> None:
        """The current stage has done `steps` more."""

    def search_started(self, trial: Trial, measured: Sequence[Measurement]) -> None:
        """Candidates of the trial are measured from now on; `measured` were before."""

    def trained(self, progress: TrainingProgress) -> None:
        """A network is so far; several may be trained beside each other."""

    def measured(self, measurement: Measurement) -> None:
        """A candidate has been measured on validation."""

    def tested(self, result: Result) -> None:
        """The trial has its result."""

    def trial_finished(self) -> None:
        """The trial that began last is over, with a result or without."""

    def note(self, message: str) -> None:
        """Something that a person should read, in one line."""

    def receive(self, message: Message) -> None:
        """Report what a `MessageSender` in another process has sent."""
        if isinstance(message, str):
            self.note(message)
        else:
            self.trained(message)


class ProgressReporters(ProgressReporter):
    """Forwards everything to several reporters."""

    def __init__(self, *reporters: ProgressReporter) -> None:
        self._reporters = reporters

    def trial_started(self, title: str, number: int, total: int) -> None:
        for reporter in self._reporters:
            reporter.trial_started(title, number, total)

    def stage(self, name: str, total: int | None = None, unit: str = "") -> None:
        for reporter in self._reporters:
            reporter.stage(name, total, unit)

    def advance(self, steps: int = 1) -> None:
        for reporter in self._reporters:
            reporter.advance(steps)

    def search_started(self, trial: Trial, measured: Sequence[Measurement]) -> None:
        for reporter in self._reporters:
            reporter.search_started(trial, measured)

    def trained(self, progress: TrainingProgress) -> None:
        for reporter in self._reporters:
            reporter.trained(progress)

    def measured(self, measurement: Measurement) -> None:
        for reporter in self._reporters:
            reporter.measured(measurement)

    def tested(self, result: Result) -> None:
        for reporter in self._reporters:
            reporter.tested(result)

    def trial_finished(self) -> None:
        for reporter in self._reporters:
            reporter.trial_finished()

    def note(self, message: str) -> None:
        for reporter in self._reporters:
            reporter.note(message)


class MessageSender(ProgressReporter):
    """In a worker process: sends progress of training, and notes, to the coordinating process.

    Stages stay here: those of several workers would take turns on one progress bar.
    """

    def __init__(self, send: Callable[[Message], None]) -> None:
        self._send = send

    def trained(self, progress: TrainingProgress) -> None:
        self._send(progress)

    def note(self, message: str) -> None:
        self._send(message)


@dataclass(frozen=True)
class RunContext:
    """Where and how to run, and who is informed of it.

    Pickling leaves the reporter behind: in another process the context is silent until
    `reporting_to` gives it one.

    Parameters
    ----------
    device
        ``"auto"`` takes the first GPU where there is one.
    cache
        Folder of features and downloads.
    trust
        Whether a file of weights may execute what its author wrote: a pickle of more than tensors.
    reporter
        Informed of the progress of the run.
    keep
        Folder for the final network of each trial; None keeps none.
    """

    device: Device = "auto"
    cache: Path = field(default_factory=default_cache)
    trust: bool = False
    reporter: ProgressReporter = field(default_factory=ProgressReporter, compare=False)
    keep: Path | None = None

    def reporting_to(self, send: Callable[[Message], None]) -> "RunContext":
        """Return this context with a reporter that sends its messages to another process."""
        return replace(self, reporter=MessageSender(send))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "reporter": ProgressReporter()}
