"""The live display: running trials, speed, time left; the grid of a search as it fills."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from threading import Event, RLock, Thread
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
from rich.table import Column, Table
from rich.text import Text

from headstart.cli.command_group import Verbosity, verbosity
from headstart.cli.output import Screen, console, resumable
from headstart.context import ProgressReporter, TrainingProgress
from headstart.shown_text import one_line
from headstart.spec import Measurement, SearchGrid, Trial, Value

__all__ = ["LiveReporter", "Sweep", "candidate_line", "drawn", "watched"]

# Seconds without a line after which one is printed where there is no terminal.
SILENCE = 10.0

RATE, DECAY, STEPS = "learning_rate", "weight_decay", "steps"
BEST, WAITING, DIVERGED = "*", "·", "div"
LEGEND = f"  % accuracy on validation, {BEST} the best; else loss in training; {WAITING} to come"
# Networks in training that have a line of their own under the grid.
SHOWN_RUNS = 4
# The speed of the final training is foreseen from so many candidates.
RECENT_RUNS = 20

# Learning rate, decay.
Pair = tuple[float, float]


@contextmanager
def watched(kept: str, *, for_programs: bool = False) -> Iterator["LiveReporter"]:
    """Show the progress of a command; Ctrl-C ends it in one line that says what is kept.

    Where the output is for programs, nothing else may be in it: progress goes to the error stream.
    """
    errors = Screen(stderr=True, markup=False, highlight=False)
    with resumable(kept), LiveReporter(errors if for_programs else console) as reporter:
        yield reporter


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


class Display(ProgressReporter):
    """What is shown of a trial, or of all that has trials in it, whose title is empty.

    `counts` is whether its end moves the bar of the trials.
    """

    def __init__(
        self,
        screen: "ProgressScreen",
        title: str = "",
        parent: "Display | None" = None,
        *,
        counts: bool = True,
    ) -> None:
        self.screen, self.title, self._parent, self._counts = screen, title, parent, counts
        self._trials: TaskID | None = None
        self._stage: TaskID | None = None
        self._stage_began = screen.now()
        self._sweep: Sweep | None = None

    def trial_started(self, title: str, number: int, total: int) -> "Display":
        """Move the bar of the trials to this one, which gets a display of its own."""
        progress = self.screen.progress
        trial = Display(self.screen, title, self, counts=number > 0)
        with self.screen.lock:
            tasks = {task.id: task for task in progress.tasks}
            # A stage before the trials, as looking at the images, is over when its bar is full.
            if self._stage is not None and tasks[self._stage].finished:
                self._end_stage()
            if self._trials is not None and tasks[self._trials].total != total:
                # Those of another study.
                progress.remove_task(self._trials)
                self._trials = None
            if self._trials is None:
                self._trials = progress.add_task("", total=total)
            self.screen.open.append(trial)
            progress.update(self._trials, description=self._description())
        self.screen.say(f"[{number}/{total}] {title}" if number else title)
        return trial

    def stage(self, name: str, total: int | None = None, unit: str = "") -> None:
        """Start the bar of the stage anew."""
        title = f"  {self._prefix()}{name} ({unit})" if unit else f"  {self._prefix()}{name}"
        with self.screen.lock:
            self._end_stage()
            self._stage = self.screen.progress.add_task(title, total=total)
            self._stage_began = self.screen.now()
        if self.screen.verbose:
            self.screen.print(Text(title if total is None else f"{title}: {total:,}"))

    def advance(self, steps: int = 1) -> None:
        """Move the bar of the stage."""
        if self._stage is not None:
            self.screen.progress.advance(self._stage, steps)

    def search_started(self, trial: Trial, measured: Sequence[Measurement]) -> None:
        """Begin the grid of a trial that trains."""
        if (grid := trial.setting.grid) is None:
            return
        with self.screen.lock:
            self._sweep = Sweep(grid, measured)
        if measured:
            n = grid.n_measurements
            self._say(f"{len(measured)} of {n} candidates were measured before")

    def trained(self, progress: TrainingProgress) -> None:
        """Fill in how far a network is; its line takes the place of the stage's bar."""
        with self.screen.lock:
            self._end_stage()
        if self._sweep is None:
            return
        if progress.part == "refit" and self._sweep.refit is None:
            self._say("final training on train + validation")
        with self.screen.lock:
            self._sweep.trained(progress, self.screen.now())

    def measured(self, measurement: Measurement) -> None:
        """Fill in what a candidate reached."""
        if self._sweep is None:
            return
        with self.screen.lock:
            self._sweep.measured(measurement)
        self._say(candidate_line(self._sweep, measurement, self.screen.now()))
        self.screen.refresh()

    def trial_finished(self) -> None:
        """Move the bar of the trials on."""
        with self.screen.lock:
            self._sweep = None
            self._end_stage()
            if self in self.screen.open:
                self.screen.open.remove(self)
            if self._parent is not None and (task := self._parent._trials) is not None:
                self.screen.progress.advance(task, int(self._counts))

    def note(self, message: str) -> None:
        """Print a line above the bars, once: two parts of a command may find the same."""
        if not self.screen.quiet and message not in self.screen.noted:
            self.screen.noted.add(message)
            # A style of the whole print would be that of the bars, too.
            self.screen.print(Text(one_line(message), "yellow"))

    def how_far(self) -> str | None:
        """Return how far the search or the stage is; None where neither was started."""
        now = self.screen.now()
        with self.screen.lock:
            if self._sweep is not None and (self._sweep.running or self._sweep.refit):
                return f"  {self._prefix()}{summary(self._sweep, now)}"
            tasks = [task for task in self.screen.progress.tasks if task.id == self._stage]
        if not tasks:
            return None
        done = RateColumn().render(tasks[0]).plain
        # Of a stage that is complete the bar stays while something else is done.
        left = tasks[0].time_remaining
        time = f"{duration(left)} left" if left else f"{duration(now - self._stage_began)} so far"
        return f"{tasks[0].description}: {f'{done}, ' if done else ''}{time}"

    def drawn(self) -> RenderableType | None:
        """Return the grid of its search, or a line of it where several trials are under way."""
        if self._sweep is None:
            return None
        if len(self.screen.open) == 1:
            return drawn(self._sweep, self.screen.now())
        return Text(f"  {self._prefix()}{summary(self._sweep, self.screen.now())}")

    def _description(self) -> str:
        under_way = [trial.title for trial in self.screen.open if trial._parent is self]
        return under_way[0] if len(under_way) == 1 else f"{len(under_way)} trials at a time"

    def _prefix(self) -> str:
        """Return which trial is meant, where several are under way."""
        several = self._parent is not None and len(self.screen.open) > 1
        return f"{self.title}: " if several else ""

    def _say(self, line: str) -> None:
        self.screen.say(f"  {self._prefix()}{line}")

    def _end_stage(self) -> None:
        if self._stage is not None:
            self.screen.progress.remove_task(self._stage)
            self._stage = None


class ProgressScreen:
    """A terminal with bars that move, or a stream of lines; `now` returns seconds of any clock."""

    def __init__(self, console: Console, now: Callable[[], float]) -> None:
        self._console, self.now = console, now
        self.progress = Progress(
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
            get_time=now,
        )
        # Drawn by a thread of its own; trials are in threads of theirs.
        self.lock = RLock()
        self.open: list[Display] = []
        self.noted: set[str] = set()
        self.quiet = verbosity() == Verbosity.QUIET
        self.verbose = verbosity() == Verbosity.VERBOSE
        self._drawing = console.is_terminal and not self.quiet
        self._spoke = now()
        self._ended = Event()
        self._live = Live(
            console=console, get_renderable=self._drawn, transient=True, refresh_per_second=4
        )

    def start(self, whole: Display) -> None:
        """Draw from now on, or print a line whenever nothing was printed for long."""
        if self._drawing:
            self._live.start()
        elif not self.quiet:
            Thread(target=self._break_silence, args=(whole,), daemon=True).start()

    def end(self) -> None:
        """Draw no more."""
        # Where nothing was drawn, stopping would print an empty line.
        self._ended.set()
        if self._drawing:
            self._live.stop()

    def refresh(self) -> None:
        """Draw now."""
        if self._drawing:
            self._live.refresh()

    def say(self, line: str) -> None:
        """Print a line where nothing is drawn."""
        if not (self._drawing or self.quiet):
            self.print(Text(line))

    def print(self, line: Text) -> None:
        """Print a line, above what is drawn."""
        self._spoke = self.now()
        self._console.print(line, soft_wrap=not self._console.is_terminal)

    def _break_silence(self, whole: Display) -> None:
        while not self._ended.wait(min(SILENCE / 10, 1.0)):
            if self.now() - self._spoke < SILENCE:
                continue
            try:
                for display in [*self.open, whole]:
                    if line := display.how_far():
                        self.print(Text(line))
            except OSError:
                # A reader that has gone: the next line of the command itself ends it.
                return

    def _drawn(self) -> RenderableType:
        with self.lock:
            grids = [grid for trial in self.open if (grid := trial.drawn()) is not None]
            return Group(self.progress, *grids)


class LiveReporter(Display):
    """Draws bars on a terminal, and of a trial that trains the grid of candidates as it fills.

    The bars are those of the trials and of the current stage of each trial under way. Where the
    output is no terminal, one line per trial and candidate is printed instead, and at least one
    every ten seconds. With ``--quiet`` nothing is printed, with ``--verbose`` a line per stage as
    well.
    """

    def __init__(self, console: Console, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__(ProgressScreen(console, now))

    def __enter__(self) -> Self:
        self.screen.start(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.screen.end()


class Sweep:
    """A search: what each candidate reached, what is trained now, what is still to be done."""

    def __init__(self, grid: SearchGrid, measured: Sequence[Measurement]) -> None:
        self.grid = grid
        self.reached: dict[tuple[Pair, int], Measurement] = {}
        self.running: dict[tuple[Pair, int], TrainingProgress] = {}
        self.refit: TrainingProgress | None = None
        self._rates: list[float] = []
        self._done = 0
        self._began: float | None = None
        for measurement in measured:
            self._keep(measurement)

    def trained(self, progress: TrainingProgress, now: float) -> None:
        """Take in how far a network is; `now` in seconds of any clock."""
        if progress.part == "refit":
            self.refit = progress
            return
        key = _key(progress.values)
        if self._began is None:
            self._began = now
        before = self.running[key].step if key in self.running else progress.step - 1
        self._done += progress.step - before
        self.running[key] = progress

    def measured(self, measurement: Measurement) -> None:
        """Take in what a candidate reached."""
        self._keep(measurement)
        if rate := measurement.facts.get("images_per_second"):
            self._rates = [*self._rates, float(rate)][-RECENT_RUNS:]

    def _keep(self, measurement: Measurement) -> None:
        key = _key(measurement.candidate.values)
        self.running.pop(key, None)
        self.reached[key] = measurement

    @property
    def n_planned(self) -> int:
        """How many candidates the search takes, those of later rungs included."""
        return self.grid.n_measurements

    @property
    def n_diverged(self) -> int:
        """How many came to nothing."""
        return sum(m.status == "diverged" for m in self.reached.values())

    @property
    def images_per_second(self) -> float | None:
        """Of all networks that are trained now, together."""
        runs = [self.refit] if self.refit else list(self.running.values())
        rates = [run.images_per_second for run in runs if run.images_per_second]
        return sum(rates) if rates else None

    def seconds_left(self, now: float) -> float | None:
        """Foresee how long the rest of the search and the final training take; None at first.

        The search goes on at its rate of steps so far, of all workers and with what lies between
        two candidates; the final training at those of one candidate.
        """
        batch = self.grid.batch_size
        if self.refit:
            rate = self.refit.images_per_second
            return (self.refit.steps - self.refit.step) * batch / rate if rate else None
        running = [run.images_per_second for run in self.running.values()]
        known = self._rates or [rate for rate in running if rate]
        if not known or not self._done or self._began is None or now <= self._began:
            return None
        searching = self._steps_left() * (now - self._began) / self._done
        return searching + self.grid.final_steps * batch / median(known)

    def _steps_left(self) -> int:
        """Steps of candidates; one that diverged takes none of its rest."""
        settled = sum(steps for _, steps in self.reached)
        under_way = sum(run.step for run in self.running.values())
        return max(0, self.grid.search_steps - settled - under_way)

    @property
    def best(self) -> Measurement | None:
        """The best of those that were trained the longest so far."""
        whole = {k: m for k, m in self.reached.items() if m.status == "complete"}
        longest = max((steps for _, steps in whole), default=0)
        return max((m for (_, s), m in whole.items() if s == longest), key=accuracy, default=None)

    def rung(self) -> tuple[int, int, int] | None:
        """Number of the rung it is at (from 1), its candidates and their steps; None of a grid."""
        keys = [*self.reached, *self.running]
        steps = max((steps for _, steps in keys), default=0)
        for number, (n, its_steps) in enumerate(self.grid.rungs, start=1):
            if its_steps >= steps:
                return number, n, its_steps
        return None


def accuracy(measurement: Measurement) -> float:
    """The best that a candidate reached on validation, by any crop: a proportion."""
    return max(float(row["accuracy"]) for row in measurement.curve)


def drawn(sweep: Sweep, now: float) -> RenderableType:
    """The grid as it fills, what is trained now, and how long it still takes."""
    said = f"  {summary(sweep, now)}"
    if (rung := sweep.rung()) and not sweep.refit:
        number, n, steps = rung
        said += f"\n  rung {number} of {len(sweep.grid.rungs)}: {n} candidates for {steps:,} steps"
    return Group(Text(said), _grid(sweep), *_runs(sweep), Text(LEGEND, "dim"))


def candidate_line(sweep: Sweep, measurement: Measurement, now: float) -> str:
    """Return in one line what a candidate reached, and how far the search is."""
    facts = measurement.facts
    if measurement.status == "diverged":
        said = [
            f"diverged at step {facts['diverged_at']:,}" if "diverged_at" in facts else DIVERGED
        ]
    else:
        said = [f"validation {100 * accuracy(measurement):.2f} %"]
        said += [f"loss {loss:.3g}" for loss in facts.get("losses", ())[-1:]]
    if rate := facts.get("images_per_second"):
        said.append(f"{rate:,.0f} images/s")
    if (left := sweep.seconds_left(now)) is not None:
        said.append(f"{duration(left)} left")
    count = f"{len(sweep.reached)}/{sweep.n_planned}"
    return f"{count} {_named(measurement.candidate.values)}: {', '.join(said)}"


def duration(seconds: float) -> str:
    """Write hours, minutes and seconds."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def summary(sweep: Sweep, now: float) -> str:
    """Return in one line how far a search is, and the time left."""
    if sweep.refit:
        said = ["final training on train + validation"]
    else:
        said = [f"{len(sweep.reached)} of {sweep.n_planned} candidates"]
        if sweep.n_diverged:
            said.append(f"{sweep.n_diverged} diverged")
    if rate := sweep.images_per_second:
        said.append(f"{rate:,.0f} images/s")
    left = sweep.seconds_left(now)
    said.append(f"{duration(left)} left" if left is not None else "time left unknown yet")
    return ", ".join(said)


def _grid(sweep: Sweep) -> Table:
    """One row per learning rate, one column per decay."""
    grid, best = sweep.grid, sweep.best
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    # As wide as the cells, which end with a mark.
    for name in ("  rate \\ decay", *(f"{_short(decay)} " for decay in grid.weight_decays)):
        table.add_column(name, justify="right", no_wrap=True)
    for rate in grid.learning_rates:
        cells = [_cell(sweep, (rate, decay), best) for decay in grid.weight_decays]
        table.add_row(_short(rate), *cells)
    return table


def _cell(sweep: Sweep, pair: Pair, best: Measurement | None) -> Text:
    """Return what a pair reached, or its loss in training; the last of several runs."""
    runs = {steps: run for (of, steps), run in sweep.running.items() if of == pair}
    if runs:
        return Text(f"{_loss(runs[max(runs)].loss)} ", "cyan")
    found = {steps: m for (of, steps), m in sweep.reached.items() if of == pair}
    if not found:
        return Text(f"{WAITING} ", "dim")
    last = found[max(found)]
    if last.status == "diverged":
        return Text(f"{DIVERGED} ", "red")
    is_best = last is best
    rung = sweep.rung()
    # What was trained for less than others are now is out of the race.
    faint = "dim" if rung and max(found) < rung[2] else ""
    mark = BEST if is_best else " "
    return Text(f"{100 * accuracy(last):.1f}%{mark}", "bold green" if is_best else faint)


def _runs(sweep: Sweep) -> Iterator[RenderableType]:
    """One line per network that is trained now."""
    runs = [sweep.refit] if sweep.refit else list(sweep.running.values())
    if not runs:
        return
    table = Table.grid(padding=(0, 2))
    for _ in range(4):
        table.add_column(no_wrap=True)
    for run in runs[:SHOWN_RUNS]:
        rate = f"{run.images_per_second:,.0f} images/s" if run.images_per_second else ""
        named = (
            f"  rate {_short(float(run.values[RATE]))}, decay {_short(float(run.values[DECAY]))}"
        )
        done = f"{run.step:,}/{run.steps:,} steps"
        table.add_row(named, done, f"loss {_loss(run.loss)}", rate)
    yield table
    if len(runs) > SHOWN_RUNS:
        yield Text(f"  and {len(runs) - SHOWN_RUNS} more")


def _named(values: dict[str, Value]) -> str:
    (rate, decay), steps = _key(values)
    return f"rate {_short(rate)}, decay {_short(decay)}, {steps:,} steps"


def _key(values: dict[str, Value]) -> tuple[Pair, int]:
    return (float(values[RATE]), float(values[DECAY])), int(float(values[STEPS]))


def _short(value: float) -> str:
    """Write a number of a grid in at most six characters: 3.2e-6, 0.032.

    Examples
    --------
    >>> [_short(value) for value in (0.0, 3.16227766e-06, 1e-05, 0.0316227766016, 1.0)]
    ['0', '3.2e-6', '1e-5', '0.032', '1']
    """
    if not 0 < value < 0.001:
        return f"{value:.2g}"
    return f"{value:.1e}".replace(".0e", "e").replace("e-0", "e-")


def _loss(loss: float) -> str:
    return f"{loss:.2f}" if loss < 100 else f"{loss:.0e}".replace("e+0", "e")
