"""How far a study is, read from its store on any machine; and which trials take far too long.

A trial that takes far longer than its like is named: a worker may hang, or share its machine.
"""

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Lock

from headstart.errors import StudyError
from headstart.spec import Failure, Measurement, Trial
from headstart.store import Lease, ResultStore
from headstart.study.workload import mean_seconds

__all__ = ["RunningTrial", "Stragglers", "StudyStatus", "study_status"]

# The rate is that of the results stored last.
RECENT = 50
# Longer than so many times the longest of its setting, of which so many are known, and so long at
# least.
FACTOR, KNOWN, SECONDS = 2.0, 3, 60.0


@dataclass(frozen=True)
class RunningTrial:
    """A trial that is being measured now.

    Parameters
    ----------
    trial
        The trial.
    host, pid, since
        Machine and process of the run that measures it, and when it began.
    measured, planned
        Candidates measured on validation, of how many.
    elapsed
        Seconds since it began, by the store's clock.
    n_alike, longest
        Number of trials of its setting that are done, and the computing seconds of the longest.
    is_late
        Whether it takes far longer than these: a worker of that run may hang.
    """

    trial: Trial
    host: str
    pid: int
    since: datetime
    measured: int
    planned: int
    elapsed: float = 0.0
    n_alike: int = 0
    longest: float = 0.0

    @property
    def is_late(self) -> bool:
        return is_late(self.elapsed, self.n_alike, self.longest, least_seconds())


@dataclass(frozen=True)
class StudyStatus:
    """How far a study is.

    Parameters
    ----------
    n_trials, n_done
        Trials in all, and those with a result.
    running
        Being measured now, by this or another run.
    failed
        Without a result, not running, and their last attempt failed.
    n_waiting
        All others.
    per_hour
        Results stored in an hour, over the last of them; None with fewer than two.
    seconds_left
        Time until all others are done, if as many are measured at a time as now, and if each
        takes as long as its like (its model and setting, else its setting); by one at a time where
        none is measured now; None while unknown.
    seconds_spent
        What was computed so far, added over results and candidates, those of interrupted trials,
        too: hours of devices, not of a clock.
    """

    n_trials: int
    n_done: int
    running: tuple[RunningTrial, ...]
    failed: tuple[tuple[Trial, Failure], ...]
    n_waiting: int
    per_hour: float | None
    seconds_left: float | None
    seconds_spent: float


def study_status(
    trials: Sequence[Trial], store: ResultStore, n_trials: int | None = None
) -> StudyStatus:
    """Look at what a store holds of a study, at who holds its trials, and at its failures.

    Parameters
    ----------
    trials
        The study's.
    n_trials
        Number of all, where some of them are not known: those wait.
    """
    by_key = {trial.key: trial for trial in trials}
    results = store.times(set(by_key))
    leases = [one for one in store.leases() if one.is_live and one.trial in by_key]
    leases = [one for one in leases if one.trial not in results]
    held = {lease.trial for lease in leases}
    # Of those that run, and of those that an earlier run left.
    begun = held | set(store.partly_measured(set(by_key) - set(results)))
    measured = {key: store.measurements(key) for key in begun}
    failures = {
        key: failure
        for key, failure in store.failures().items()
        if key in by_key and key not in results and key not in held
    }
    alike = defaultdict[str, list[float]](list)
    for key, (_, seconds) in results.items():
        alike[by_key[key].setting.name].append(seconds)
    total = len(by_key) if n_trials is None else n_trials
    n_left = total - len(results) - len(held) - len(failures)
    return StudyStatus(
        n_trials=total,
        n_done=len(results),
        running=tuple(_running(by_key[lease.trial], lease, measured, alike) for lease in leases),
        failed=tuple((by_key[key], failure) for key, failure in failures.items()),
        n_waiting=n_left,
        per_hour=rate_of(stored for stored, _ in results.values()),
        seconds_left=None
        if total > len(by_key)
        else seconds_left(
            [trial for key, trial in by_key.items() if key not in results and key not in failures],
            [(by_key[key], seconds) for key, (_, seconds) in results.items()],
            measured,
            len(held),
        ),
        seconds_spent=sum(seconds for _, seconds in results.values())
        + sum(sum(one.seconds.values()) for some in measured.values() for one in some),
    )


def rate_of(times: Iterable[datetime]) -> float | None:
    """Return results per hour, over the last of them; None of fewer than two, or all at once."""
    recent = sorted(times)[-RECENT:]
    hours = (recent[-1] - recent[0]).total_seconds() / 3600 if recent else 0
    return (len(recent) - 1) / hours if hours else None


def seconds_left(
    left: Sequence[Trial],
    done: Sequence[tuple[Trial, float]],
    measured: dict[str, list[Measurement]],
    running: int = 1,
) -> float | None:
    """Return the time until the trials that are left are done; None while unknown.

    `left` are trials without a result that did not fail, those that run among them; `done` those
    with a result and the seconds they took, of whose like the others are expected to be; `measured`
    candidates of the trials that were begun, by their keys; `running` how many run now.
    """
    mean, total = mean_seconds(done), 0.0
    for trial in left:
        usual = mean(trial)
        if usual is None and (usual := mean(trial, any_model=True)) is None:
            return None
        spent = sum(sum(one.seconds.values()) for one in measured.get(trial.key, ()))
        total += max(0.0, usual - spent)
    return total / max(1, running)


def _running(
    trial: Trial,
    lease: Lease,
    measured: dict[str, list[Measurement]],
    alike: Mapping[str, list[float]],
) -> RunningTrial:
    grid = trial.setting.grid
    planned = grid.n_measurements if grid else 1
    done, seconds = len(measured[trial.key]), alike.get(trial.setting.name, [])
    return RunningTrial(
        trial, lease.host, lease.pid, lease.started_at, done, planned,
        lease.age, len(seconds), max(seconds, default=0.0),
    )  # fmt: skip


class Stragglers:
    """Looks at how long trials take; each that takes too long is named once by `note`.

    `places` returns where the work of a trial, by its key, runs now; None where that is not known.
    """

    def __init__(
        self,
        note: Callable[[str], None],
        places: Callable[[str], Sequence[str]] | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._note, self._places, self._now, self._lock = note, places, now, Lock()
        self._least = least_seconds()
        self._begun: dict[str, tuple[Trial, float]] = {}
        # By setting: the number of trials, and the seconds of the longest.
        self._known: dict[str, tuple[int, float]] = {}

    def began(self, trial: Trial) -> None:
        """Note that a trial is measured from now on."""
        with self._lock:
            self._begun[trial.key] = trial, self._now()

    def ended(self, trial: Trial) -> None:
        """Note that a trial is over."""
        with self._lock:
            if found := self._begun.pop(trial.key, None):
                n, longest = self._known.get(trial.setting.name, (0, 0.0))
                self._known[trial.setting.name] = n + 1, max(longest, self._now() - found[1])

    def look(self) -> None:
        """Name those that take too long by now."""
        with self._lock:
            now, late = self._now(), list[tuple[Trial, float, int, float]]()
            for key, (trial, began) in list(self._begun.items()):
                n, longest = self._known.get(trial.setting.name, (0, 0.0))
                if is_late(now - began, n, longest, self._least):
                    # Named once; its own time is no measure of others.
                    del self._begun[key]
                    late.append((trial, now - began, n, longest))
        for trial, elapsed, n, longest in late:
            since = datetime.now(UTC) - timedelta(seconds=elapsed)
            self._note(
                f"slow: {trial.title}: under way for {_minutes(elapsed)} minutes, since "
                f"{since:%Y-%m-%d %H:%M:%S} UTC{self._where(trial)}; {n} trials of setting "
                f"{trial.setting.name} took {_minutes(longest)} at most"
            )

    def _where(self, trial: Trial) -> str:
        if self._places is None:
            return ""
        found = self._places(trial.key)
        return f", on {' and '.join(found)}" if found else ", and no worker runs a part of it now"


def is_late(elapsed: float, n_known: int, longest: float, least: float = SECONDS) -> bool:
    """Return whether a trial takes far longer than those of its setting.

    Of these `n_known` are done, the longest in so many seconds; any trial may take `least` seconds.
    """
    return n_known >= KNOWN and elapsed >= max(least, FACTOR * longest)


def least_seconds() -> float:
    """Return the seconds that any trial may take: 60, or $HEADSTART_SLOW_SECONDS.

    Raises
    ------
    StudyError
        The variable is not a number of seconds.
    """
    given = os.environ.get("HEADSTART_SLOW_SECONDS", "")
    try:
        seconds = float(given or SECONDS)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise StudyError(
            f"invalid HEADSTART_SLOW_SECONDS '{given}': expected a number of seconds, for example "
            "60",
            code="study.slow_seconds",
            found=given,
        )
    return seconds


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:,.1f}"
