"""The protocol of executors, and executors by name.

An executor is one file with a factory, registered as an entry point of ``headstart.executor``. It
knows nothing of trials: callers hand it functions and items that can be pickled.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from headstart.devices import Device
from headstart.registry import EXECUTORS
from headstart.threads import available_cpus

__all__ = [
    "Executor",
    "ExecutorFactory",
    "InProcess",
    "Resources",
    "Send",
    "executor_of",
    "ignore",
    "visible_gpus",
]

Item = TypeVar("Item")
Value = TypeVar("Value")
# Sends a small message to the process that waits for the values.
Send = Callable[[Any], None]


def ignore(message: Any) -> None:
    """Discard a message."""


@dataclass(frozen=True)
class Resources:
    """What an item needs while it runs.

    Parameters
    ----------
    cpus
        Threads of its arithmetic.
    gpus
        GPUs that it sees; 0 runs it on the CPU.
    """

    cpus: int = 1
    gpus: int = 0


class Executor(Protocol):
    """Runs a function on many items, at the same time if it can.

    Attributes
    ----------
    workers
        Number of items that run at the same time.
    """

    workers: int

    def map(
        self,
        function: Callable[[Item, Send], Value],
        items: Sequence[Item],
        on_message: Send = ignore,
        *,
        group: tuple[str, str] | None = None,
    ) -> Iterator[tuple[Item, Value]]:
        """Yield (item, value) pairs as they complete, in any order.

        May be called from several threads at the same time. The first error cancels items that have
        not started, and is raised.

        Parameters
        ----------
        function
            Called with an item and a function that sends messages while it runs.
        on_message
            Called in this thread with each message while it waits for values. All messages of an
            item arrive before its value.
        group
            What the items have in common, for their placement: the data that they share with other
            groups, and the group itself, which is best run where it was begun. None of no relation.

        Raises
        ------
        ExecutorError
            An item's worker process died, as often as it is tried (code ``executor.worker_died``).
        """
        ...

    def stop(self) -> None:
        """End what runs, at once; callers of `map` in other threads get an ExecutorError."""
        ...


class ExecutorFactory(Protocol):
    """Starts an executor; the object in the registry."""

    def __call__(self, workers: int, resources: Resources) -> AbstractContextManager[Executor]:
        """Return a context with an executor, which is stopped at its end.

        An error in the block stops running items; without one, they have been waited for.

        Parameters
        ----------
        workers
            Number of items that run at the same time; 0 leaves it to the executor.
        resources
            Needed by each item.

        Raises
        ------
        ExecutorError
            It cannot be started.
        """
        ...


class InProcess:
    """Runs one item after the other in this process."""

    workers = 1

    def map(
        self,
        function: Callable[[Item, Send], Value],
        items: Sequence[Item],
        on_message: Send = ignore,
        *,
        group: tuple[str, str] | None = None,  # noqa: ARG002
    ) -> Iterator[tuple[Item, Value]]:
        for item in items:
            yield item, function(item, on_message)

    def stop(self) -> None:
        """Do nothing: what runs is the caller."""


def visible_gpus(device: Device) -> tuple[int, ...]:
    """Return the indices of the GPUs that `device` selects; empty for the CPU."""
    if device == "cpu":
        return ()
    import torch

    return tuple(range(torch.cuda.device_count()))


@contextmanager
def executor_of(workers: int, device: Device, name: str | None = None) -> Iterator[Executor | None]:
    """Return a context with an executor; None stands for this process.

    Parameters
    ----------
    workers
        Number of items that run at the same time. They share the CPU equally.
    device
        Where items run; each gets one GPU if it selects GPUs.
    name
        Name in the registry. By default ``"processes"``, or this process for 0 workers.

    Raises
    ------
    UnknownNameError
        No executor has this name.
    ExecutorError
        It cannot be started.
    """
    if name is None and not workers:
        yield None
        return
    factory: ExecutorFactory = EXECUTORS[name or "processes"]
    threads = max(1, available_cpus() // max(1, workers))
    resources = Resources(cpus=threads, gpus=min(1, len(visible_gpus(device))))
    with factory(workers, resources) as executor:
        yield executor
