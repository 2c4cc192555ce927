"""The protocol of executors, and executors by name.

An executor is one file with a factory, registered as an entry point of ``headstart.executor``. It
knows nothing of trials: callers hand it functions and items that can be pickled.
"""

import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from inspect import signature
from typing import Any, Protocol, TypeVar

from headstart.devices import Device
from headstart.errors import ExecutorError, WorkersLostError
from headstart.registry import EXECUTORS
from headstart.versions import provenance

__all__ = [
    "Executor",
    "ExecutorFactory",
    "ExpectedWork",
    "InProcess",
    "Send",
    "adopt_variables",
    "executor_of",
    "ignore",
    "machine_name",
    "not_installed",
    "other_software",
    "own_variables",
    "process_name",
    "refuse_other_software",
    "software_versions",
    "unknown_work",
    "visible_gpus",
]

Item = TypeVar("Item")
Value = TypeVar("Value")
# Sends a small message to the process that waits for the values.
Send = Callable[[Any], None]
# Of variables of the environment that are headstart's own; and those of a machine's disk.
PREFIX = "HEADSTART_"
OF_THIS_MACHINE = {"HEADSTART_LOCAL_CACHE", "HEADSTART_COPIES_GB"}
# Keywords of a factory that are not options of the user's.
INFORMED = ("note", "verbose", "expected")


@dataclass(frozen=True)
class ExpectedWork:
    """Minutes that the items of a run are expected to take: of all, and of the longest trial."""

    minutes: float
    longest: float


def ignore(message: Any) -> None:
    """Discard a message."""


def unknown_work() -> None:
    """Expect nothing."""


class Executor(Protocol):
    """Runs a function on many items, at the same time if it can.

    Attributes
    ----------
    workers
        Number of items that run at the same time.
    remote
        Whether workers are on other machines, which may have devices that this one lacks.
    """

    workers: int
    remote: bool

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
    """Starts an executor; the object in the registry.

    Its keyword-only parameters are the options that it has (`OPTIONS` of the command line): another
    one is refused. It may have ``note``, a function that informs the user in one line, ``verbose``,
    whether all that its library says is printed, and ``expected``, a function that returns the
    `ExpectedWork` of the run, or None.
    """

    def __call__(
        self, workers: int, device: Device, **options: Any
    ) -> AbstractContextManager[Executor]:
        """Return a context with an executor, which is stopped at its end.

        An error in the block stops running items; without one, they have been waited for.

        Parameters
        ----------
        workers
            Number of items that run at the same time; 0 leaves it to the executor.
        device
            Where items run; by default each gets one GPU if this selects GPUs.

        Raises
        ------
        ExecutorError
            It cannot be started.
        """
        ...


class InProcess:
    """Runs one item after the other in this process."""

    workers = 1
    remote = False

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


def machine_name() -> str:
    """Return the name of this machine for a person."""
    return socket.gethostname()


def process_name(pid: int | None = None) -> str:
    """Return the name of a process on this machine for a person; of this one by default."""
    return f"{machine_name()}, process {pid or os.getpid()}"


def own_variables() -> dict[str, str]:
    """Return the variables of the environment that workers on other machines get."""
    return {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}


def adopt_variables(variables: Mapping[str, str]) -> None:
    """Set variables that came with the work, but those of a machine's disk only if it has none."""
    for name, value in variables.items():
        if name not in OF_THIS_MACHINE or name not in os.environ:
            os.environ[name] = value


def software_versions() -> dict[str, str]:
    """Return the versions of what may change a number here."""
    found = provenance()
    return {**found["versions"], "python": found["python"]}


def refuse_other_software(found: Mapping[str, str], nodes: str) -> None:
    """Refuse a worker whose versions are not ours: its numbers may differ."""
    other = [
        f"{name} {found.get(name)} instead of {version}"
        for name, version in software_versions().items()
        if found.get(name) != version
    ]
    if other:
        raise other_software(nodes, ", ".join(other))


def other_software(nodes: str, reason: str) -> WorkersLostError:
    """Return the error for nodes that cannot run what this process does."""
    return WorkersLostError(
        f"{nodes} have other software than this machine ({reason}): install the same versions on "
        "all",
        code="executor.version_mismatch",
        reason=reason,
    )


def not_installed(executor: str) -> ExecutorError:
    """Return the error for an executor whose package is missing; its extra has its name."""
    return ExecutorError(
        f"executor '{executor}' needs a package that is not installed: "
        f"pip install 'headstart[{executor}]'",
        code="executor.not_installed",
        executor=executor,
    )


def visible_gpus(device: Device) -> tuple[int, ...]:
    """Return the indices of the GPUs that `device` selects; empty for the CPU."""
    if device == "cpu":
        return ()
    import torch

    return tuple(range(torch.cuda.device_count()))


@contextmanager
def executor_of(
    workers: int,
    device: Device,
    name: str | None = None,
    *,
    note: Callable[[str], None] = ignore,
    verbose: bool = False,
    expected: Callable[[], ExpectedWork | None] = unknown_work,
    **options: Any,
) -> Iterator[Executor | None]:
    """Return a context with an executor; None stands for this process.

    Parameters
    ----------
    workers, device
        As in `ExecutorFactory`.
    name
        Name in the registry. By default ``"processes"``, or this process for 0 workers.
    note, verbose, expected
        Passed on to an executor that takes them.
    options
        Options of the executor; None is not given.

    Raises
    ------
    UnknownNameError
        No executor has this name.
    ExecutorError
        It cannot be started, or does not have such an option (code ``executor.option_unknown``).
    """
    given = {option: value for option, value in options.items() if value is not None}
    if name is None and not workers:
        _refuse_options(given, "this process, which runs trials without --workers,", ())
        yield None
        return
    name = name or "processes"
    factory: ExecutorFactory = EXECUTORS[name]
    parameters = signature(factory).parameters.values()
    known = [one.name for one in parameters if one.kind is one.KEYWORD_ONLY]
    _refuse_options(given, f"executor '{name}'", known)
    informed = dict(zip(INFORMED, (note, verbose, expected), strict=True))
    given |= {option: value for option, value in informed.items() if option in known}
    with factory(workers, device, **given) as executor:
        yield executor


def _refuse_options(given: Mapping[str, Any], name: str, known: Sequence[str]) -> None:
    if unknown := next((option for option in given if option not in known), None):
        has = ", ".join(sorted(set(known) - set(INFORMED))) or "none"
        raise ExecutorError(
            f"{name} has no option {unknown}: it has {has}",
            code="executor.option_unknown",
            option=unknown,
            known=known,
        )
