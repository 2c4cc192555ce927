"""A pool of workers: who runs which item next, what becomes of the items of a worker that dies.

Each engine (processes, a cluster) brings a `Worker` that runs one item at a time; a thread of this
process waits for it. Items of all calls of `map` lie in one queue.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from queue import SimpleQueue
from threading import Condition, Thread
from typing import Any, Protocol, Self, TypeVar

from headstart.errors import ExecutorError
from headstart.executors.base import Send, ignore

__all__ = ["Worker", "WorkerDiedError", "WorkerPool"]

Item = TypeVar("Item")
Value = TypeVar("Value")
# How often an item is run before it counts as one that kills its worker.
TRIES = 3
# Seconds that the threads of workers have to end after the workers were stopped.
STOP_SECONDS = 5


class WorkerDiedError(Exception):
    """A worker ended before its item had a value. The pool starts another one."""


class Worker(Protocol):
    """A process, here or elsewhere, that runs one item at a time."""

    def run(self, function: Callable[[Any, Send], Any], item: Any, on_message: Send) -> Any:
        """Return the value of an item, or raise what the function raised.

        Raises
        ------
        WorkerDiedError
            The process ended, or `stop` was called.
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
    tries: int = 0
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
    begun: dict[str, int] = field(default_factory=dict)

    def add(self, job: QueuedItem) -> None:
        """Put a job into the queue."""
        self.begun.setdefault(job.group[-1], job.order)
        self.waiting.append(job)

    def take(self, worker: int) -> QueuedItem | None:
        """Take the job that a worker runs next; None if there is none."""
        others = [job for number, job in self.serving.items() if number != worker]
        trials = {job.group[-1] for job in others}
        data = {job.group[0] for job in others}

        def rank(job: QueuedItem) -> tuple[bool, bool, int, int]:
            shared, trial = job.group
            return trial in trials, shared in data, self.begun[trial], job.order

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
        Starts the worker of a number below `workers`. Called in that worker's thread when there is
        something to run, and again after it died.
    workers
        Number of workers, at least 1.
    tries
        How often an item is run, in all, if its workers die.

    Raises
    ------
    ExecutorError
        Fewer than one worker.
    """

    def __init__(self, start: Callable[[int], Worker], workers: int, *, tries: int = TRIES) -> None:
        if workers < 1:
            raise ExecutorError(
                f"expected 1 worker process or more, found {workers}: pass --workers",
                code="executor.no_workers",
                workers=workers,
            )
        self.workers, self._start, self._tries = workers, start, tries
        self._schedule, self._orders = Schedule(), count()
        self._changed = Condition()
        self._running: dict[int, Worker] = {}
        self._calls: set[SimpleQueue[tuple[str, QueuedItem, Any]]] = set()
        self._stopped = False
        self._threads = [
            Thread(target=self._serve, args=(number,), name=f"worker {number}", daemon=True)
            for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

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

    def stop(self) -> None:
        """End all workers at once; callers of `map` get an error."""
        with self._changed:
            self._stopped = True
            running = list(self._running.values())
            for answers in self._calls:
                answers.put(("stopped", None, None))  # type: ignore[arg-type]
            self._changed.notify_all()
        for worker in running:
            worker.stop()
        for thread in self._threads:
            thread.join(STOP_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _refuse_stopped(self) -> None:
        if self._stopped:
            raise ExecutorError("the workers were stopped", code="executor.stopped")

    def _serve(self, number: int) -> None:
        """Run jobs by one worker until the pool is stopped."""
        while (job := self._next(number)) is not None:
            outcome: tuple[str, Any] | None
            try:
                outcome = "value", self._run(number, job)
            except WorkerDiedError as error:
                outcome = self._after_death(number, job, str(error))
            # Whatever a function raises is its caller's.
            except BaseException as error:
                outcome = "error", error
            with self._changed:
                self._schedule.end(number)
                if outcome is None:
                    self._schedule.add(job)
                self._changed.notify_all()
            if outcome is not None and not job.cancelled:
                job.answers.put((outcome[0], job, outcome[1]))

    def _next(self, number: int) -> QueuedItem | None:
        with self._changed:
            while not self._stopped:
                if (job := self._schedule.take(number)) is not None:
                    return job
                self._changed.wait()
        return None

    def _run(self, number: int, job: QueuedItem) -> Any:
        worker = self._running.get(number)
        if worker is None:
            worker = self._start(number)
            with self._changed:
                self._running[number] = worker
                stopped = self._stopped
            if stopped:
                worker.stop()

        def hear(message: Any) -> None:
            if not job.cancelled:
                job.answers.put(("message", job, message))

        return worker.run(job.function, job.item, hear)

    def _after_death(self, number: int, job: QueuedItem, reason: str) -> tuple[str, Any] | None:
        """Return the error of a job that killed its workers; None if it is to be run again."""
        with self._changed:
            worker = self._running.pop(number, None)
        if worker is not None:
            worker.stop()
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
