"""The one thing that every executor does, and the simplest one."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

__all__ = ["Executor", "InProcess"]

Item = TypeVar("Item")
Value = TypeVar("Value")


class Executor(Protocol):
    """Runs a function on many items."""

    def map(
        self, function: Callable[[Item], Value], items: Sequence[Item]
    ) -> Iterator[tuple[Item, Value]]:
        """Give each item with its value as soon as it is there, in whatever order.

        The first error ends it: what was not begun is dropped, and the error is raised.
        """
        ...


class InProcess:
    """One item after the other, here."""

    def map(
        self, function: Callable[[Item], Value], items: Sequence[Item]
    ) -> Iterator[tuple[Item, Value]]:
        for item in items:
            yield item, function(item)
