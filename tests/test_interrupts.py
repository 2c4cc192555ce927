"""Ctrl-C while native code runs Python."""

import signal
import threading

import pytest

from headstart.interrupts import interrupts_wait


@pytest.mark.parametrize(("pressed", "ended"), [(0, True), (1, True), (2, False)])
def test_ctrl_c_waits_and_a_second_one_does_not(pressed, ended):
    before, done = signal.getsignal(signal.SIGINT), []

    def work():
        with interrupts_wait():
            for _ in range(pressed):
                signal.raise_signal(signal.SIGINT)
            done.append(True)

    if pressed:
        with pytest.raises(KeyboardInterrupt):
            work()
    else:
        work()
    assert bool(done) == ended
    assert signal.getsignal(signal.SIGINT) is before


def failing():
    with interrupts_wait():
        signal.raise_signal(signal.SIGINT)
        raise ValueError("x")


def test_the_error_of_the_block_is_no_reason_to_lose_ctrl_c():
    with pytest.raises(KeyboardInterrupt) as found:
        failing()
    assert isinstance(found.value.__context__, ValueError)


def test_nothing_changes_elsewhere():
    """Another thread may not set what a signal does; a worker that ignores it goes on to."""
    found = []

    def look():
        with interrupts_wait():
            found.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        look()
    finally:
        signal.signal(signal.SIGINT, before)
    assert found == [before, signal.SIG_IGN]
