"""The live display: what runs, how fast, and the time left."""

import time
from collections.abc import Callable, Sequence
from threading import Event, Lock, Thread
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

from headstart.cli.command_group import Verbosity, verbosity
from headstart.cli.sweep import Sweep, candidate_line, drawn, duration, summary
from headstart.context import ProgressReporter, TrainingProgress
from headstart.spec import Measurement, Trial

__all__ = ["LiveReporter"]

# Seconds without a line after which one is printed where there is no terminal.
SILENCE = 10.0


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


class LiveReporter(ProgressReporter):
    """Draws bars on a terminal, and of a trial that trains the grid of candidates as it fills.

    The bars are those of the trials and of the current stage of the current one. Where the output
    is no terminal, one line per trial and candidate is printed instead, and at least one every
    ten seconds. With ``--quiet`` nothing is printed, with ``--verbose`` a line per stage as well.

    Parameters
    ----------
    console
        Where to draw.
    now
        Seconds of any clock.
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
        self._quiet = verbosity() == Verbosity.QUIET
        self._verbose = verbosity() == Verbosity.VERBOSE
        self._drawing = console.is_terminal and not self._quiet
        self._spoke = self._stage_began = now()
        self._ended = Event()
        self._live = Live(
            console=console, get_renderable=self._drawn, transient=True, refresh_per_second=4
        )

    def __enter__(self) -> Self:
        if self._drawing:
            self._live.start()
        elif not self._quiet:
            Thread(target=self._break_silence, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        # Where nothing was drawn, stopping would print an empty line.
        self._ended.set()
        if self._drawing:
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
        self._stage_began = self._now()
        if self._verbose:
            self._print(Text(title if total is None else f"{title}: {total:,}"))

    def advance(self, steps: int = 1) -> None:
        """Move the lower bar."""
        if self._stage is not None:
            self._progress.advance(self._stage, steps)

    def search_started(self, trial: Trial, measured: Sequence[Measurement]) -> None:
        """Begin the grid of a trial that trains."""
        if (grid := trial.setting.grid) is None:
            return
        with self._lock:
            self._sweep = Sweep(grid, measured)
        if measured:
            n = grid.n_measurements
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
        if self._drawing:
            self._live.refresh()

    def trial_finished(self) -> None:
        """Move the upper bar on."""
        with self._lock:
            self._sweep = None
        if self._all is not None:
            self._progress.advance(self._all)

    def note(self, message: str) -> None:
        """Print a line above the bars."""
        if not self._quiet:
            # A style of the whole print would be that of the bars, too.
            self._print(Text(message, "yellow"))

    def _end_stage(self) -> None:
        if self._stage is not None:
            self._progress.remove_task(self._stage)
            self._stage = None

    def _say(self, line: str) -> None:
        """Print a line where nothing is drawn."""
        if not (self._drawing or self._quiet):
            self._print(Text(line))

    def _print(self, line: Text) -> None:
        self._spoke = self._now()
        self._console.print(line, soft_wrap=not self._console.is_terminal)

    def _break_silence(self) -> None:
        """Print how far the work is, whenever nothing was printed for long; ends with the block."""
        while not self._ended.wait(min(SILENCE / 10, 1.0)):
            if self._now() - self._spoke < SILENCE:
                continue
            try:
                if line := self._how_far():
                    self._print(Text(line))
            except OSError:
                # A reader that has gone: the next line of the command itself ends it.
                return

    def _how_far(self) -> str | None:
        """Return how far the search or the stage is; None where neither was started."""
        now = self._now()
        with self._lock:
            if self._sweep is not None and (self._sweep.running or self._sweep.refit):
                return summary(self._sweep, now)
        task = next((one for one in self._progress.tasks if one.id == self._stage), None)
        if task is None:
            return None
        done = RateColumn().render(task).plain
        since = duration(now - self._stage_began)
        return f"{task.description}: {f'{done}, ' if done else ''}{since}"

    def _drawn(self) -> RenderableType:
        with self._lock:
            if self._sweep is None:
                return self._progress
            return Group(self._progress, drawn(self._sweep, self._now()))
