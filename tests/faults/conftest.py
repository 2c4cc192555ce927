"""Faults done for real: the study that they disturb."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from headstart.store import ResultStore
from headstart.study import Study
from processes import headstart_process

# It notes each time that it is built: for a candidate, a final training, a pass over images.
NETWORK = """
import os
from pathlib import Path

import small_network


def build():
    with Path(os.environ["FAULT_LOG"]).open("a") as log:
        log.write(f"{os.getpid()}\\n")
    return small_network.build()
"""
OPTIONS = "?size=16&mean=0.5,0.5,0.5&std=0.25,0.25,0.25"
GRID = {"steps": 120, "batch_size": 50, "learning_rates": [0.03, 0.1, 0.3], "decays": [0.0, 1e-4]}
# A busy machine may take minutes for a trial.
LONGEST_SECONDS = 600
# Candidates: 6 of each trial that trains, 1 of each on features.
N_MEASURED = 14


@dataclass
class Site:
    """A study with its store and cache, and the processes that run it.

    Parameters
    ----------
    folder
        Where it is.
    settings, seeds
        Of the study.
    """

    folder: Path
    settings: tuple = ("linear", {"name": "scratch", **GRID})
    seeds: tuple[int, ...] = (0,)
    processes: list[subprocess.Popen] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        network = self.folder / "network.py"
        network.write_text(NETWORK)
        self.study = self.folder / "study.toml"
        self.log = self.folder / "builds.log"
        self.store_file: Path | str = self.folder / "r.db"
        self.log.touch()
        named = f"{network}:build{OPTIONS}"
        study = Study(
            models=[f"{named}&name=a", named.replace("size=16", "size=20") + "&name=b"],
            datasets=["digits"],
            limit=150,
            settings=list(self.settings),
            seeds=list(self.seeds),
        )
        self.study.write_text(study.to_toml())

    @property
    def store(self) -> ResultStore:
        return ResultStore(self.store_file, create=True)

    @property
    def n_built(self) -> int:
        return len(self.log.read_text().splitlines())

    @property
    def n_measured(self) -> int:
        keys = set(self.store.partly_measured()) | self.store.keys()
        return sum(len(self.store.measurements(key)) for key in keys)

    def start(self, *arguments: str, command: str = "run", **environment: str) -> subprocess.Popen:
        """Start the command that measures the study, or another."""
        device = ("--device", "cpu") if command == "run" else ()
        process = headstart_process(
            command, self.study, "--trust", "--store", self.store_file, *device, *arguments,
            env={
                **os.environ,
                "PYTHONPATH": search_path(),
                "HEADSTART_CACHE": str(self.folder / "cache"),
                "FAULT_LOG": str(self.log),
                "OMP_NUM_THREADS": "1",
                **environment,
            },
        )  # fmt: skip
        self.processes.append(process)
        return process

    def status(self, **environment: str) -> dict[str, Any]:
        """Return what `headstart status` says, from a process of its own."""
        process = self.start("--json", command="status", **environment)
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        return json.loads(out)

    def until(self, holds: Callable[[], bool], process: subprocess.Popen) -> None:
        """Wait until something holds, as long as the process lives."""
        while not holds():
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)

    def end(self) -> None:
        """End what runs still."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.communicate()

    def numbers(self) -> dict[str, Any]:
        """Return what was measured: metrics, choices and curves by trial."""
        return {
            result.trial.title: (result.metrics, result.selection)
            for result in self.store.results()
        }


def slow_in_the_end(
    site: Site, process: subprocess.Popen, workers: Callable[[], list[int]]
) -> None:
    """Stop the worker of the last of four trials until it is called slow.

    The other three are done by then, by the one worker of the run.
    """
    site.until(lambda: len(site.store.keys()) == 3 and bool(site.store.leases()), process)
    (worker,) = workers()
    os.kill(worker, signal.SIGSTOP)
    # Without the line, the test ends all the same.
    resume = threading.Timer(LONGEST_SECONDS, os.kill, (worker, signal.SIGCONT))
    resume.start()
    try:
        line = next((line for line in process.stdout if line.startswith("slow: ")), "")
        assert f"process {worker};" in line
        (running,) = site.status(HEADSTART_SLOW_SECONDS="1")["running"]
        assert running["slow"]
        assert running["pid"] == process.pid
        assert line.startswith(f"slow: {running['title']}: under way for ")
        assert 0 < 2 * running["longest"] < running["elapsed"]
    finally:
        resume.cancel()
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGCONT)


def search_path() -> str:
    """Return a PYTHONPATH by which other processes find the modules of these tests."""
    known = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return os.pathsep.join([str(Path(__file__).parents[1]), *known])


def children(process: subprocess.Popen) -> list[int]:
    """Return the worker processes of a command, in the order of their start."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                command = (entry / "cmdline").read_bytes()
            except (OSError, ValueError):
                continue
            if parent == process.pid and b"spawn_main" in command:
                found.append(int(entry.name))
    return sorted(found)


@pytest.fixture
def site(tmp_path) -> Iterator[Site]:
    made = Site(tmp_path / "site")
    yield made
    made.end()


@pytest.fixture
def four_alike(tmp_path) -> Iterator[Site]:
    """Four trials of one setting, two of them of the study above."""
    made = Site(tmp_path / "alike", ({"name": "scratch", **GRID},), (0, 1))
    yield made
    made.end()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory) -> Site:
    """The study, measured by the same command without any fault."""
    made = Site(tmp_path_factory.mktemp("undisturbed") / "site")
    process = made.start("--workers", "2")
    out, err = process.communicate()
    assert process.returncode == 0, (out, err)
    assert made.n_measured == N_MEASURED
    return made
