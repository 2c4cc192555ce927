"""Ctrl-C while native code runs Python: it would take that for an error of its own."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["interrupts_wait"]


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Have Ctrl-C wait until the block ends; a second one does not.

    For native code that calls Python back and makes another error of the `KeyboardInterrupt` that
    comes meanwhile, or drops it: Ctrl-C would be taken for a failure, and be lost. Signals come to
    the main thread alone: elsewhere nothing changes.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    came = list[tuple[int, FrameType | None]]()

    def wait(number: int, frame: FrameType | None) -> None:
        came.append((number, frame))
        signal.signal(signal.SIGINT, handler)

    signal.signal(signal.SIGINT, wait)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if came:
            handler(*came[0])
