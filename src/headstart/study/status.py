"""How far a study is, read from its store on any machine: done, running, failed, waiting."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from headstart.spec import Failure, Measurement, Trial
from headstart.store import Lease, ResultStore
from headstart.study.workload import is_late, least_seconds, mean_seconds

__all__ = ["RunningTrial", "StudyStatus", "study_status"]

# The rate is that of the results stored last.
RECENT = 50


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
