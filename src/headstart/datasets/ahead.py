"""Work done ahead of who takes it: threads decode the next images while the last are used."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["ahead"]

Item = TypeVar("Item")
Value = TypeVar("Value")


def ahead(
    function: Callable[[Item], Value], items: Sequence[Item], depth: int = 4, spare: int = 1
) -> Iterator[Value]:
    """Map in order, computed in threads at most `depth` items ahead: memory does not grow.

    `spare` cores are left to the code that takes the values: on a CPU, the network.
    """
    waiting: deque[Future[Value]] = deque()
    pool = ThreadPoolExecutor(max(1, min(depth, (os.cpu_count() or 1) - spare)))
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
