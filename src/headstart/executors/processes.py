"""Processes beside each other on this machine: one a GPU, or so many on its processor."""

import multiprocessing
import os
import pickle
import select
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import count
from multiprocessing.connection import Connection
from multiprocessing.queues import Queue
from typing import Any, TypeVar

from headstart.devices import Device
from headstart.errors import ExecutorError
from headstart.executors.base import Send, ignore

__all__ = ["Processes", "executor_of", "visible_gpus"]

Item = TypeVar("Item")
Value = TypeVar("Value")

# How often messages of workers are heard.
LISTEN_SECONDS = 0.1
# What a pipe takes in one piece, though several write to it at once; 4 bytes say how long it is.
# Windows does not say it: POSIX promises 512 everywhere.
LARGEST_MESSAGE = getattr(select, "PIPE_BUF", 512) - 4


class Processes:
    """Worker processes that stay until they are closed.

    Parameters
    ----------
    workers
        How many.
    gpus
        Numbers of the GPUs; each worker sees one of them, in turn. Empty: workers share the
        processor, each with its share of the threads.
    """

    def __init__(self, workers: int, gpus: Sequence[int] = ()) -> None:
        if workers < 1:
            raise ExecutorError(f"expected 1 worker process or more, found {workers}")
        # A child of fork would inherit the threads' locks, and a GPU that cannot be used twice.
        context = multiprocessing.get_context("spawn")
        places = context.Queue()
        for worker in range(workers):
            places.put(str(gpus[worker % len(gpus)]) if gpus else "")
        threads = max(1, (os.cpu_count() or 1) // workers)
        self._inbox, self._outbox = context.Pipe(duplex=False)
        # A worker never waits for somebody to listen.
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
                # In the order of the items, where several are done.
                for future in [future for future in waiting if future in done]:
                    yield waiting.pop(future), future.result()
        except BrokenProcessPool as error:
            raise ExecutorError(
                "a worker process ended before its work did (killed, or out of memory): what was "
                "finished is kept; run again, with fewer --workers if memory is short"
            ) from error
        finally:
            for future in waiting:
                future.cancel()

    def _listen(self, call: int, on_message: Send) -> None:
        """Hear all that was told by now; what is left of an earlier call is dropped."""
        while self._inbox.poll():
            of, message = pickle.loads(self._inbox.recv_bytes())  # noqa: S301
            if of == call:
                on_message(message)

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            # Nobody waits for what is under way any more: it can be done again.
            for process in list(self._pool._processes.values()):
                process.terminate()
        self._pool.shutdown(cancel_futures=True)
        self._inbox.close()
        self._outbox.close()


def visible_gpus(device: Device) -> tuple[int, ...]:
    """Number the GPUs that `device` may mean; none where it means the processor."""
    if device == "cpu":
        return ()
    import torch

    return tuple(range(torch.cuda.device_count()))


@contextmanager
def executor_of(workers: int, device: Device) -> Iterator[Processes | None]:
    """Give so many worker processes, one a GPU in turn where there are some; None for 0."""
    if not workers:
        yield None
        return
    with Processes(workers, visible_gpus(device)) as executor:
        yield executor


# In a worker: the end of the pipe that it tells messages to.
_pipes: "list[Connection[Any, Any]]" = []


def _begin(places: "Queue[str]", threads: int, told: "Connection[Any, Any]") -> None:
    """Give a new worker its GPU and its share of the threads, before it imports torch."""
    _pipes.append(told)
    # Ctrl-C reaches every process of a terminal; whoever started the workers ends them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if place := places.get():
        os.environ["CUDA_VISIBLE_DEVICES"] = place
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    # The program's own script may import it, and that was run before this.
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(threads)


def _run(call: int, function: Callable[[Item, Send], Value], item: Item) -> Value:
    """In a worker: run a function, and send on what it tells."""

    def send(message: Any) -> None:
        packed = pickle.dumps((call, message))
        if len(packed) > LARGEST_MESSAGE:
            return
        try:
            _pipes[0].send_bytes(packed)
        except BlockingIOError:
            # The pipe is full: nobody has listened for long.
            return

    return function(item, send)
