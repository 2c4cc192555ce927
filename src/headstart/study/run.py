"""Runs the trials of a study that are not stored yet."""

import os
import socket
import traceback
from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from threading import Condition, Event, Thread
from types import MappingProxyType

from headstart import datasets, features, methods, models
from headstart.context import ProgressReporter, RunContext
from headstart.errors import ExecutorError, HeadstartError, WorkersLostError
from headstart.executors import Executor, Send
from headstart.files import check_free_space, writable_folder
from headstart.methods import ResourceEstimate
from headstart.methods.on_features import (
    ExtractionGroup,
    extract_group,
    plan_extractions,
)
from headstart.shown_text import without_credentials
from headstart.spec import Failure, Result, Trial
from headstart.spec.formatting import count, html_table, percent
from headstart.spec.setting import Precision
from headstart.store import ResultStore
from headstart.study.status import Stragglers
from headstart.study.workload import expected_costs
from headstart.trial import run_trial

__all__ = ["StudyRun", "check_context", "run_study"]

FLOAT32_BYTES = 4
# Characters of a failure's traceback that are kept.
LOG_LENGTH = 5000
# Interval at which lanes are looked at, and how long they have to end when they are stopped.
LOOK_SECONDS, STOP_SECONDS = 0.1, 5.0


@dataclass(frozen=True, repr=False)
class StudyRun:
    """The outcome of a study's trials.

    Parameters
    ----------
    results
        Of all trials that are stored now, in the study's order; read from the store when they are
        asked for.
    measured
        How many of them this run measured; the others were stored before.
    failures
        Trials that could not be measured, with their error. The next run tries them again.
    """

    results: Sequence[Result]
    measured: int
    failures: tuple[Result, ...]

    def __repr__(self) -> str:
        """Count the results and the failures."""
        parts = count(len(self.results), "result"), f"{self.measured:,} measured in this run"
        lines = [f"StudyRun: {', '.join(parts)}, {len(self.failures):,} failed"]
        lines += [f"  {failure!r}" for failure in self.failures[:3]]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Return a row per result and failure, for a notebook."""
        rows = [
            (trial.model.name, trial.dataset.name, trial.setting.title,
             f"{percent(one.accuracy, 2)}" if one.accuracy is not None else f"{one.error}",
             f"{one.n_test:,}")
            for one in (*self.results, *self.failures) for trial in (one.trial,)
        ]  # fmt: skip
        headings = ("Model", "Dataset", "Setting", "Accuracy %", "Test images")
        return html_table(repr(self).partition("\n")[0], headings, rows, names=3)


def run_study(
    trials: list[Trial],
    store: ResultStore,
    context: RunContext,
    executor: Executor | None = None,
) -> StudyRun:
    """Measure what is not stored, and store each result as soon as it is there.

    A trial that another process is measuring is left to it and looked at again in the end. A
    trial that fails does not stop the others.

    Parameters
    ----------
    trials
        The study's.
    store
        Where results are and go; this process alone writes them.
    context
        Where and how to run.
    executor
        Measures candidates and scores test images: one more trial than it has workers is under way
        at a time, those first that are expected to take longest. Without, this process measures
        trial after trial.

    Raises
    ------
    HeadstartError
        Before anything is written: missing data or weights, no such device, no space.
    """
    stored = store.keys({trial.key for trial in trials})
    pending = [trial for trial in trials if trial.key not in stored]
    if context.keep:
        done = [trial.key for trial in trials if trial.key in stored]
        if lacking := models.settle_all(done, context.keep):
            context.reporter.note(
                f"{count(len(lacking), 'trial')} stored before, without networks in "
                f"{context.keep}: another --store measures them again"
            )
    if pending:
        check_early(pending, context, remote=getattr(executor, "remote", False))
        store.make()
    costs: dict[str, float] = {}
    if pending and executor is not None and executor.workers > 1:
        known = [trial for trial in trials if trial.key in stored]
        costs, _ = expected_costs(pending, known, store, context)
    with store.kept_open():
        measured, failures = Lanes(pending, store, context, executor, costs).run()
    return StudyRun(store.in_order([trial.key for trial in trials]), measured, failures)


class Lanes:
    """Takes trials through their measurement, one in each lane at a time.

    A lane is a thread that waits for workers, opens test labels and stores results. Without an
    executor there is one, the caller's own thread. Features that several trials lack of the same
    images come first, from one decoding of these. Those trials begin first that cost most by
    `costs`, by their keys; without, they are in their order.
    """

    def __init__(
        self,
        pending: Sequence[Trial],
        store: ResultStore,
        context: RunContext,
        executor: Executor | None,
        costs: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        self._store, self._context, self._executor = store, context, executor
        self._total = len(pending)
        groups = plan_extractions(pending, context)
        numbered = list(enumerate(pending, start=1))
        self._waiting = deque(longest_first(numbered, costs, groups) if costs else numbered)
        if executor is not None:
            groups = shared_out(groups, executor.workers)
        # By trials that wait for them; and those that are being computed.
        self._groups = {trial.key: group for group in groups for trial in group.trials}
        self._extracting: set[int] = set()
        # Those that another process measures.
        self._left: deque[tuple[int, Trial]] = deque()
        # What is stored is not kept in memory: there may be a hundred thousand trials.
        self._n_measured, self._failed = 0, dict[int, Result]()
        self._errors: list[BaseException] = []
        self._changed, self._ended = Condition(), Event()
        # One of a plug-in may not know where its workers are.
        self._stragglers = Stragglers(context.reporter.note, getattr(executor, "places", None))

    def run(self) -> tuple[int, tuple[Result, ...]]:
        """Return how many trials were measured, and those that failed, in their order."""
        executor = self._executor
        if executor is None:
            self._lane()
            return self._outcome
        # One more than workers, so that none waits while a lane scores and stores.
        n_lanes = min(executor.workers + 1, len(self._waiting))
        lanes = [Thread(target=self._try_lane, daemon=True) for _ in range(n_lanes)]
        for lane in lanes:
            lane.start()
        try:
            while not self._errors and any(lane.is_alive() for lane in lanes):
                for lane in lanes:
                    lane.join(LOOK_SECONDS / len(lanes))
                self._stragglers.look()
            if self._errors:
                raise self._errors[0]
        except BaseException:
            self._ended.set()
            executor.stop()
            with self._changed:
                self._changed.notify_all()
            for lane in lanes:
                lane.join(STOP_SECONDS)
            raise
        return self._outcome

    @property
    def _outcome(self) -> tuple[int, tuple[Result, ...]]:
        return self._n_measured, tuple(self._failed[number] for number in sorted(self._failed))

    def _try_lane(self) -> None:
        try:
            self._lane()
        # The caller's thread raises it.
        except BaseException as error:
            self._errors.append(error)

    def _lane(self) -> None:
        while (work := self._next()) is not None:
            if isinstance(work, ExtractionGroup):
                self._extract(work)
            else:
                self._attempt(*work, wait=False)
        while (left := self._next_left()) is not None:
            self._attempt(*left, wait=True)

    def _next_left(self) -> tuple[int, Trial] | None:
        with suppress(IndexError):
            return None if self._ended.is_set() else self._left.popleft()
        return None

    def _next(self) -> tuple[int, Trial] | ExtractionGroup | None:
        """Take the first trial that can begin, or the features that the first one waits for."""
        with self._changed:
            while self._waiting and not self._ended.is_set():
                for place, (_, trial) in enumerate(self._waiting):
                    group = self._groups.get(trial.key)
                    if group is None:
                        work = self._waiting[place]
                        del self._waiting[place]
                        return work
                    if id(group) not in self._extracting:
                        self._extracting.add(id(group))
                        return group
                # All that is left waits for features that other lanes compute.
                self._changed.wait()
        return None

    def _extract(self, group: ExtractionGroup) -> None:
        """Compute features for the trials of a group, which may begin then."""
        reporter = self._context.reporter.trial_started(group.title, 0, self._total)
        context = replace(self._context, reporter=reporter)
        try:
            if self._executor is None:
                extract_group(group, context)
            else:
                job = partial(_extract, context)
                jobs = self._executor.map(job, [group], reporter.receive)
                deque(jobs, maxlen=0)
        except WorkersLostError:
            raise
        except ExecutorError as error:
            # Each trial computes its own features then.
            if not self._ended.is_set():
                reporter.note(f"{group.title}: {error}")
        with self._changed:
            for trial in group.trials:
                del self._groups[trial.key]
            self._changed.notify_all()
        reporter.trial_finished()

    def _attempt(self, number: int, trial: Trial, *, wait: bool) -> None:
        """Measure and store a trial, unless another process has or does."""
        begin = partial(self._context.reporter.trial_started, trial.title, number, self._total)
        reporter = begin() if wait else None
        if reporter:
            reporter.stage("waiting for another process")
        with self._store.claim(trial.key, wait=wait) as claimed:
            if not (claimed or wait):
                # Another process measures it, or has.
                self._left.append((number, trial))
                return
            reporter = reporter or begin()
            if claimed:
                self._stragglers.began(trial)
                outcome = self._measured(trial, reporter)
                if outcome is None:
                    self._left.append((number, trial))
                elif outcome.status == "failed":
                    self._failed[number] = outcome
                else:
                    with self._changed:
                        self._n_measured += 1
                self._stragglers.ended(trial)
        reporter.trial_finished()

    def _measured(self, trial: Trial, reporter: ProgressReporter) -> Result | None:
        """Return the outcome; None if another process took the trial over meanwhile."""
        context = replace(self._context, reporter=reporter)
        try:
            result = run_trial(trial, context, self._store, self._executor)
            self._store.add(result)
            if context.keep:
                models.settle(trial.key, context.keep)
            return result
        except WorkersLostError:
            raise
        # Whatever a library may raise ends this trial alone.
        except Exception as error:
            if getattr(error, "code", "") == "store.lease_lost":
                return None
            failure = failure_of(error)
        if not self._ended.is_set():
            reporter.note(f"{trial.title}: failed: {failure.error}")
            # The run goes on without the note of a store that cannot be written.
            with suppress(HeadstartError):
                self._store.add_failure(trial, failure)
        return Result(trial=trial, status="failed", error=failure.error)


def _extract(context: RunContext, group: ExtractionGroup, send: Send) -> None:
    extract_group(group, context, send)


def longest_first(
    numbered: Sequence[tuple[int, Trial]],
    costs: Mapping[str, float],
    groups: Sequence[ExtractionGroup],
) -> list[tuple[int, Trial]]:
    """Return trials by what they cost, so that no worker is left with a long one in the end.

    Those that wait for the features of a group have the cost of all that wait for them.
    """
    whole = dict(costs)
    for group in groups:
        together = sum(costs[trial.key] for trial in group.trials)
        whole |= {trial.key: together for trial in group.trials}
    return sorted(numbered, key=lambda pair: -whole[pair[1].key])


def shared_out(groups: Sequence[ExtractionGroup], workers: int) -> list[ExtractionGroup]:
    """Divide groups by their tables, if there are fewer than workers; a part has two or more."""
    shares = max(1, workers // max(1, len(groups)))
    parts: list[ExtractionGroup] = []
    for group in groups:
        by_table: dict[str, list[Trial]] = {}
        for trial in group.trials:
            by_table.setdefault(methods.needs(trial).table, []).append(trial)
        tables = list(by_table.values())
        n = max(1, min(shares, len(tables) // 2))
        parts += [ExtractionGroup(tuple(chain(*tables[part::n]))) for part in range(n)]
    return parts


def failure_of(error: Exception) -> Failure:
    """Return why a trial failed; an unexpected error names its place, to say where to look.

    Libraries quote URLs with their passwords: those are left out.
    """
    message, code = str(error), getattr(error, "code", "")
    if not isinstance(error, HeadstartError):
        message = f"unexpected {type(error).__name__} at {_place(error)}: {error}".splitlines()[0]
        code = ""
    message = without_credentials(message)
    log = without_credentials("".join(traceback.format_exception(error)))
    host = socket.gethostname()
    return Failure(error=message, code=code, log=log[-LOG_LENGTH:], host=host, pid=os.getpid())


def _place(error: Exception) -> str:
    """Return file and line that raised an error, in a worker process where that noted it."""
    if notes := getattr(error, "__notes__", None):
        return str(notes[-1])
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{place.filename}:{place.lineno}"


def check_early(trials: list[Trial], context: RunContext, *, remote: bool = False) -> None:
    """Find in a second what would otherwise stop the run after hours.

    With `remote`, trials run on other machines, and this one's devices do not matter.
    """
    # A copy elsewhere, and images decoded otherwise, are looked at on their own.
    for dataset in {trial.dataset.model_dump_json(): trial.dataset for trial in trials}.values():
        datasets.fetch(dataset, context.cache, context.reporter)
        datasets.check_images(dataset, context.cache, context.reporter)
    needs = {trial.key: methods.needs(trial) for trial in trials}
    wanted = {t.model.weights.identity: t.model for t in trials if needs[t.key].weights}
    for model in wanted.values():
        if not models.presence(model, context.cache)[0]:
            context.reporter.note(f"fetching the weights of {model.name}")
        models.fetch(model, context.cache)
    check_context(
        context,
        {trial.setting.precision for trial in trials},
        {trial.setting.precision for trial in trials if needs[trial.key].features},
        remote=remote,
    )
    check_free_space(context.cache, bytes_kept(needs.values()))
    if context.keep and context.keep.local:
        n_bytes = FLOAT32_BYTES * sum(trial.model.parameters or 0 for trial in trials)
        remedy = "keep models in a folder on another disk"
        check_free_space(context.keep.local, n_bytes, "trained networks", remedy)


def check_context(
    context: RunContext,
    precisions: Collection[Precision],
    of_features: Collection[Precision],
    *,
    remote: bool = False,
) -> None:
    """Refuse a device, a precision or a runtime that this machine lacks, and unwritable folders.

    Parameters
    ----------
    precisions, of_features
        Those of all settings, and of those that compute features.
    remote
        Whether trials run on other machines: this one's devices do not matter.
    """
    if not remote:
        # Here, since a run that finds everything stored needs no torch.
        from headstart.devices import require_fast, resolve_device

        device = resolve_device(context.device)
        for precision in precisions:
            require_fast(precision, device)
        for precision in of_features:
            features.choose_runtime(device.type, precision)
    writable_folder(context.cache / "features")
    if context.remote:
        context.remote.check_writable()
    if context.keep:
        context.keep.check_writable()


def bytes_kept(needs: Iterable[ResourceEstimate]) -> int:
    """Add up what trials keep: the same rows once, and of a table no more than all of it."""
    asked, whole = Counter[str](), dict[str, int]()
    for need in {(need.table, need.rows): need for need in needs}.values():
        asked[need.table] += need.n_bytes
        whole[need.table] = need.whole
    return sum(min(n_bytes, whole[table]) for table, n_bytes in asked.items())
