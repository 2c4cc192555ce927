"""Run studies under a live display, and print their tables."""

import time
from contextlib import ExitStack
from pathlib import Path

import typer

from headstart.cli import render
from headstart.cli.progress import LiveReporter
from headstart.cli.streams import console, resumable
from headstart.context import ProgressReporter, ProgressReporters, default_cache
from headstart.devices import Device
from headstart.errors import LogError
from headstart.logs import CurveReporter, Log, open_log
from headstart.store import ResultStore
from headstart.study import Study, StudyRun, matrix_rate, outlook

__all__ = [
    "log_to",
    "run_and_show",
    "show_outlook",
    "show_run",
]

DEFAULT_LOG_FOLDER = Path("headstart-logs")


def log_to(name: str | None, folder: Path | None) -> Log | None:
    """Open the log that a command asks for, if it asks for one."""
    if name:
        return open_log(name, folder or DEFAULT_LOG_FOLDER)
    if folder:
        raise LogError(
            "--log-folder needs --log: tensorboard, mlflow or wandb", code="log.folder_alone"
        )
    return None


def run_and_show(
    study: Study,
    store: Path,
    device: Device,
    *,
    trust: bool = False,
    workers: int = 0,
    executor: str | None = None,
    keep_models: Path | None = None,
    log: Log | None = None,
) -> StudyRun:
    """Run a study under a live display, then show its table."""
    start = time.perf_counter()
    with ExitStack() as stack:
        stack.enter_context(
            resumable("finished trials are stored; run the same command again to resume")
        )
        reporter: ProgressReporter = stack.enter_context(LiveReporter(console))
        if log:
            logging = stack.enter_context(CurveReporter(log, reporter.note))
            reporter = ProgressReporters(reporter, logging)
        run = study.run(
            store,
            device=device,
            reporter=reporter,
            trust=trust,
            workers=workers,
            executor=executor,
            keep_models=keep_models,
        )
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
    """Print what a study needs: what is here, what is missing and how to get it, and how much.

    Raises
    ------
    HeadstartError
        After that, what a run would be refused for: an unknown name, a wrong option.
    """
    found = outlook(study, ResultStore(store, create=True), default_cache())
    typer.echo("\n".join(render.outlook(found, found.hours(matrix_rate()))))
    if found.refusal:
        raise found.refusal
