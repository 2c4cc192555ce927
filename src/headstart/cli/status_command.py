"""`headstart status`: how far a study is, from any machine that sees its store."""

import json as json_module
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart.cli.options import DEFAULT_STORE, JsonFlag, StoreOption, StudyOptions
from headstart.cli.output import console, echo

if TYPE_CHECKING:
    from headstart.study import StudyStatus

__all__ = ["status"]

WATCH_SECONDS = 5.0
# Running and failed trials that are listed; --json has all.
SHOWN = 20


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
    from headstart.cli.study_options import read_study
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
                show(json_module.dumps(_record(found), indent=1))
            else:
                absent = "" if results.exists() else results.name
                show("\n".join(lines(found, price, absent=absent)))
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


def lines(found: "StudyStatus", price: float | None = None, *, absent: str = "") -> list[str]:
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


def _record(found: "StudyStatus") -> dict[str, Any]:
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
