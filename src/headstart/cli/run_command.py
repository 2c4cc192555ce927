"""`headstart run`, `plan` and `status`: run a study, estimate what it takes, show how far it is."""

import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart.cli.options import (
    BAD_INPUT,
    DEFAULT_STORE,
    DeviceOption,
    ExecutorOptions,
    JsonFlag,
    LogName,
    StoreOption,
    StudyOptions,
    refuse_password,
)
from headstart.cli.output import console, echo, print_json
from headstart.errors import CommandError, LogError

if TYPE_CHECKING:
    from headstart.devices import Device
    from headstart.logs import Log
    from headstart.study import Study, StudyRun, StudyStatus

__all__ = ["integers", "plan", "read_study", "run", "run_and_show", "show_run", "status",
           "status_lines"]  # fmt: skip

DEFAULT_LOG_FOLDER = Path("headstart-logs")
WATCH_SECONDS = 5.0
# Running and failed trials that `status` lists; --json has all.
SHOWN = 20
# `0-4`, `0..4`, and a dash as word processors have it.
RANGE = re.compile(r"([0-9]+)\s*(?:-|\u2013|\.\.\.?)\s*([0-9]+)")
# More integers are a slip of the finger.
MOST = 10_000
COUNTS = (1, 10**12)
# Options that hold several integers, and what these may be.
INTEGERS: Mapping[str, tuple[int, int]] = {
    "seeds": (0, 2**32 - 1),
    "steps": COUNTS,
    "examples_per_class": COUNTS,
}


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

    study, replaced = read_study(options.study, options.keys(), trust=options.trust)
    for line in replaced:
        echo(line)
    show_plan(study, store, device, price)


def run_and_show(
    study: "Study",
    store: Path | str,
    device: "Device",
    *,
    log: "Log | None" = None,
    **options: Any,
) -> "StudyRun":
    """Run a study under a live display, then show its table; `options` are those of `Study.run`."""
    from headstart.cli.progress import watched
    from headstart.context import ProgressReporters
    from headstart.logs import CurveReporter

    start = time.perf_counter()
    kept = "finished trials are stored; run the same command again to resume"
    with watched(kept) as live, CurveReporter(log, live.note) if log else nullcontext() as curves:
        reporter = ProgressReporters(live, curves) if curves else live
        run = study.run(store, device=device, reporter=reporter, **options)
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


def status(
    options: StudyOptions,
    store: StoreOption = DEFAULT_STORE,
    price: Annotated[
        float | None,
        typer.Option(
            help="Price per hour of a device, in any currency.",
            min=0,
            metavar="NUMBER",
            show_default=False,
        ),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again every five seconds, until all is done.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Show how far a study is: done, running, failed, waiting, time left, cost so far."""
    from headstart.context import default_cache
    from headstart.errors import DatasetMissingError
    from headstart.store import ResultStore
    from headstart.study import known_trials, study_status

    study, replaced = read_study(options.study, options.keys(), trust=options.trust)
    if not json:
        for line in replaced:
            echo(line)
    results = ResultStore(store, create=True)
    n_trials: int | None = None
    try:
        trials = study.trials()
    except DatasetMissingError:
        # On this machine: the store knows those that a run has measured.
        trials, n_trials = known_trials(study, results, default_cache())
    with _screen(watch=watch and not json) as show:
        while True:
            if n_trials is not None and n_trials > len(trials):
                trials, n_trials = known_trials(study, results, default_cache())
            found = study_status(trials, results, n_trials)
            if json:
                print_json(_status_record(found))
            else:
                absent = "" if results.exists() else results.name
                show("\n".join(status_lines(found, price, absent=absent)))
            if not watch or found.n_done + len(found.failed) == found.n_trials:
                return
            time.sleep(WATCH_SECONDS)


@contextmanager
def _screen(*, watch: bool) -> Iterator[Callable[[str], None]]:
    """Return what shows a text: in the place of the one before on a terminal, else below it."""
    if not watch:
        yield echo
        return
    if console.is_terminal:
        from rich.live import Live
        from rich.text import Text

        with Live(console=console, auto_refresh=False) as live:
            yield lambda text: live.update(Text(text), refresh=True)
        return
    yield lambda text: echo(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n{text}\n")


def status_lines(
    found: "StudyStatus", price: float | None = None, *, absent: str = ""
) -> list[str]:
    """Return how far a study is, a line for each thing.

    `absent` names the store if there is none.
    """
    from headstart.cli.progress import duration
    from headstart.shown_text import one_line

    n_late = sum(one.is_late for one in found.running)
    said = [
        f"{found.n_done} of {found.n_trials} trials done, {len(found.running)} running"
        f"{f' ({n_late} slow)' if n_late else ''}, "
        f"{len(found.failed)} failed, {found.n_waiting} waiting"
    ]
    if found.per_hour is not None:
        said.append(f"{found.per_hour:,.1f} results an hour")
    left = found.n_trials - found.n_done - len(found.failed)
    if found.seconds_left is not None and left:
        by_one = "" if found.running else ", one trial at a time"
        said.append(f"{duration(found.seconds_left)} left{by_one}")
    if absent:
        said.append(one_line(f"no store at {absent} yet: run the study to begin"))
    elif left and not found.running:
        said.append("no run is under way: run the study to go on")
    spent = f"{found.seconds_spent / 3600:,.2f} device-hours so far"
    if price is not None:
        spent += f", {price * found.seconds_spent / 3600:,.2f} at {price:g} an hour"
    said.append(spent)
    # Those first that somebody has to look at.
    for one in sorted(found.running, key=lambda one: not one.is_late)[:SHOWN]:
        where = f"{one.host}, process {one.pid}, since {one.since:%Y-%m-%d %H:%M:%S} UTC"
        count = f"{one.measured} of {one.planned} candidates, " if one.planned > 1 else ""
        took = f" ({duration(one.elapsed)})"
        if one.is_late:
            took = (
                f" ({duration(one.elapsed)}; {one.n_alike} trials of setting "
                f"{one.trial.setting.name} took {duration(one.longest)} at most)"
            )
        word = "slow   " if one.is_late else "running"
        said.append(one_line(f"{word}  {one.trial.title}: {count}{where}{took}"))
    for trial, failure in found.failed[:SHOWN]:
        said.append(one_line(f"failed   {trial.title}: {failure.error}"))
    more = max(0, len(found.running) - SHOWN) + max(0, len(found.failed) - SHOWN)
    if more:
        said.append(f"and {more} more: --json lists all")
    return said


def _status_record(found: "StudyStatus") -> dict[str, Any]:
    """Return a status as JSON; trials by their keys and titles."""
    record = {
        name: value for name, value in asdict(found).items() if name not in ("running", "failed")
    }
    record["running"] = [
        {
            "trial": one.trial.key,
            "title": one.trial.title,
            "host": one.host,
            "pid": one.pid,
            "since": one.since.isoformat(),
            "measured": one.measured,
            "planned": one.planned,
            "elapsed": one.elapsed,
            "longest": one.longest if one.n_alike else None,
            "slow": one.is_late,
        }
        for one in found.running
    ]
    record["failed"] = [
        {"trial": trial.key, "title": trial.title, **failure.model_dump()}
        for trial, failure in found.failed
    ]
    return record


def read_study(
    file: Path | None, options: Mapping[str, Any], *, trust: bool = False
) -> tuple["Study", list[str]]:
    """Make a study of options, or of a file whose keys the options replace.

    Parameters
    ----------
    file
        A study file, or the name of a shipped study; None takes options alone.
    options
        By the names of the study's keys, and ``study`` for one of the further studies; None is not
        given. What they name was typed by the user: `trust` is for the file.

    Returns
    -------
    tuple
        The study, and a line for each key of the file that was replaced.
    """
    from headstart.files import split_names
    from headstart.study import Study, sweep_study

    fields = {name: value for name, value in options.items() if value is not None}
    for name, value in fields.items():
        if name in INTEGERS:
            fields[name] = integers(name.replace("_", "-"), value, *INTEGERS[name])
        elif name in ("models", "datasets", "settings"):
            fields[name] = split_names(value)
    further = fields.pop("study", None)
    if file is None:
        return (sweep_study(further, fields) if further else Study(**fields)), []
    if further:
        raise CommandError(
            f"--study {further} goes without a study file: found {file} as well",
            code="command.conflict",
            option="--study",
            file=str(file),
        )
    lines = []
    for name, value in fields.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        lines.append(f"{file}: {name} from the command line: {shown}")
    return Study.from_toml(file, trust=trust, replaced=fields), lines


def integers(option: str, text: str, lowest: int, highest: int) -> list[int]:
    """Read integers and ranges of them (``0-4``, ``0..4``), separated by commas.

    Raises
    ------
    CommandError

    Examples
    --------
    >>> integers("seeds", "0-2, 7,9..10", 0, 100)
    [0, 1, 2, 7, 9, 10]
    """
    example = f"integers, for example {lowest},{lowest + 1},{lowest + 2} or {lowest}-{lowest + 4}"
    found: list[int] = []
    for part in (part.strip() for part in text.split(",") if part.strip()):
        if span := RANGE.fullmatch(part):
            first, last = int(span[1]), int(span[2])
            if last < first:
                raise _no_integers(
                    option, part, f"a range that ends after it begins: {last}-{first}"
                )
            if last - first >= MOST:
                raise _no_integers(option, part, f"at most {MOST:,} of them")
            numbers = list(range(first, last + 1))
        elif re.fullmatch(r"[+-]?[0-9]+(_[0-9]+)*", part):
            numbers = [int(part)]
        else:
            raise _no_integers(option, part, example)
        for number in numbers:
            if not lowest <= number <= highest:
                raise _no_integers(option, part, f"integers from {lowest} to {highest}")
        found += numbers
    if not found:
        raise _no_integers(option, text, example)
    if len(found) > MOST:
        raise _no_integers(option, text, f"at most {MOST:,} of them")
    return found


def _no_integers(option: str, text: str, expected: str) -> CommandError:
    return CommandError(
        f"invalid {option} '{text[:60]}': expected {expected}",
        code="command.value",
        name=option,
        value=text,
        expected=expected,
    )
