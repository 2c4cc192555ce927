"""`headstart run` and `plan`: run a study under a live display, or estimate what it takes.

What is slow to import is imported when a command runs.
"""

import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart.cli.options import (
    BAD_INPUT,
    DEFAULT_STORE,
    DeviceOption,
    ExecutorOptions,
    LogName,
    StoreOption,
    StudyOptions,
    refuse_password,
)
from headstart.cli.output import console, echo, resumable
from headstart.errors import CommandError, LogError

if TYPE_CHECKING:
    from headstart.context import ProgressReporter
    from headstart.devices import Device
    from headstart.logs import Log
    from headstart.study import Study, StudyRun

__all__ = ["plan", "run", "run_and_show", "show_run"]

DEFAULT_LOG_FOLDER = Path("headstart-logs")


@dataclass(frozen=True)
class _KeptModels:
    """Whether and where final models are kept."""

    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the final model of each trial, in STORE.models.")
    ] = False
    keep_models: Annotated[
        str | None,
        typer.Option(
            help="Folder or URL for the final model of each trial; not kept if omitted.",
            metavar="FOLDER",
            callback=refuse_password,
        ),
    ] = None

    def place(self, store: str) -> str | None:
        """Return the folder that is asked for, if any: the one given, or that beside a store."""
        from headstart.store import ResultStore

        if self.keep_models or not self.keep:
            return self.keep_models
        place = ResultStore(store, create=True).models_place
        if place is None:
            raise CommandError(
                "--keep keeps models beside a SQLite file: with a database on a server, pass "
                "--keep-models FOLDER or URL",
                code="command.conflict",
                option="--keep",
            )
        return str(place)


@dataclass(frozen=True)
class _LogOptions:
    """Where training curves are logged, too."""

    log: Annotated[
        LogName | None,
        typer.Option(help="Experiment tracker for training curves and results; none if omitted."),
    ] = None
    log_folder: Annotated[
        str | None,
        typer.Option(help="Folder for --log (default: headstart-logs).", metavar="FOLDER"),
    ] = None

    def open(self) -> "Log | None":
        """Open the log that is asked for, if one is."""
        from headstart.logs import open_log

        if self.log_folder and "://" in self.log_folder:
            from headstart.shown_text import url_without_credentials

            shown = url_without_credentials(self.log_folder)
            raise LogError(
                f"--log-folder {shown} is a URL: logs go to a folder of this machine, pass one",
                code="log.folder_url",
                url=shown,
            )
        if self.log:
            return open_log(self.log, Path(self.log_folder or DEFAULT_LOG_FOLDER))
        if self.log_folder:
            raise LogError(
                "--log-folder needs --log: tensorboard, mlflow or wandb", code="log.folder_alone"
            )
        return None


def run(
    options: StudyOptions,
    executors: ExecutorOptions,
    kept: _KeptModels,
    logs: _LogOptions,
    store: StoreOption = DEFAULT_STORE,
    device: DeviceOption = "auto",
    print_study: Annotated[
        bool, typer.Option("--print-study", help="Print the study as a TOML file; run nothing.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="List what is missing, and estimate the cost; run nothing."),
    ] = False,
) -> None:
    """Measure models x datasets x settings. Run the same command again to resume."""
    from headstart.cli.study_options import read_study

    study, replaced = read_study(options.study, options.keys(), trust=options.trust)
    if print_study:
        echo("".join(f"# {line}\n" for line in replaced) + study.to_toml(), nl=False)
        return
    for line in replaced:
        echo(line)
    if dry_run:
        from headstart.cli.plan_tables import show_dry_run

        show_dry_run(study, store)
    elif run_and_show(
        study,
        store,
        device,
        trust=options.trust,
        keep_models=kept.place(store),
        log=logs.open(),
        **executors.keywords(),
    ).failures:
        sys.exit(BAD_INPUT)


def plan(
    options: StudyOptions,
    store: StoreOption = DEFAULT_STORE,
    device: DeviceOption = "auto",
    price: Annotated[
        float | None,
        typer.Option(
            help="Price per hour of this device, in any currency.", min=0, metavar="NUMBER"
        ),
    ] = None,
) -> None:
    """Estimate the cost of a study: steps, images, hours on this device, disk, money.

    Times a few steps of each network on random pixels; downloads nothing.
    """
    from headstart.cli.plan_tables import show_plan
    from headstart.cli.study_options import read_study

    study, replaced = read_study(options.study, options.keys(), trust=options.trust)
    for line in replaced:
        echo(line)
    show_plan(study, store, device, price)


def run_and_show(
    study: "Study",
    store: Path | str,
    device: "Device",
    *,
    trust: bool = False,
    keep_models: str | None = None,
    log: "Log | None" = None,
    **executors: Any,
) -> "StudyRun":
    """Run a study under a live display, then show its table.

    Parameters
    ----------
    executors
        Arguments of `Study.run` that say which executor runs it.
    """
    from headstart.cli.progress import LiveReporter
    from headstart.context import ProgressReporters
    from headstart.logs import CurveReporter

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
            keep_models=keep_models,
            **executors,
        )
    show_run(run, time.perf_counter() - start)
    return run


def show_run(run: "StudyRun", seconds: float) -> None:
    """Show a study's table, and what could not be measured."""
    from headstart.cli import results_tables
    from headstart.shown_text import one_line

    if run.results:
        console.print(results_tables.results(run.results))
    stored = len(run.results) - run.measured
    console.print(
        f"{run.measured} measured, {stored} already stored, {len(run.failures)} failed "
        f"({seconds:.1f} s)"
    )
    for failure in run.failures:
        echo(one_line(f"error: {failure.trial.title}: {failure.error}"), err=True)
