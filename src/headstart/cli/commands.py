"""What the commands do: call the layers below and render what they give."""

import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from headstart.cli import render
from headstart.cli.progress import LiveWatcher
from headstart.errors import LogError, StudyError
from headstart.files import split_names
from headstart.logs import Log, LogWatcher, open_log
from headstart.store import ResultStore
from headstart.study import Study, StudyRun, further_study, matrix_rate, outlook
from headstart.workspace import Device, Watcher, Watchers, default_cache

__all__ = [
    "console",
    "log_to",
    "read_study",
    "run_and_show",
    "show_outlook",
    "show_run",
]

INTERRUPTED = 130
DEFAULT_LOG_FOLDER = Path("headstart-logs")
# Options that hold several values, separated by commas.
LISTS = {"models", "datasets", "settings", "seeds", "steps", "examples_per_class"}
# Rich takes 80 columns where it cannot know: too few for a table that goes to a file or a pipe.
console = Console(width=None if sys.stdout.isatty() else 120, markup=False, highlight=False)


def read_study(file: Path | None, options: dict[str, Any], *, trust: bool = False) -> Study:
    """Make a study of a file, or of the options that were given (not None)."""
    fields = {name: value for name, value in options.items() if value is not None}
    if file is not None:
        if fields:
            given = ", ".join("--" + name.replace("_", "-") for name in fields)
            raise StudyError(f"a study file and {given} were given: write all into the file")
        return Study.from_toml(file, trust=trust)
    for name in LISTS & fields.keys():
        fields[name] = split_names(fields[name])
    further = fields.pop("study", None)
    return further_study(further, fields) if further else Study(**fields)


def log_to(name: str | None, folder: Path | None) -> Log | None:
    """Open the log that a command asks for, if it asks for one."""
    if name:
        return open_log(name, folder or DEFAULT_LOG_FOLDER)
    if folder:
        raise LogError("--log-folder says where to log, and --log what: give --log, too")
    return None


def run_and_show(
    study: Study,
    store: Path,
    device: Device,
    *,
    trust: bool = False,
    workers: int = 0,
    keep_models: Path | None = None,
    log: Log | None = None,
) -> StudyRun:
    """Run a study under a live display, then show its table."""
    start = time.perf_counter()
    try:
        with ExitStack() as stack:
            watcher: Watcher = stack.enter_context(LiveWatcher(console))
            if log:
                logging = stack.enter_context(LogWatcher(log, watcher.note))
                watcher = Watchers(watcher, logging)
            run = study.run(
                store,
                device=device,
                watcher=watcher,
                trust=trust,
                workers=workers,
                keep_models=keep_models,
            )
    except KeyboardInterrupt:
        typer.echo("interrupted: finished trials are stored; the same command carries on", err=True)
        sys.exit(INTERRUPTED)
    show_run(run, time.perf_counter() - start)
    return run


def show_run(run: StudyRun, seconds: float) -> None:
    """Show a study's table, and what could not be measured."""
    if run.results:
        console.print(render.results(run.results))
    stored = len(run.results) - run.measured
    console.print(
        f"{run.measured} measured, {stored} already stored, {len(run.failures)} failed "
        f"({seconds:.1f} s)"
    )
    for failure in run.failures:
        typer.echo(f"error: {failure.trial.title}: {failure.error}", err=True)


def show_outlook(study: Study, store: Path) -> None:
    """Say what a study needs: what is here, what is missing and how to get it, and how much."""
    found = outlook(study, ResultStore(store, create=True), default_cache())
    typer.echo("\n".join(render.outlook(found, found.hours(matrix_rate()))))
