"""Worker processes on this machine: one per GPU, or several that share the CPU."""

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Any

from headstart.devices import Device
from headstart.executors.executor import Send, machine_name, process_name, visible_gpus
from headstart.executors.pool import WorkerDiedError, WorkerPool, packed_answer
from headstart.interrupts import interrupts_blocked
from headstart.threads import configure_threads, thread_share

__all__ = ["Processes", "open_processes"]

# Seconds that a process has to end after SIGTERM.
END_SECONDS = 2


class Processes(WorkerPool):
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
        share = threads or thread_share(workers)

        def start(number: int) -> WorkerProcess:
            return WorkerProcess(str(gpus[number % len(gpus)]) if gpus else "", share)

        super().__init__(start, workers)


class WorkerProcess:
    """One worker process: `gpu` is the index of the one that it sees; the CPU if empty."""

    def __init__(self, gpu: str, threads: int) -> None:
        # Not fork: children would inherit locks of threads, and CUDA cannot be used after a fork.
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, gpu, threads), daemon=True)
        if os.name == "posix":
            # The first process starts it, which unblocks Ctrl-C.
            resource_tracker.ensure_running()
        # The process ignores Ctrl-C once its imports are done, and unblocks it then.
        with interrupts_blocked():
            self._process.start()
        self.place, self.machine = process_name(self._process.pid), machine_name()
        # So that the end of the process ends the connection.
        other.close()

    def run(self, function: Callable[[Any, Send], Any], item: Any, on_message: Send) -> Any:
        packed = pickle.dumps((function, item))
        try:
            self._connection.send_bytes(packed)
            while True:
                kind, content = self._connection.recv()
                if kind != "message":
                    break
                on_message(content)
        except (EOFError, OSError) as error:
            self._process.join(END_SECONDS)
            code = self._process.exitcode
            reason = f"exit code {code}"
            if code is not None and code < 0:
                reason = signal.Signals(-code).name
            raise WorkerDiedError(reason) from error
        if kind == "error":
            raise content
        return content

    def stop(self) -> None:
        self._process.terminate()
        self._process.join(END_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join(END_SECONDS)


def open_processes(
    workers: int, device: Device, *, cpus_per_worker: int | None = None
) -> Processes:
    """Start worker processes on this machine; the factory in the registry."""
    return Processes(workers, visible_gpus(device), cpus_per_worker)


def _serve(connection: "Connection[Any, Any]", gpu: str, threads: int) -> None:
    """Run items until the connection ends, in a worker process."""
    # Ctrl-C reaches every process of a terminal; the parent process ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Before torch is imported.
    if gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    configure_threads(threads)

    def send(message: Any) -> None:
        connection.send(("message", message))

    with suppress(EOFError, OSError):
        while True:
            packed = connection.recv_bytes()
            connection.send_bytes(packed_answer(packed, send))


def _end_with_parent() -> None:
    """End this process when its parent has ended, however that ended."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)
