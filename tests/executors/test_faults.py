"""Faults of a Ray cluster in the middle of a study, and the same command again."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

import small_network
from conftest import require
from headstart.store import ResultStore
from headstart.study import Study

NETWORK = f"{Path(small_network.__file__)}:build?size=16&mean=0.5,0.5,0.5&std=0.25,0.25,0.25"
GRID = {"steps": 150, "batch_size": 50, "learning_rates": [0.03, 0.1, 0.3], "decays": [0.0, 1e-4]}
STUDY = Study(
    models=[NETWORK], datasets=["digits"], limit=150, settings=[{"name": "scratch", **GRID}]
)
# The command, with less patience.
COMMAND = """
from headstart.__main__ import main
from headstart.executors import ray_cluster

ray_cluster.LOST_SECONDS = 2
main()
"""
pytestmark = pytest.mark.slow


@pytest.fixture
def head(worker_path, monkeypatch):
    """Start a Ray cluster of one node by hand, as a group of processes."""
    require(Path(sys.executable).with_name("ray").exists(), "ray")
    # Its sockets have paths of up to 107 bytes, which those of pytest's folders leave no room for.
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    # No token is needed, neither of the cluster nor of a command.
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with (folder / "log").open("w") as log:
        started = subprocess.Popen(
            [
                *(Path(sys.executable).with_name("ray"), "start", "--head", "--block", "--port=0"),
                *("--num-cpus=1", "--include-dashboard=false", "--disable-usage-stats"),
                *(f"--object-store-memory={80 * 2**20}", f"--temp-dir={folder}"),
            ],
            stdout=log,
            stderr=log,
            # At 127.0.0.1 alone.
            env={**os.environ, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"},
            start_new_session=True,
        )
    try:
        yield started, _address(folder)
    finally:
        _kill(started)
        shutil.rmtree(folder, ignore_errors=True)


def _address(folder: Path) -> str:
    """Return where the head listens, as soon as it does."""
    for _ in range(600):
        if (file := folder / "ray_current_cluster").exists() and (address := file.read_text()):
            return address
        time.sleep(0.1)
    raise AssertionError((folder / "log").read_text())


def _kill(started: subprocess.Popen) -> None:
    """Kill a process and all that it started; Ray's are in groups of their own."""
    import psutil

    if started.poll() is None:
        own = [*psutil.Process(started.pid).children(recursive=True), psutil.Process(started.pid)]
        for process in own:
            process.kill()
        started.wait()


class Command:
    """The command that runs the study, in a process of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        study = folder / "study.toml"
        study.write_text(STUDY.to_toml())
        self.store = ResultStore(folder / "results.db", create=True)
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-c", COMMAND, "run", study, "--trust", "--device", "cpu"),
                *("--store", folder / "results.db", *options),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A trial whose holder died waits no longer than this.
            env={**os.environ, "HEADSTART_LEASE_SECONDS": "5"},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def wait_for_measurements(self, count: int) -> None:
        """Wait until so many candidates are stored."""
        (trial,) = STUDY.trials()
        for _ in range(1200):
            if len(self.store.measurements(trial.key)) >= count:
                return
            assert self._process.poll() is None, self._process.communicate()
            time.sleep(0.05)
        raise AssertionError("nothing was measured")

    def signal(self, number: int) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def end(self, seconds: float = 120) -> tuple[int, str, str]:
        """Return exit code, output and errors, when it ends."""
        try:
            out, err = self._process.communicate(timeout=seconds)
        finally:
            self._process.kill()
        return self._process.returncode, out, err


@pytest.mark.parametrize("fault", ["head", "driver", "interrupt"])
def test_the_same_command_goes_on(fault, head, tmp_path, own_cache):
    started, address = head
    first = Command(tmp_path, "--executor", "ray", "--address", address)
    first.wait_for_measurements(1)
    began = time.monotonic()
    if fault == "head":
        _kill(started)
        code, _, err = first.end(40)
        assert code == 2
        assert err.splitlines()[-1].startswith("error: the Ray cluster is gone")
    elif fault == "driver":
        first.signal(signal.SIGKILL)
        assert first.end(5)[0] == -signal.SIGKILL
    else:
        first.signal(signal.SIGINT)
        code, _, err = first.end(10)
        assert code == 130
        assert time.monotonic() - began < 5
        assert "interrupted: finished trials are stored" in err
    (trial,) = STUDY.trials()
    kept = first.store.measurements(trial.key)
    assert 1 <= len(kept) < 6
    where = ("processes", "--workers", "1") if fault == "head" else ("ray", "--address", address)
    again = Command(tmp_path, "--executor", *where)
    code, out, err = again.end(150)
    assert (code, err) == (0, ""), err
    assert "1 measured, 0 already stored, 0 failed" in out
    measured = again.store.measurements(trial.key)
    assert len(measured) == 6
    # What was there is the same, digits and seconds.
    assert measured[: len(kept)] == kept
