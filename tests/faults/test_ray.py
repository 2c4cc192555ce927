"""Faults of a Ray cluster, of its nodes and workers, in the middle of a study."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from conftest import require
from faults.conftest import N_MEASURED, Site, search_path, slow_in_the_end
from faults.test_processes import (
    CRASH,
    TAKE_ALL,
    alike,
    ended,
    full_disk,
    like,
    memory_group,  # noqa: F401 - a fixture
    with_killer,
)
from postgres import postgres_server

pytestmark = pytest.mark.slow

# A node that is not heard of is given up after seconds, not after minutes.
HEALTH = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}


class Cluster:
    """A Ray cluster of nodes with one CPU each, started by hand.

    Parameters
    ----------
    site
        Where its workers note what they build.
    host
        Where its head listens.
    """

    def __init__(self, site: Site, host: str = "127.0.0.1") -> None:
        self._host = host
        # Its sockets have paths of up to 107 bytes, which those of pytest's folders leave no room
        # for.
        self.folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
        self._environment = {
            **os.environ,
            **HEALTH,
            # Without a token.
            "RAY_AUTH_MODE": "disabled",
            "PYTHONPATH": search_path(),
            "FAULT_LOG": str(site.log),
            "OMP_NUM_THREADS": "1",
        }
        self.nodes: list[subprocess.Popen] = []
        try:
            self.start(
                "--head", "--port=0", "--include-dashboard=false", f"--temp-dir={self.folder}"
            )
            self.address = self._address()
        except BaseException:
            self.close()
            raise

    def start(
        self,
        *options: str,
        host: str | None = None,
        inside: Sequence[str] = (),
        **environment: str,
    ) -> subprocess.Popen:
        """Start a node; `inside` is a command that runs another, as in a network of its own."""
        with (self.folder / f"log{len(self.nodes)}").open("w") as log:
            node = subprocess.Popen(
                [
                    *inside,
                    *(Path(sys.executable).with_name("ray"), "start", "--block", "--num-cpus=1"),
                    *(f"--node-ip-address={host or self._host}", "--disable-usage-stats"),
                    *(f"--object-store-memory={80 * 2**20}", *options),
                ],
                stdout=log,
                stderr=log,
                env={**self._environment, **environment},
                start_new_session=True,
            )
        self.nodes.append(node)
        return node

    def _address(self) -> str:
        """Return where the head listens, as soon as it does."""
        for _ in range(600):
            file = self.folder / "ray_current_cluster"
            if file.exists() and (address := file.read_text()):
                return address
            time.sleep(0.1)
        raise AssertionError((self.folder / "log0").read_text())

    def close(self) -> None:
        """Kill all nodes."""
        for node in self.nodes:
            signal_all(node, signal.SIGKILL)
            node.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def signal_all(node: subprocess.Popen, number: int) -> None:
    """Signal a node and all that it started; Ray's processes are in groups of their own."""
    if node.poll() is None:
        found = psutil.Process(node.pid)
        for process in [found, *found.children(recursive=True)]:
            process.send_signal(number)


def workers_of(node: subprocess.Popen) -> list[psutil.Process]:
    """Return the workers of a run on a node."""
    found = psutil.Process(node.pid).children(recursive=True)
    return [process for process in found if process.name().startswith("ray::ItemRunner")]


@pytest.fixture
def cluster(site, monkeypatch) -> Iterator[Cluster]:
    """A cluster of one node, the head, to which the commands of the site connect."""
    require(Path(sys.executable).with_name("ray").exists(), "ray")
    made = Cluster(site)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_ADDRESS", made.address)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def node(cluster) -> subprocess.Popen:
    """A second node, as soon as the cluster has it."""
    return running(cluster, cluster.start(f"--address={cluster.address}"))


def running(cluster: Cluster, second: subprocess.Popen) -> subprocess.Popen:
    """Return the second node as soon as it runs."""
    log = cluster.folder / "log1"
    for _ in range(600):
        if "runtime started" in log.read_text():
            return second
        time.sleep(0.1)
    raise AssertionError(log.read_text())


def on_ray(site: Site, workers: int = 1) -> subprocess.Popen:
    """Start the command, and wait until it has measured a part."""
    process = site.start("--executor", "ray", "--workers", str(workers))
    site.until(lambda: site.n_measured >= 4, process)
    return process


def test_a_worker_is_killed(site, cluster, undisturbed, outcome):
    process = on_ray(site)
    (worker,) = workers_of(cluster.nodes[0])
    worker.kill()
    ended(process)
    like(site, undisturbed, wasted=1)
    outcome("Ray: a worker is killed", "its item is run again by a new worker")


def test_a_worker_is_stopped_for_a_while(site, cluster, undisturbed, outcome):
    process = on_ray(site)
    (worker,) = workers_of(cluster.nodes[0])
    worker.suspend()
    seen = site.n_measured
    time.sleep(3)
    assert site.n_measured <= seen + 1
    worker.resume()
    ended(process)
    like(site, undisturbed, wasted=0)
    outcome("Ray: a worker is stopped for a while", "its item takes longer")


def test_a_straggler(four_alike, undisturbed, outcome):
    require(Path(sys.executable).with_name("ray").exists(), "ray")
    cluster = Cluster(four_alike)
    try:
        environment = {"RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": cluster.address}
        options = ("--executor", "ray", "--workers", "1")
        process = four_alike.start(*options, HEADSTART_SLOW_SECONDS="1", **environment)
        slow_in_the_end(
            four_alike, process, lambda: [worker.pid for worker in workers_of(cluster.nodes[0])]
        )
        ended(process)
    finally:
        cluster.close()
    alike(four_alike, undisturbed)
    outcome(
        "Ray: a straggler: the worker of one trial is stopped for far longer than others take",
        "the output names the trial, since when, the worker's machine and process, and how long "
        "others took; `status` shows it as slow; its item takes longer",
    )


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("what", [CRASH, TAKE_ALL.strip()], ids=["crash", "memory"])
def test_a_trial_kills_its_workers_each_time(what, site, undisturbed, outcome, request):
    if what != CRASH:
        what = what.replace("MEMORY_GROUP", str(request.getfixturevalue("memory_group")))
    with_killer(site, what)
    said = ended(site.start("--executor", "ray", "--workers", "1"), 2)
    assert "4 measured, 0 already stored, 2 failed" in said
    assert "died 3 times" in said
    failed = site.status()["failed"]
    assert {one["code"] for one in failed} == {"executor.worker_died"}
    like(site, undisturbed, wasted=0)
    outcome(
        "Ray: a trial crashes each time" if what == CRASH else "Ray: a trial takes all memory",
        "its worker is killed, and it is tried three times, then a failure with its reason; the "
        "others go on, exit code 2",
    )


@pytest.mark.usefixtures("cluster")
def test_two_commands_measure_one_study(site, undisturbed, outcome):
    """One of them on the cluster, the other in processes of this machine."""
    processes = [
        site.start("--executor", "ray", "--workers", "1"), site.start("--workers", "1")
    ]  # fmt: skip
    said = [ended(process) for process in processes]
    assert sum(int(out.split(" measured")[0].splitlines()[-1]) for out in said) == 4
    like(site, undisturbed, wasted=2)
    outcome(
        "Ray: two commands on one study at the same time, one on the cluster, one on processes",
        "each trial is measured once",
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["lost", "silent"])
def test_a_node_is_gone(number, site, node, undisturbed, outcome):
    process = site.start("--executor", "ray", "--workers", "2")
    site.until(lambda: site.n_measured >= 4 and workers_of(node), process)
    signal_all(node, number)
    out = ended(process)
    assert "4 measured" in out
    like(site, undisturbed, wasted=2)
    if number == signal.SIGKILL:
        outcome("Ray: a node is lost", "its items are run again by the others")
    else:
        outcome(
            "Ray: a node is silent (all its processes are stopped)",
            "as soon as the cluster gives it up, its items are run again by the others",
        )


class Network:
    """A network of its own, with a link to this one that can be taken away.

    Parameters
    ----------
    number
        Of the addresses 10.213.number.1, here, and 10.213.number.2, there.
    """

    def __init__(self, number: int) -> None:
        self.name, self._link = f"headstart-{number}", f"hs{number}"
        self.here, self.there = f"10.213.{number}.1", f"10.213.{number}.2"
        self.inside = ("ip", "netns", "exec", self.name)
        other = f"{self._link}b"
        try:
            self._ip("netns", "add", self.name)
            self._ip("link", "add", self._link, "type", "veth", "peer", "name", other)
            self._ip("link", "set", other, "netns", self.name)
            self._ip("address", "add", f"{self.here}/24", "dev", self._link)
            self.link("up")
            self._ip("-n", self.name, "address", "add", f"{self.there}/24", "dev", other)
            self._ip("-n", self.name, "link", "set", other, "up")
            self._ip("-n", self.name, "link", "set", "lo", "up")
        except (OSError, subprocess.CalledProcessError):
            self.close()
            require(False, "the right to make a network (ip netns)")

    def link(self, state: str) -> None:
        """Set the link up or down."""
        self._ip("link", "set", self._link, state)

    def close(self) -> None:
        """Remove it all."""
        for command in (("link", "delete", self._link), ("netns", "delete", self.name)):
            with suppress(OSError, subprocess.CalledProcessError):
                self._ip(*command)

    def _ip(self, *arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def network() -> Iterator[Network]:
    made = Network(os.getpid() % 200)
    yield made
    made.close()


def test_a_node_is_cut_off(network, site, undisturbed, monkeypatch, outcome):
    """Its processes go on, and hear from the others again when all is over."""
    require(Path(sys.executable).with_name("ray").exists(), "ray")
    cluster = Cluster(site, network.here)
    try:
        monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        options = {"host": network.there, "inside": network.inside}
        node = running(cluster, cluster.start(f"--address={cluster.address}", **options))
        process = site.start("--executor", "ray", "--workers", "2")
        site.until(lambda: site.n_measured >= 4 and workers_of(node), process)
        network.link("down")
        assert workers_of(node)
        assert "4 measured" in ended(process)
        network.link("up")
        like(site, undisturbed, wasted=2)
    finally:
        cluster.close()
    outcome(
        "Ray: a node is cut off (a network of its own, whose link is taken away)",
        "as soon as the cluster gives it up, its items are run again by the others; what it still "
        "computes goes nowhere",
    )


def test_the_head_is_lost(site, cluster, undisturbed, outcome):
    process = on_ray(site)
    signal_all(cluster.nodes[0], signal.SIGKILL)
    _, said = process.communicate(timeout=900)
    assert process.returncode == 2
    # Alone: Ray has warnings of its own.
    (line,) = said.splitlines()
    assert line.startswith("error: the Ray cluster is gone")
    ended(site.start("--workers", "2"))
    like(site, undisturbed, wasted=2)
    outcome(
        "Ray: the head of the cluster is lost",
        "one line says so, exit code 2; the same command goes on, here or on a new cluster",
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "ctrl-c"])
def test_the_command_ends(number, site, cluster, undisturbed, outcome):
    process = on_ray(site)
    process.send_signal(number)
    ended(process, 130 if number == signal.SIGINT else -signal.SIGKILL)
    # The cluster is as it was found.
    for _ in range(600):
        if not workers_of(cluster.nodes[0]):
            break
        time.sleep(0.1)
    ended(site.start("--executor", "ray", "--workers", "1"))
    like(site, undisturbed, wasted=2)
    name = "Ctrl-C" if number == signal.SIGINT else "the command is killed"
    outcome(f"Ray: {name}, and run again", "its workers end; it goes on where it was")


def test_the_disk_of_the_cache_is_full(site, cluster, undisturbed, outcome):
    with full_disk(site.folder / "cache") as free:
        said = ended(site.start("--executor", "ray", "--workers", "1"), 2)
        assert "space" in said
        free()
        ended(site.start("--executor", "ray", "--workers", "1"))
        like(site, undisturbed, wasted=4)
    assert site.n_measured == N_MEASURED
    outcome(
        "Ray: the disk of the cache is full, and has space again",
        "one line says so, exit code 2; the same command goes on",
    )


def fill(folder: Path) -> int:
    """Write to a disk until it is full; return the bytes."""
    written = 0
    with (folder / "of-somebody-else").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            written += file.write(bytes(1 << 12))
    return written


def test_the_disk_of_one_node_is_full(site, cluster, undisturbed, bucket, outcome):
    """Its own disk, on which it keeps what it has of a cache in object storage."""
    disk = site.folder / "disk"
    with full_disk(disk, kilobytes=30_000):
        own = {"HEADSTART_LOCAL_CACHE": str(disk)}
        running(cluster, cluster.start(f"--address={cluster.address}", **own))
        process = site.start(
            "--executor", "ray", "--workers", "2",
            HEADSTART_CACHE=bucket,
            HEADSTART_LOCAL_CACHE=str(site.folder / "cache"),
        )  # fmt: skip
        # The node has computed: its disk has files.
        site.until(lambda: site.n_measured >= 2 and any(f for *_, f in os.walk(disk)), process)
        assert fill(disk) > 1e6
        said = ended(process)
        (line,) = [line for line in said.splitlines() if "cannot write" in line]
        # Nor does the look for space leave files.
        assert not list(disk.rglob(".headstart-write-*"))
    assert f"{socket.gethostname()}, Ray node " in line
    assert re.search(rf"cannot write to {disk}\S* \(0\.0 MB free\)", line)
    assert "4 measured" in said
    assert not site.status()["failed"]
    like(site, undisturbed, wasted=1)
    outcome(
        "Ray: the disk of one node is full, in the middle of a run",
        "its item is run again by another node, and it gets no more as long as nothing is freed; a "
        "line names the machine, the folder and what is free; exit code 0",
    )


@pytest.mark.usefixtures("cluster")
def test_the_database_is_restarted(site, undisturbed, outcome, monkeypatch):
    monkeypatch.setenv("HEADSTART_ARTIFACTS", str(site.folder / "artifacts"))
    with postgres_server() as server:
        site.store_file = server.url()
        site.store.make()
        process = on_ray(site)
        server.stop()
        time.sleep(1)
        server.start()
        ended(process)
        like(site, undisturbed, wasted=0)
        assert site.store.leases() == []
    outcome("Ray: the database (PostgreSQL) is restarted", "the run waits for it, and goes on")
