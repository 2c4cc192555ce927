"""The live display: what runs, how fast, how long still."""

from types import TracebackType
from typing import Self

from rich.console import Console
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
from rich.text import Text

from headstart.workspace import Watcher

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
    """Draws two bars on a terminal: the trials, and the current stage of the current one.

    Where the output is no terminal, a line a trial is printed instead.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(),
            # Names of datasets are the user's: [bold] in one is no command.
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=8),
            RateColumn(),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            transient=True,
        )
        self._all: TaskID | None = None
        self._stage: TaskID | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Where nothing was drawn, stopping would print an empty line.
        if self._console.is_terminal:
            self._progress.stop()

    def trial_started(self, title: str, number: int, total: int) -> None:
        """Move the upper bar to this trial."""
        if self._all is None:
            self._all = self._progress.add_task("", total=total)
        self._progress.update(self._all, description=title)
        if not self._console.is_terminal:
            self._console.print(f"[{number}/{total}] {title}")

    def stage(self, name: str, total: int | None = None, unit: str = "") -> None:
        """Start the lower bar anew."""
        if self._stage is not None:
            self._progress.remove_task(self._stage)
        title = f"  {name} ({unit})" if unit else f"  {name}"
        self._stage = self._progress.add_task(title, total=total)

    def advance(self, steps: int = 1) -> None:
        """Move the lower bar."""
        if self._stage is not None:
            self._progress.advance(self._stage, steps)

    def trial_finished(self) -> None:
        """Move the upper bar on."""
        if self._all is not None:
            self._progress.advance(self._all)

    def note(self, message: str) -> None:
        """Print a line above the bars."""
        self._progress.console.print(message, style="yellow")
