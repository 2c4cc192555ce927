"""Where and how to run, who is informed of it, how long it takes. None of it changes a number."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from headstart.artifacts import ArtifactFolder, remote_cache
from headstart.devices import Device
from headstart.local_cache import default_cache
from headstart.spec import Measurement, Result, Trial, Value

__all__ = [
    "Advance",
    "Clock",
    "Message",
    "MessageSender",
    "ProgressReporter",
    "ProgressReporters",
    "RunContext",
    "Stage",
    "TrainingProgress",
    "added",
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


@dataclass(frozen=True)
class Stage:
    """A part of a trial begins in a worker process; fields as in `ProgressReporter.stage`."""

    name: str
    total: int | None
    unit: str


@dataclass(frozen=True)
class Advance:
    """The current stage of a worker process has done so many steps more."""

    steps: int


# What a reporter in a worker sends: progress, or something that a person should read.
Message = TrainingProgress | Stage | Advance | str
# Interval at which a worker sends how far a stage is.
ADVANCE_SECONDS = 0.2


class ProgressReporter:
    """Informed of the progress of a run. This base class is silent.

    Several trials may be under way at the same time, each in a thread of its own: what concerns
    one goes to the reporter that `trial_started` returns for it.
    """

    def trial_started(self, title: str, number: int, total: int) -> "ProgressReporter":  # noqa: ARG002
        """Trial `number` (from 1) of `total` begins; return the reporter of its progress.

        Number 0 is work for several trials, which is none of them.
        """
        return self

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
        """The trial of this reporter is over, with a result or without."""

    def note(self, message: str) -> None:
        """Something that a person should read, in one line."""

    def receive(self, message: Message) -> None:
        """Report what a `MessageSender` in another process has sent."""
        if isinstance(message, str):
            self.note(message)
        elif isinstance(message, Stage):
            self.stage(message.name, message.total, message.unit)
        elif isinstance(message, Advance):
            self.advance(message.steps)
        else:
            self.trained(message)


def _forwarded(name: str) -> Any:
    """Return the method of `ProgressReporters` of this name."""

    def forward(self: "ProgressReporters", *arguments: Any, **options: Any) -> None:
        for reporter in self.reporters:
            getattr(reporter, name)(*arguments, **options)

    return forward


class ProgressReporters(ProgressReporter):
    """Forwards everything to several reporters."""

    def __init__(self, *reporters: ProgressReporter) -> None:
        self.reporters = reporters

    def trial_started(self, title: str, number: int, total: int) -> ProgressReporter:
        return ProgressReporters(
            *(reporter.trial_started(title, number, total) for reporter in self.reporters)
        )

    stage = _forwarded("stage")
    advance = _forwarded("advance")
    search_started = _forwarded("search_started")
    trained = _forwarded("trained")
    measured = _forwarded("measured")
    tested = _forwarded("tested")
    trial_finished = _forwarded("trial_finished")
    note = _forwarded("note")


class MessageSender(ProgressReporter):
    """In a worker process: sends progress and notes to the coordinating process.

    Parameters
    ----------
    send
        Sends a message; it may be replaced by that of the next job.
    """

    def __init__(self, send: Callable[[Message], None]) -> None:
        self.send = send
        self._steps, self._sent = 0, 0.0

    def stage(self, name: str, total: int | None = None, unit: str = "") -> None:
        self._send_steps()
        self.send(Stage(name, total, unit))

    def advance(self, steps: int = 1) -> None:
        self._steps += steps
        if time.monotonic() - self._sent > ADVANCE_SECONDS:
            self._send_steps()

    def trained(self, progress: TrainingProgress) -> None:
        self.send(progress)

    def note(self, message: str) -> None:
        self.send(message)

    def _send_steps(self) -> None:
        if self._steps:
            self.send(Advance(self._steps))
        self._steps, self._sent = 0, time.monotonic()


@dataclass(frozen=True)
class RunContext:
    """Where and how to run, and who is informed of it.

    Pickling leaves the reporter behind: in another process the context is silent until
    `reporting_to` gives it one. With a remote cache, the default local folder stays behind, too:
    on another machine it is the default there.

    Parameters
    ----------
    device
        ``"auto"`` takes the first GPU where there is one.
    cache
        Local folder of features and downloads.
    remote
        What several machines share of it: features, prepared images and checkpoints are copied
        there, and are copied from there where the local folder lacks them. None shares nothing.
    trust
        Whether a file of weights may execute what its author wrote: a pickle of more than tensors.
    reporter
        Informed of the progress of the run.
    keep
        Folder, or object storage, for the final network of each trial; None keeps none.
    """

    device: Device = "auto"
    cache: Path = field(default_factory=default_cache)
    remote: ArtifactFolder | None = field(default_factory=remote_cache, kw_only=True)
    trust: bool = False
    reporter: ProgressReporter = field(default_factory=ProgressReporter, compare=False)
    keep: ArtifactFolder | None = None

    def reporting_to(self, send: Callable[[Message], None]) -> "RunContext":
        """Return this context with a reporter that sends its messages to another process."""
        return replace(self, reporter=MessageSender(send))

    def __getstate__(self) -> dict[str, Any]:
        state = {**self.__dict__, "reporter": ProgressReporter()}
        if self.remote and self.cache == default_cache():
            state["cache"] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if state["cache"] is None:
            self.__dict__["cache"] = default_cache()


class Clock:
    """Seconds of each named part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Time the block as `part`, also where it ends by an exception."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] = round(time.perf_counter() - start, 3)


def added(spent: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return the sum of seconds per part."""
    total: dict[str, float] = {}
    for seconds in spent:
        for part, value in seconds.items():
            total[part] = round(total.get(part, 0.0) + value, 3)
    return total
