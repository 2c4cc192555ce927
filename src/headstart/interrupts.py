"""Ctrl-C: at any moment it ends a command in one line, also while native code runs Python."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ExtensionFileLoader
from types import FrameType

__all__ = [
    "INTERRUPTED",
    "interrupt",
    "interrupt_is_handled",
    "interrupts_blocked",
    "interrupts_wait",
]

# Exit code of a command that Ctrl-C ended.
INTERRUPTED = 130
# Seconds after which a Ctrl-C that came too early comes again.
AGAIN = 0.05


def interrupt_is_handled() -> None:
    """Let a Ctrl-C that was caught end in our exit code.

    One that came while a text was executed (as named tuples are made, in many imports) has Python
    end itself by the signal, until the next text is executed.
    """
    exec("")  # noqa: S102


def interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt; while a compiled module is being imported, as soon as that is over.

    Some of these (torch, onnxruntime) abort the process otherwise, or take it for a failure.
    """
    place = frame
    while place is not None:
        of_import = place.f_code.co_name in ("create_module", "exec_module")
        if of_import and isinstance(place.f_locals.get("self"), ExtensionFileLoader):
            again = threading.Timer(AGAIN, os.kill, (os.getpid(), number))
            again.daemon = True
            again.start()
            return
        place = place.f_back
    signal.default_int_handler(number, frame)


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


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Start processes that no Ctrl-C reaches, unless they unblock it themselves."""
    if not hasattr(signal, "pthread_sigmask"):
        # On Windows.
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
