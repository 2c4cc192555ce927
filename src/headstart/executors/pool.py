"""A pool of workers: who runs which item next, what becomes of the items of a worker that dies.

Each engine (processes, a cluster) brings a `Worker` that runs one item at a time; a thread of this
process waits for it. Items of all calls of `map` lie in one queue.
"""

import errno
import os
import pickle
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from threading import Condition, Thread
from typing import Any, Protocol, Self, TypeVar

from headstart.errors import (
    DiskFullError,
    ExecutorError,
    HeadstartError,
    NotWritableError,
    StorageError,
    WorkersLostError,
)
from headstart.executors.executor import Send, ignore
from headstart.files import FULL, free_bytes, name_from_text, name_in_text, writable_folder

__all__ = ["Worker", "WorkerDiedError", "WorkerPool", "packed_answer"]

Item = TypeVar("Item")
Value = TypeVar("Value")
# How often an item is run before it counts as one that kills its worker, or fills each disk.
TRIES = 3
# How often the disk of a machine that is full is looked at, and the bytes that have to be freed.
REST_SECONDS, FREED_BYTES = 30.0, 10**8
# How long a worker that is being started counts as one that others wait for.
HOPE_SECONDS = 600.0
# How often a worker is started, one time after the other, before the pool gives up.
STARTS = 3
# Trials whose beginning is remembered: more than are under way at a time.
REMEMBERED = 1000
# More are a slip: each has a thread of its own here.
MOST_WORKERS = 10_000
# Seconds that the threads of workers have to end after the workers were stopped.
STOP_SECONDS = 4


class WorkerDiedError(Exception):
    """A worker ended before its item had a value. The pool starts another one."""


class DiskFaultError(Exception):
    """The disk of a worker's machine is full, or cannot be written. Other machines may be well.

    `error` is what the item raised; `free` the bytes that could be written when it had ended.
    """

    def __init__(self, error: Exception, folder: str, free: int, reason: str) -> None:
        super().__init__(error, folder, free, reason)
        self.error, self.folder, self.free, self.reason = error, folder, free, reason


class Worker(Protocol):
    """A process, here or elsewhere, that runs one item at a time.

    `place` is where it runs, for a person; workers with the same name of their `machine` share a
    disk.
    """

    place: str
    machine: str

    def run(self, function: Callable[[Any, Send], Any], item: Any, on_message: Send) -> Any:
        """Return the value of an item, or raise what the function raised.

        Raises
        ------
        WorkerDiedError
            The process ended, or `stop` was called.
        DiskFaultError
            The function met a full disk (`packed_answer`).
        """
        ...

    def stop(self) -> None:
        """End the process at once, from any thread."""
        ...


@dataclass(eq=False)
class QueuedItem:
    """An item of a call of `map` that has no value yet."""

    function: Callable[[Any, Send], Any]
    item: Any
    group: tuple[str, str]
    # Pairs of ("message" or "value" or "error", what it is), in order.
    answers: "SimpleQueue[tuple[str, QueuedItem, Any]]"
    order: int
    begun: int = 0
    tries: int = 0
    disk_faults: int = 0
    cancelled: bool = False


@dataclass
class Schedule:
    """Which job comes next: pure but for its own state, under the pool's lock.

    Trials that were begun first are ended first. A worker keeps to the trial that it has open, and
    several work on one trial only when all trials are being worked on; of trials that share data,
    such as features that one of them computes for all, only one is begun at a time as long as there
    are others.
    """

    waiting: list[QueuedItem] = field(default_factory=list)
    serving: dict[int, QueuedItem] = field(default_factory=dict)
    # Of trials, those asked for last at the end.
    begun: dict[str, int] = field(default_factory=dict)

    def add(self, job: QueuedItem) -> None:
        """Put a job into the queue."""
        trial = job.group[-1]
        job.begun = self.begun[trial] = self.begun.pop(trial, job.order)
        if len(self.begun) > REMEMBERED:
            del self.begun[next(iter(self.begun))]
        self.waiting.append(job)

    def take(self, worker: int) -> QueuedItem | None:
        """Take the job that a worker runs next; None if there is none."""
        others = [job for number, job in self.serving.items() if number != worker]
        trials = {job.group[-1] for job in others}
        data = {job.group[0] for job in others}

        def rank(job: QueuedItem) -> tuple[bool, bool, int, int]:
            shared, trial = job.group
            return trial in trials, shared in data, job.begun, job.order

        if not self.waiting:
            return None
        job = min(self.waiting, key=rank)
        self.waiting.remove(job)
        self.serving[worker] = job
        return job

    def end(self, worker: int) -> None:
        """Note that a worker's job is over."""
        self.serving.pop(worker, None)

    def forget(self, jobs: Sequence[QueuedItem]) -> None:
        """Drop jobs that nobody waits for any more."""
        gone = set(map(id, jobs))
        self.waiting = [job for job in self.waiting if id(job) not in gone]


class WorkerPool:
    """Runs items on workers, as an executor; used as a context manager.

    Parameters
    ----------
    start
        Starts the worker of a number below `workers`, and may wait until it runs. Called in that
        worker's thread when there is something to run, and again after it died.
    tries
        How often an item is run, in all, if its workers die.
    note
        Informs the user in one line.

    Raises
    ------
    ExecutorError
        Fewer than one worker.
    """

    remote = False

    def __init__(
        self,
        start: Callable[[int], Worker],
        workers: int,
        *,
        tries: int = TRIES,
        note: Callable[[str], None] = ignore,
    ) -> None:
        if not 1 <= workers <= MOST_WORKERS:
            raise ExecutorError(
                f"expected 1 to {MOST_WORKERS:,} workers, found {workers}: pass --workers",
                code="executor.no_workers",
                workers=workers,
            )
        self.workers, self._start, self._tries = workers, start, tries
        self._schedule, self._orders = Schedule(), count()
        self._changed = Condition()
        self._running: dict[int, Worker] = {}
        self._note = note
        # By machine; and since when workers are being started, by number.
        self._full, self._starting = dict[str, DiskFaultError](), dict[int, float]()
        self._calls: set[SimpleQueue[tuple[str, QueuedItem, Any]]] = set()
        self._stopped = False
        self._lost: ExecutorError | None = None
        self._threads = list[Thread]()
        for number in range(workers):
            thread = Thread(
                target=self._serve, args=(number,), name=f"worker {number}", daemon=True
            )
            try:
                thread.start()
            except RuntimeError as error:
                WorkerPool.stop(self)
                raise ExecutorError(
                    f"this system has no more threads after {number:,} of {workers:,} workers: "
                    "pass a smaller --workers",
                    code="executor.threads",
                    started=number,
                    workers=workers,
                ) from error
            self._threads.append(thread)

    def map(
        self,
        function: Callable[[Item, Send], Value],
        items: Sequence[Item],
        on_message: Send = ignore,
        *,
        group: tuple[str, str] | None = None,
    ) -> Iterator[tuple[Item, Value]]:
        answers: SimpleQueue[tuple[str, QueuedItem, Any]] = SimpleQueue()
        with self._changed:
            self._refuse_stopped()
            orders = [next(self._orders) for _ in items]
            # Items that nothing relates are worked on like trials of their own.
            jobs = [
                QueuedItem(function, item, group or (f"item {order}",) * 2, answers, order)
                for item, order in zip(items, orders, strict=True)
            ]
            for job in jobs:
                self._schedule.add(job)
            self._calls.add(answers)
            self._changed.notify_all()
        left = len(jobs)
        try:
            while left:
                kind, job, content = answers.get()
                if kind == "message":
                    on_message(content)
                elif kind == "value":
                    left -= 1
                    yield job.item, content
                elif kind == "stopped":
                    self._refuse_stopped()
                else:
                    raise content
        finally:
            with self._changed:
                self._calls.discard(answers)
                for job in jobs:
                    job.cancelled = True
                self._schedule.forget(jobs)

    def places(self, group: str) -> list[str]:
        """Return where items run now whose group has this name, its second, for a person."""
        with self._changed:
            serving = [n for n, job in self._schedule.serving.items() if job.group[-1] == group]
            return [self._running[n].place for n in sorted(serving) if n in self._running]

    @property
    def stopped(self) -> bool:
        """Whether the pool runs no more items."""
        return self._stopped

    def stop(self) -> None:
        """End all workers at once; callers of `map` get an error."""
        self._end()
        with self._changed:
            running = list(self._running.values())
        for worker in running:
            worker.stop()
        deadline = time.monotonic() + STOP_SECONDS
        for thread in self._threads:
            thread.join(max(0, deadline - time.monotonic()))

    def lose(self, error: ExecutorError) -> None:
        """Run no more items, since no worker can be had; callers of `map` get this error."""
        self._end(error)

    def _end(self, error: ExecutorError | None = None) -> None:
        with self._changed:
            self._stopped, self._lost = True, self._lost or error
            for answers in self._calls:
                answers.put(("stopped", None, None))  # type: ignore[arg-type]
            self._changed.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _refuse_stopped(self) -> None:
        if self._lost:
            raise self._lost
        if self._stopped:
            raise ExecutorError("the workers were stopped", code="executor.stopped")

    def _serve(self, number: int) -> None:
        """Run jobs by one worker until the pool is stopped."""
        while self._has_jobs(number):
            # First the worker: others may take the job while this one waits for a machine.
            worker = self._started(number)
            job = self._take(number) if worker else None
            if worker is None or job is None:
                continue
            outcome: tuple[str, Any] | None
            try:
                outcome = "value", _run(worker, job)
                self._after_success(worker)
            except WorkerDiedError as error:
                outcome = self._after_death(number, job, str(error))
            except DiskFaultError as fault:
                outcome = self._after_disk_fault(worker, job, fault)
            # Whatever a function raises is its caller's.
            except BaseException as error:
                outcome = "error", error
            with self._changed:
                self._schedule.end(number)
                # One that nobody waits for any more is not run again.
                if outcome is None and not job.cancelled:
                    self._schedule.add(job)
                self._changed.notify_all()
            if outcome is not None and not job.cancelled:
                job.answers.put((outcome[0], job, outcome[1]))

    def _has_jobs(self, number: int) -> bool:
        """Wait until there are jobs for a worker; return False when the pool is stopped."""
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._stopped or (self._schedule.waiting and not self._rests(number)),
                    REST_SECONDS,
                )
                rests = self._rests(number)
                if self._stopped or (self._schedule.waiting and not rests):
                    return not self._stopped
            if rests:
                self._look_for_space(number)

    def _take(self, number: int) -> QueuedItem | None:
        with self._changed:
            nothing = self._stopped or self._rests(number)
            return None if nothing else self._schedule.take(number)

    def _rests(self, number: int) -> bool:
        """Whether a worker leaves items to others, since the disk of its machine is full.

        Where there are no others it runs them: they may need no space.
        """
        if not self._full or (worker := self._running.get(number)) is None:
            return False
        return worker.machine in self._full and self._others_are_well()

    def _others_are_well(self) -> bool:
        """Whether a worker runs, or soon will, on a machine whose disk is not known to be full."""
        now = time.monotonic()
        return any(
            self._running[number].machine not in self._full
            if number in self._running
            else now - self._starting.get(number, now) < HOPE_SECONDS
            for number in range(self.workers)
        )

    def _look_for_space(self, number: int) -> None:
        """Let the workers of a machine run items again if its disk has space."""
        with self._changed:
            worker = self._running.get(number)
            fault = self._full.get(worker.machine) if worker else None
        if worker is None or fault is None:
            return
        try:
            free = worker.run(_writable_bytes, fault.folder, ignore)
        except WorkerDiedError:
            self._drop(number)
            return
        # Whatever a library may raise: the next look may find more.
        except Exception:
            return
        if free < fault.free + FREED_BYTES:
            return
        with self._changed:
            known = self._full.pop(worker.machine, None)
            self._changed.notify_all()
        if known:
            self._note(
                f"{worker.machine}: {free / 1e6:,.0f} MB free in {fault.folder}: its workers run "
                "items again"
            )

    def _after_success(self, worker: Worker) -> None:
        """Trust all machines again if an item succeeded where none was known to be well."""
        with self._changed:
            if self._full and worker.machine in self._full and not self._others_are_well():
                self._full.clear()

    def _after_disk_fault(
        self, worker: Worker, job: QueuedItem, fault: DiskFaultError
    ) -> tuple[str, Any] | None:
        """Return the error of an item that met a full disk; None if others are to run it."""
        # Processes of this machine share its disk.
        if not self.remote:
            return "error", fault.error
        with self._changed:
            known = worker.machine in self._full
            self._full[worker.machine] = fault
            job.disk_faults += 1
            elsewhere = self._others_are_well() and job.disk_faults < self._tries
        if not known:
            then = "its workers wait for space, others run their items"
            self._note(
                f"{worker.machine}: cannot write to {fault.folder} ({fault.reason})"
                + (f": {then}" if elsewhere else "")
            )
        return None if elsewhere else ("error", _placed(fault.error, worker.machine))

    def _started(self, number: int) -> Worker | None:
        """Return the worker of a number, started if it is not; None if that cannot be."""
        if (worker := self._running.get(number)) is not None:
            return worker
        self._starting[number] = time.monotonic()
        for _ in range(STARTS):
            try:
                worker = self._start(number)
                break
            except WorkerDiedError as error:
                reason = str(error)
            # Whatever a library may raise.
            except Exception as error:
                lost = error if isinstance(error, ExecutorError) else portable(error)
                self.lose(lost if isinstance(lost, ExecutorError) else _unstarted(repr(lost)))
                return None
            if self._stopped:
                return None
        else:
            self.lose(_unstarted(reason))
            return None
        with self._changed:
            self._running[number] = worker
            del self._starting[number]
            stopped = self._stopped
        if stopped:
            worker.stop()
        return worker

    def _after_death(self, number: int, job: QueuedItem, reason: str) -> tuple[str, Any] | None:
        """Return the error of a job that killed its workers; None if it is to be run again."""
        self._drop(number)
        job.tries += 1
        if job.cancelled or job.tries < self._tries:
            return None
        return "error", ExecutorError(
            f"the worker process died {job.tries} times ({reason}): killed, or out of memory; "
            "finished results are kept: run the same command again to resume, with fewer "
            "--workers if memory is short",
            code="executor.worker_died",
            tries=job.tries,
            reason=reason,
        )

    def _drop(self, number: int) -> None:
        """Forget a worker that died; the next job of its number starts another one."""
        with self._changed:
            worker = self._running.pop(number, None)
        if worker is not None:
            worker.stop()


def _run(worker: Worker, job: QueuedItem) -> Any:
    def hear(message: Any) -> None:
        if not job.cancelled:
            job.answers.put(("message", job, message))

    return worker.run(job.function, job.item, hear)


def _unstarted(reason: str) -> WorkersLostError:
    return WorkersLostError(
        f"no worker can be started ({reason}); finished results are kept: run the same command "
        "again to resume",
        code="executor.start_failed",
        reason=reason,
    )


def packed_answer(packed: bytes, send: Send) -> bytes:
    """Run a pickled (function, item), in a worker; return the pickled ("value" or "error", what).

    The caller gets whatever the function raised, in a `DiskFaultError` if the disk is full here.
    """
    try:
        function, item = pickle.loads(packed)  # noqa: S301 - from the process that we work for
        return pickle.dumps(("value", function(item, send)))
    except Exception as error:
        raised = portable(error)
        return pickle.dumps(("error", _disk_fault(error, raised) or raised))


def _disk_fault(error: Exception, raised: Exception) -> DiskFaultError | None:
    """Return where this machine cannot write, and why; None if an error is about something else.

    `raised` is what the caller of the function gets.
    """
    number = error.errno if isinstance(error, OSError) else None
    lacks_space = isinstance(error, DiskFullError) or number in FULL
    if not lacks_space and not isinstance(error, NotWritableError) and number != errno.EROFS:
        return None
    path = getattr(error, "values", {}).get("path") or getattr(error, "filename", None)
    # A library's own file, which has no name here, is likely to be a temporary one.
    folder = _existing_folder(str(path or tempfile.gettempdir()))
    shown, reason = name_in_text(str(folder)), "no permission, or a read-only file system"
    if lacks_space:
        with suppress(OSError):
            reason = f"{free_bytes(folder) / 1e6:,.1f} MB free"
    return DiskFaultError(raised, shown, _writable_bytes(shown), reason)


def _existing_folder(path: str) -> Path:
    """Return the folder where a path is or will be."""
    folder = Path(name_from_text(path)).absolute()
    while not os.path.isdir(folder):
        folder = folder.parent
    return folder


def _writable_bytes(folder: str, send: Send = ignore) -> int:  # noqa: ARG001 - also run as an item
    """Return the bytes that can be written in a folder."""
    try:
        return free_bytes(writable_folder(_existing_folder(folder)))
    except (StorageError, OSError):
        return 0


def _placed(error: Exception, machine: str) -> Exception:
    """Return an error that names its machine."""
    if isinstance(error, HeadstartError):
        placed: Exception = type(error)(
            f"{machine}: {error}", code=error.code, **{**error.values, "machine": machine}
        )
    elif isinstance(error, OSError):
        placed = type(error)(error.errno, f"{machine}: {error.strerror}", error.filename)
    else:
        return error
    for note in getattr(error, "__notes__", ()):
        placed.add_note(note)
    return placed


def portable(error: Exception) -> Exception:
    """Return an error that another process can read: itself, else its text; it says its place."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    error.add_note(f"{place.filename}:{place.lineno}")
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - written here
    # Classes with constructors of their own may raise anything.
    except Exception:
        kind, text = type(error).__name__, str(error).splitlines()[:1]
        found = ExecutorError(
            f"{kind} at {place.filename}:{place.lineno}: {''.join(text)}",
            code="executor.raised",
            kind=kind,
        )
        found.add_note(f"{place.filename}:{place.lineno}")
        return found
    return error
