"""The one thing that every executor does, and the simplest one."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

__all__ = ["Executor", "InProcess", "Send", "ignore"]

Item = TypeVar("Item")
Value = TypeVar("Value")
# Takes a small message, to whoever waits for the values.
Send = Callable[[Any], None]


def ignore(message: Any) -> None:
    """Hear a message, and forget it."""


class Executor(Protocol):
    """Runs a function on many items."""

    def map(
        self,
        function: Callable[[Item, Send], Value],
        items: Sequence[Item],
        on_message: Send = ignore,
    ) -> Iterator[tuple[Item, Value]]:
        """Give each item with its value as soon as it is there, in whatever order.

        The first error ends it: what was not begun is dropped, and the error is raised.

        Parameters
        ----------
        function
            Takes an item, and what it can tell messages to while it runs.
        on_message
            Takes these messages, in this process, while a value is waited for: all that a function
            told before its value is given. Messages are news, not values: one that would have the
            function wait is lost.
        """
        ...


class InProcess:
    """One item after the other, here."""

    def map(
        self,
        function: Callable[[Item, Send], Value],
        items: Sequence[Item],
        on_message: Send = ignore,
    ) -> Iterator[tuple[Item, Value]]:
        for item in items:
            yield item, function(item, on_message)
