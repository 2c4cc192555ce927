"""Timing of named parts."""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

__all__ = ["Clock", "added"]


class Clock:
    """Seconds of each named part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Time the block as `part`, also where it ends by an exception."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] = round(time.perf_counter() - start, 3)


def added(spent: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return the sum of seconds per part."""
    total: dict[str, float] = {}
    for seconds in spent:
        for part, value in seconds.items():
            total[part] = round(total.get(part, 0.0) + value, 3)
    return total
