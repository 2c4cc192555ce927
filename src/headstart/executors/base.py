"""The executor protocol, and the executor that runs in this process."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

__all__ = ["Executor", "InProcess", "Send", "ignore"]

Item = TypeVar("Item")
Value = TypeVar("Value")
# Sends a small message to the process that waits for the values.
Send = Callable[[Any], None]


def ignore(message: Any) -> None:
    """Discard a message."""


class Executor(Protocol):
    """Runs a function on many items."""

    def map(
        self,
        function: Callable[[Item, Send], Value],
        items: Sequence[Item],
        on_message: Send = ignore,
    ) -> Iterator[tuple[Item, Value]]:
        """Yield (item, value) pairs as they complete, in any order.

        The first error cancels items that have not started, and is raised.

        Parameters
        ----------
        function
            Called with an item and a function that sends messages while it runs.
        on_message
            Called in this process with each message while it waits for values. All messages of an
            item arrive before its value. A message is dropped if sending it would block.
        """
        ...


class InProcess:
    """Runs one item after the other in this process."""

    def map(
        self,
        function: Callable[[Item, Send], Value],
        items: Sequence[Item],
        on_message: Send = ignore,
    ) -> Iterator[tuple[Item, Value]]:
        for item in items:
            yield item, function(item, on_message)
