"""Worker processes on this machine: one per GPU, or several that share the CPU."""

import multiprocessing
import os
import pickle
import select
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import count
from multiprocessing.connection import Connection
from multiprocessing.queues import Queue
from typing import Any, TypeVar

from headstart.errors import ExecutorError
from headstart.executors.base import Resources, Send, ignore, visible_gpus
from headstart.threads import available_cpus, configure_threads

__all__ = ["Processes", "open_processes"]

Item = TypeVar("Item")
Value = TypeVar("Value")

# Interval at which messages of workers are read.
LISTEN_SECONDS = 0.1
# Largest message that several writers can write to a pipe atomically; 4 bytes hold its length.
# Windows does not say it: POSIX promises 512 everywhere.
LARGEST_MESSAGE = getattr(select, "PIPE_BUF", 512) - 4


class Processes:
    """A pool of worker processes, used as a context manager.

    Parameters
    ----------
    workers
        Number of processes, at least 1.
    gpus
        Indices of GPUs, assigned to workers in turn; each worker sees one. If empty, workers use
        the CPU.
    threads
        Threads of each worker; by default an equal share of the CPU.

    Raises
    ------
    ExecutorError
        Fewer than one worker.
    """

    def __init__(self, workers: int, gpus: Sequence[int] = (), threads: int | None = None) -> None:
        if workers < 1:
            raise ExecutorError(
                f"expected 1 worker process or more, found {workers}: pass --workers",
                code="executor.no_workers",
                workers=workers,
            )
        # Not fork: children would inherit locks of threads, and CUDA cannot be used after a fork.
        context = multiprocessing.get_context("spawn")
        places = context.Queue()
        for worker in range(workers):
            places.put(str(gpus[worker % len(gpus)]) if gpus else "")
        threads = threads or max(1, available_cpus() // workers)
        self._inbox, self._outbox = context.Pipe(duplex=False)
        # Workers must never block on sending.
        if hasattr(os, "set_blocking") and os.name == "posix":
            os.set_blocking(self._outbox.fileno(), False)
        self._calls = count()
        self._pool = ProcessPoolExecutor(workers, context, _begin, (places, threads, self._outbox))

    def map(
        self,
        function: Callable[[Item, Send], Value],
        items: Sequence[Item],
        on_message: Send = ignore,
    ) -> Iterator[tuple[Item, Value]]:
        call = next(self._calls)
        waiting: dict[Future[Value], Item] = {
            self._pool.submit(_run, call, function, item): item for item in items
        }
        try:
            while waiting:
                done, _ = wait(waiting, LISTEN_SECONDS, return_when=FIRST_COMPLETED)
                self._listen(call, on_message)
                # In the order of the items if several are done.
                for future in [future for future in waiting if future in done]:
                    yield waiting.pop(future), future.result()
        except BrokenProcessPool as error:
            raise ExecutorError(
                "a worker process died (killed, or out of memory); finished results are kept: run "
                "the same command again to resume, with fewer --workers if memory is short",
                code="executor.worker_died",
            ) from error
        finally:
            for future in waiting:
                future.cancel()

    def _listen(self, call: int, on_message: Send) -> None:
        """Deliver all pending messages; drop those of an earlier call."""
        while self._inbox.poll():
            of, message = pickle.loads(self._inbox.recv_bytes())  # noqa: S301
            if of == call:
                on_message(message)

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            # Nobody waits for the running items: stop them.
            for process in list(self._pool._processes.values()):
                process.terminate()
        self._pool.shutdown(cancel_futures=True)
        self._inbox.close()
        self._outbox.close()


def open_processes(workers: int, resources: Resources) -> Processes:
    """Start worker processes on this machine; the factory in the registry."""
    gpus = visible_gpus("auto") if resources.gpus else ()
    return Processes(workers, gpus, resources.cpus)


# In a worker: the end of the pipe that it sends messages to.
_pipes: "list[Connection[Any, Any]]" = []


def _begin(places: "Queue[str]", threads: int, outbox: "Connection[Any, Any]") -> None:
    """Assign a GPU and a number of threads to a new worker, before it imports torch."""
    _pipes.append(outbox)
    # Ctrl-C reaches every process of a terminal; the parent process ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if place := places.get():
        os.environ["CUDA_VISIBLE_DEVICES"] = place
    configure_threads(threads)


def _run(call: int, function: Callable[[Item, Send], Value], item: Item) -> Value:
    """Run a function in a worker, and forward its messages."""

    def send(message: Any) -> None:
        packed = pickle.dumps((call, message))
        if len(packed) > LARGEST_MESSAGE:
            return
        try:
            _pipes[0].send_bytes(packed)
        except BlockingIOError:
            # The pipe is full: drop the message.
            return

    return function(item, send)
