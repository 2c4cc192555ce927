"""What each trial computes, the seconds it is expected to take, and which take far longer.

Expected are the seconds of trials like it that are stored, else its images at the rates that
`headstart plan` measured and kept. They decide which trial begins first and how long a job may
take: no number depends on them. A trial that takes far longer than its like is named: a worker may
hang, or share its machine.
"""

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from statistics import fmean, median
from threading import Lock

from headstart import methods
from headstart.context import RunContext
from headstart.errors import StudyError
from headstart.executors import ExpectedWork
from headstart.features import bytes_needed
from headstart.methods import ResourceEstimate
from headstart.spec import Model, Trial
from headstart.store import ResultStore
from headstart.study.throughput import Throughput, kept_throughput, throughput_key

__all__ = [
    "Stragglers",
    "TableShare",
    "Workload",
    "expected_costs",
    "expected_work",
    "is_late",
    "least_seconds",
    "mean_seconds",
    "workloads_of",
]

# Multiply-adds of a training step against those of a forward pass: backward takes two more.
TRAINING_PASSES = 3

# Longer than so many times the longest of its setting, of which so many are known, and so long at
# least.
FACTOR, KNOWN, SECONDS = 2.0, 3, 60.0


@dataclass(frozen=True)
class Workload:
    """What a trial, or the trials of one model and one setting, compute.

    Parameters
    ----------
    model, setting
        The model, and the setting's name and protocol.
    trials
        Number of trials that are not stored.
    steps, trained
        Updates of the search and of the final trainings, and images in them.
    evaluated
        Images of forward passes: for features, on validation and test.
    """

    model: Model
    setting: str
    trials: int = 0
    steps: int = 0
    trained: int = 0
    evaluated: int = 0

    def __add__(self, other: "Workload") -> "Workload":
        return replace(
            self,
            trials=self.trials + other.trials,
            steps=self.steps + other.steps,
            trained=self.trained + other.trained,
            evaluated=self.evaluated + other.evaluated,
        )

    def hours(self, throughput: Throughput | None) -> float | None:
        """Return the hours at a throughput; None where it is unknown."""
        parts = [
            (self.trained, throughput and throughput.training),
            (self.evaluated, throughput and throughput.forward),
        ]
        if any(images and not per_second for images, per_second in parts):
            return None
        return sum(images / per_second for images, per_second in parts if per_second) / 3600


class TableShare:
    """Images of one cached table of features; each is computed once for all trials.

    With one seed, a small number of images per class is a subset of a larger one; another seed
    draws other images.
    """

    def __init__(self, trial: Trial) -> None:
        self.model = trial.model
        self.whole: int = sum(n for _, n in trial.dataset.sizes)
        self.train: dict[int | None, int] = {}
        self.rest: dict[int | None, int] = {}

    def add(self, trial: Trial) -> None:
        """Add the images of a trial."""
        dataset, used = trial.dataset, trial.dataset.used_sizes
        drawn = trial.seed if dataset.is_drawn else None
        self.train[drawn] = max(self.train.get(drawn, 0), used.train)
        # Validation and test are whole where only images per class are limited.
        self.rest[drawn if dataset.limit else None] = used.validation + used.test

    @property
    def n_images(self) -> int:
        """Largest number of images in the table."""
        return min(sum(self.train.values()) + sum(self.rest.values()), self.whole)

    @property
    def n_bytes(self) -> int:
        """Size of their features."""
        return bytes_needed(self.model, self.n_images)


def workloads_of(
    trials: Iterable[Trial], store: ResultStore
) -> tuple[dict[str, Workload], list[TableShare], list[ResourceEstimate]]:
    """Return what each trial computes, by its key; their tables of features; what each needs.

    Features that several trials share count for the first of them. Candidates that are stored are
    not counted.
    """
    by_key = {trial.key: trial for trial in trials}
    partly = store.partly_measured(by_key)
    found: dict[str, Workload] = {}
    tables: dict[str, TableShare] = {}
    resources = []
    for key, trial in by_key.items():
        need = methods.needs(trial, store.measurements(key) if key in partly else ())
        evaluated = need.evaluated
        if need.features:
            table = tables.setdefault(need.table, TableShare(trial))
            evaluated -= table.n_images
            table.add(trial)
            evaluated += table.n_images
        found[key] = Workload(
            trial.model,
            f"{trial.setting.name} {trial.setting.protocol}",
            trials=1,
            steps=need.steps if need.batch_size else 0,
            trained=need.steps * (need.batch_size or 0),
            evaluated=evaluated,
        )
        resources.append(need)
    return found, list(tables.values()), resources


def mean_seconds(done: Iterable[tuple[Trial, float]]) -> Callable[..., float | None]:
    """Return a function: the mean of the seconds that trials like one took, None if there are none.

    Of the same model and setting; with ``any_model=True``, of the same setting.
    """
    taken: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for trial, seconds in done:
        model, setting = trial.model.name, trial.setting.name
        for like in ((model, setting), (setting,)):
            taken[like].append(seconds)
    means = {like: fmean(some) for like, some in taken.items()}

    def mean(trial: Trial, *, any_model: bool = False) -> float | None:
        setting = trial.setting.name
        return means.get((setting,) if any_model else (trial.model.name, setting))

    return mean


def expected_costs(
    pending: Sequence[Trial], stored: Sequence[Trial], store: ResultStore, context: RunContext
) -> tuple[dict[str, float], bool]:
    """Return what each pending trial is expected to cost, by key, and whether in seconds.

    Where the seconds of a trial are not known, all are in multiply-adds, which order them, too.
    `stored` are trials of the study that have a result.
    """
    workloads = workloads_of(pending, store)[0]
    times = store.times({trial.key for trial in stored})
    mean = mean_seconds((t, times[t.key][1]) for t in stored if t.key in times)
    rates = kept_throughput(context.cache, context.device)
    seconds: dict[str, float] = {}
    for trial in pending:
        rate = rates.get(throughput_key(trial.model, trial.setting.precision))
        hours = workloads[trial.key].hours(rate)
        by_rate = None if hours is None else 3600 * hours
        known = (mean(trial), by_rate, mean(trial, any_model=True))
        if (first := next((one for one in known if one is not None), None)) is not None:
            seconds[trial.key] = first
    if len(seconds) == len(pending):
        return seconds, True
    costs = [one.multiply_adds for trial in pending if (one := trial.model).multiply_adds]
    usual = median(costs) if costs else 1
    return {
        key: (TRAINING_PASSES * one.trained + one.evaluated) * (one.model.multiply_adds or usual)
        for key, one in workloads.items()
    }, False


def expected_work(
    trials: Sequence[Trial], store: ResultStore, context: RunContext
) -> ExpectedWork | None:
    """Return how long the trials that have no result are expected to take; None if unknown."""
    keys = store.keys({trial.key for trial in trials})
    pending = [trial for trial in trials if trial.key not in keys]
    stored = [trial for trial in trials if trial.key in keys]
    costs, in_seconds = expected_costs(pending, stored, store, context)
    if not (in_seconds and costs):
        return None
    return ExpectedWork(sum(costs.values()) / 60, max(costs.values()) / 60)


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
