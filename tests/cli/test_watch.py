"""`headstart status --watch` in a real terminal and in a pipe."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headstart.spec import Failure
from headstart.store import ResultStore
from stores import make_result

STUDY = ("--models", "efficientnet_lite0", "--datasets", "digits", "--limit", "100")
# Looks twenty times as often.
COMMAND = """
import headstart.cli.run_command
headstart.cli.run_command.WATCH_SECONDS = 0.25
from headstart.__main__ import main
main()
"""
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Watching:
    """A command that watches, and what it has written so far.

    Parameters
    ----------
    terminal
        Whether its output is a terminal; else it is a pipe.
    """

    def __init__(self, store: Path | str, *, terminal: bool) -> None:
        if terminal:
            self._read, write = pty.openpty()
        else:
            self._read, write = os.pipe()
        arguments = ["status", *STUDY, "--store", str(store), "--watch"]
        self.process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, *arguments],
            stdin=write if terminal else subprocess.DEVNULL, stdout=write, stderr=write,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "200", "LINES": "40"},
            # Its terminal is the one that it is controlled by: Ctrl-C typed there reaches it.
            preexec_fn=lambda: own_terminal(terminal=terminal),
        )  # fmt: skip
        os.close(write)
        self.raw = ""

    @property
    def said(self) -> str:
        """What it has written, without the control sequences of a terminal."""
        return CONTROL.sub("", self.raw)

    def until(self, holds: Callable[[str], bool]) -> str:
        """Read on until something holds of what it has written."""
        deadline = time.monotonic() + 60
        while not holds(self.said):
            assert time.monotonic() < deadline, self.said
            assert self.read(), self.said
        return self.said

    def read(self) -> bool:
        """Read what is there; return False at the end."""
        if not select.select([self._read], [], [], 1)[0]:
            return True
        try:
            found = os.read(self._read, 1 << 16)
        # Of a terminal that nobody has open.
        except OSError:
            found = b""
        self.raw += found.decode()
        return bool(found)

    def type(self, text: str) -> None:
        os.write(self._read, text.encode())

    def ended(self) -> int:
        while self.read():
            pass
        return self.process.wait(60)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._read)


def own_terminal(*, terminal: bool) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.setsid()
    if terminal:
        import fcntl
        import termios

        fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def watch() -> Iterator[Callable[..., Watching]]:
    started = []

    def start(store: Path | str, *, terminal: bool) -> Watching:
        started.append(Watching(store, terminal=terminal))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "pipe"])
def test_it_ends_when_all_is_done(watch, tmp_path, terminal):
    path = tmp_path / "r.db"
    watching = watch(path, terminal=terminal)
    watching.until(lambda said: f"no store at {path} yet" in said)
    store = ResultStore(path, create=True)
    (trial,) = study_trials()
    with store.claim(trial.key, wait=False):
        watching.until(lambda said: f"running  {trial.title}: " in said)
        assert store.add(make_result().model_copy(update={"trial": trial}))
    assert watching.ended() == 0
    said = watching.said.replace("\r\n", "\n")
    assert "1 of 1 trials done, 0 running" in said
    # What is in its place on a terminal stands below in a file, under the time of each look.
    times = re.findall(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$", said, re.MULTILINE)
    assert bool(times) != terminal
    # The cursor is there again.
    assert watching.raw.rfind("\x1b[?25h") > watching.raw.rfind("\x1b[?25l") or not terminal


def study_trials():
    from headstart.study import Study

    return Study(models=["efficientnet_lite0"], datasets=["digits"], limit=100).trials()


def test_ctrl_c_typed_at_a_terminal_ends_it_with_one_line(watch, tmp_path):
    watching = watch(tmp_path / "r.db", terminal=True)
    watching.until(lambda said: "0 of 1 trials done" in said)
    watching.type("\x03")
    assert watching.ended() == 130
    assert watching.said.rstrip().splitlines()[-1] == "interrupted"
    assert "Traceback" not in watching.said
    assert watching.raw.rfind("\x1b[?25h") > watching.raw.rfind("\x1b[?25l")


def test_a_reader_that_goes_ends_it_quietly(tmp_path):
    arguments = ["status", *STUDY, "--store", str(tmp_path / "r.db"), "--watch"]
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "pipe"])
def test_a_store_that_goes_away(watch, tmp_path, terminal):
    """One that is removed may come again; one that is no store any more ends it."""
    path = tmp_path / "r.db"
    store = ResultStore(path, create=True)
    (trial,) = study_trials()
    store.add_failure(trial.model_copy(update={"seed": 5}), Failure(error="of another study"))
    watching = watch(path, terminal=terminal)
    watching.until(lambda said: "no run is under way" in said)
    for file in tmp_path.glob("r.db*"):
        file.unlink()
    watching.until(lambda said: f"no store at {path} yet" in said)
    path.write_text("not a database, and longer than a header of one is" * 100)
    assert watching.ended() == 2
    (line,) = [line for line in watching.said.splitlines() if line.startswith("error: ")]
    assert str(path) in line
