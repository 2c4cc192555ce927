"""The live display: what runs, how fast, how long still."""

import time
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from headstart.cli.sweep import Sweep, candidate_line, drawn
from headstart.spec import Measurement, TrainingSetting, Trial
from headstart.workspace import TrainingProgress, Watcher

__all__ = ["LiveWatcher"]


class RateColumn(ProgressColumn):
    """Done, total and rate."""

    def render(self, task: Task) -> Text:
        """Draw one task's cell."""
        if task.total is None:
            return Text("")
        text = f"{task.completed:,.0f}/{task.total:,.0f}"
        if task.speed and task.speed >= 1:
            text += f", {task.speed:,.0f}/s"
        return Text(text, no_wrap=True)


class LiveWatcher(Watcher):
    """Draws bars on a terminal, and of a trial that trains the grid of candidates as it fills.

    The bars are those of the trials and of the current stage of the current one. Where the output
    is no terminal, a line a trial and a line a candidate are printed instead.

    Parameters
    ----------
    console
        Where to draw.
    now
        Gives seconds of some clock.
    """

    def __init__(self, console: Console, now: Callable[[], float] = time.monotonic) -> None:
        self._console, self._now = console, now
        self._progress = Progress(
            SpinnerColumn(),
            # Names of datasets are the user's: [bold] in one is no command.
            TextColumn(
                "{task.description}", markup=False, table_column=Column(overflow="ellipsis")
            ),
            BarColumn(bar_width=8),
            RateColumn(),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
        )
        # Drawn by a thread of its own.
        self._lock = Lock()
        self._all: TaskID | None = None
        self._stage: TaskID | None = None
        self._sweep: Sweep | None = None
        self._live = Live(
            console=console, get_renderable=self._drawn, transient=True, refresh_per_second=4
        )

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Where nothing was drawn, stopping would print an empty line.
        if self._console.is_terminal:
            self._live.stop()

    def trial_started(self, title: str, number: int, total: int) -> None:
        """Move the upper bar to this trial."""
        if self._all is None:
            self._all = self._progress.add_task("", total=total)
        self._progress.update(self._all, description=title)
        self._say(f"[{number}/{total}] {title}")

    def stage(self, name: str, total: int | None = None, unit: str = "") -> None:
        """Start the lower bar anew."""
        self._end_stage()
        title = f"  {name} ({unit})" if unit else f"  {name}"
        self._stage = self._progress.add_task(title, total=total)

    def advance(self, steps: int = 1) -> None:
        """Move the lower bar."""
        if self._stage is not None:
            self._progress.advance(self._stage, steps)

    def search_started(self, trial: Trial, measured: Sequence[Measurement]) -> None:
        """Begin the grid of a trial that trains."""
        if not isinstance(trial.setting, TrainingSetting):
            return
        with self._lock:
            self._sweep = Sweep(trial.setting, measured)
        if measured:
            n = trial.setting.n_measurements
            self._say(f"  {len(measured)} of {n} candidates were measured before")

    def trained(self, progress: TrainingProgress) -> None:
        """Fill in how far a network is; its line takes the place of the lower bar."""
        self._end_stage()
        if self._sweep is None:
            return
        if progress.part == "refit" and self._sweep.refit is None:
            self._say("  final training on train + validation")
        with self._lock:
            self._sweep.trained(progress, self._now())

    def measured(self, measurement: Measurement) -> None:
        """Fill in what a candidate reached."""
        if self._sweep is None:
            return
        with self._lock:
            self._sweep.measured(measurement)
        self._say(candidate_line(self._sweep, measurement, self._now()))
        if self._console.is_terminal:
            self._live.refresh()

    def trial_finished(self) -> None:
        """Move the upper bar on."""
        with self._lock:
            self._sweep = None
        if self._all is not None:
            self._progress.advance(self._all)

    def note(self, message: str) -> None:
        """Print a line above the bars."""
        # A style of the whole print would be that of the bars, too.
        self._console.print(Text(message, "yellow"))

    def _end_stage(self) -> None:
        if self._stage is not None:
            self._progress.remove_task(self._stage)
            self._stage = None

    def _say(self, line: str) -> None:
        """Print a line where nothing is drawn."""
        if not self._console.is_terminal:
            self._console.print(line, soft_wrap=True)

    def _drawn(self) -> RenderableType:
        with self._lock:
            if self._sweep is None:
                return self._progress
            return Group(self._progress, drawn(self._sweep, self._now()))
