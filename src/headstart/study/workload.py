"""What each trial computes, and the seconds that it is expected to take.

Expected are the seconds of trials like it that are stored, else its images at the rates that
`headstart plan` measured and kept. They decide which trial begins first and how long a job may
take: no number depends on them.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median

from headstart import methods
from headstart.context import RunContext
from headstart.executors import ExpectedWork
from headstart.features import bytes_needed
from headstart.methods import ResourceEstimate
from headstart.spec import Model, Trial
from headstart.store import ResultStore
from headstart.study.throughput import Throughput, kept_throughput, throughput_key

__all__ = [
    "TableShare",
    "Workload",
    "expected_costs",
    "expected_work",
    "mean_seconds",
    "workloads_of",
]

# Multiply-adds of a training step against those of a forward pass: backward takes two more.
TRAINING_PASSES = 3


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
    """Return what each trial is expected to cost, by its key, and whether that is in seconds.

    Where the seconds of a trial are not known, all are in multiply-adds, which order them, too.

    Parameters
    ----------
    pending
        Trials that have no result.
    stored
        Others of the study, which have one.
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
