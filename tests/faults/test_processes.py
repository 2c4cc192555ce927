"""Faults of worker processes, of the command itself, and of what lies under it."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conftest import require
from faults.conftest import N_MEASURED, Site, children, slow_in_the_end

pytestmark = pytest.mark.slow


def ended(process: subprocess.Popen, code: int = 0) -> str:
    out, err = process.communicate(timeout=900)
    assert process.returncode == code, (out, err)
    return out + err


def like(site: Site, undisturbed: Site, wasted: int) -> None:
    """Assert that nothing is lost, twice or wrong, and that little was computed again."""
    assert site.numbers() == undisturbed.numbers()
    assert site.n_measured == N_MEASURED
    assert site.n_built <= undisturbed.n_built + wasted


def test_a_worker_is_killed(site, undisturbed, outcome):
    process = site.start("--workers", "2")
    site.until(lambda: site.n_measured >= 4, process)
    os.kill(children(process)[0], signal.SIGKILL)
    ended(process)
    like(site, undisturbed, wasted=1)
    outcome("a worker process is killed (`kill -9`)", "its item is run again by a new worker")


def test_each_worker_is_killed_in_turn(site, undisturbed, outcome):
    process = site.start("--workers", "2")
    for n in (3, 6, 9):
        site.until(lambda n=n: site.n_measured >= n, process)
        os.kill(children(process)[0], signal.SIGKILL)
    ended(process)
    like(site, undisturbed, wasted=3)
    outcome("three workers are killed, one after the other", "one item for each is run again")


def test_the_command_is_killed(site, undisturbed, outcome):
    process = site.start("--workers", "2")
    site.until(lambda: site.n_measured >= 4, process)
    workers = children(process)
    process.kill()
    process.wait()
    # Workers do not outlive it.
    for worker in workers:
        while Path(f"/proc/{worker}").exists() and "zombie" not in state(worker):
            time.sleep(0.05)
    ended(site.start("--workers", "2"))
    like(site, undisturbed, wasted=2)
    outcome(
        "the command itself is killed, and run again",
        "its workers end with it; it goes on where it was, also within a training",
    )


def state(process: int) -> str:
    try:
        return Path(f"/proc/{process}/status").read_text()
    except OSError:
        return "zombie"


def test_ctrl_c(site, undisturbed, outcome):
    process = site.start("--workers", "2")
    site.until(lambda: site.n_measured >= 4, process)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    ended(process, 130)
    # Five seconds where nothing else runs; here others do.
    assert time.monotonic() - began < 60
    ended(site.start("--workers", "2"))
    like(site, undisturbed, wasted=2)
    outcome("Ctrl-C, and run again", "as when it is killed; exit code 130")


def test_two_commands_measure_one_study(site, undisturbed, outcome):
    processes = [site.start("--workers", "1") for _ in range(2)]
    said = [ended(process) for process in processes]
    assert sum(int(out.split(" measured")[0].splitlines()[-1]) for out in said) == 4
    like(site, undisturbed, wasted=2)
    outcome("two commands on one study at the same time", "each trial is measured once")


def test_a_command_is_stopped_for_longer_than_its_leases(site, undisturbed, outcome):
    """It comes back when another has measured its trials, and can write nothing."""
    short = {"HEADSTART_LEASE_SECONDS": "2"}
    first = site.start("--workers", "1", **short)
    site.until(lambda: site.n_measured >= 3, first)
    group = [first.pid, *children(first)]
    for each in group:
        os.kill(each, signal.SIGSTOP)
    second = site.start("--workers", "2", **short)
    ended(second)
    numbers = site.numbers()
    for each in group:
        os.kill(each, signal.SIGCONT)
    first.communicate(timeout=300)
    assert site.numbers() == numbers
    like(site, undisturbed, wasted=4)
    outcome(
        "a command and its workers are stopped (`kill -STOP`) until their leases end",
        "another measures their trials; when they go on they write nothing",
    )


def test_a_worker_is_stopped_for_a_while(site, undisturbed, outcome):
    process = site.start("--workers", "2", HEADSTART_LEASE_SECONDS="2")
    site.until(lambda: site.n_measured >= 3, process)
    worker = children(process)[0]
    os.kill(worker, signal.SIGSTOP)
    seen = site.n_measured
    site.until(lambda: site.n_measured >= min(seen + 3, N_MEASURED - 2), process)
    os.kill(worker, signal.SIGCONT)
    ended(process)
    like(site, undisturbed, wasted=0)
    outcome("a worker is stopped for a while", "the others go on, its item takes longer")


def alike(site: Site, undisturbed: Site) -> None:
    """Assert that nothing of the four trials alike is lost, twice or wrong, or computed again."""
    numbers = site.numbers()
    shared = numbers.keys() & undisturbed.numbers().keys()
    assert (len(numbers), len(shared)) == (4, 2)
    assert all(numbers[title] == undisturbed.numbers()[title] for title in shared)
    assert site.n_measured == 24


def test_a_straggler(four_alike, undisturbed, outcome):
    process = four_alike.start("--workers", "1", HEADSTART_SLOW_SECONDS="1")
    slow_in_the_end(four_alike, process, lambda: children(process))
    ended(process)
    alike(four_alike, undisturbed)
    outcome(
        "a straggler: the worker of one trial is stopped for far longer than others take",
        "the output names the trial, since when, the worker's machine and process, and how long "
        "others took; `status` shows it as slow; its item takes longer",
    )


@contextmanager
def full_disk(cache: Path, kilobytes: int = 64) -> Iterator[Callable[[], None]]:
    """Make a file system of its own, so small that images do not fit; give what makes it larger."""
    cache.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", cache],
        capture_output=True,
        check=False,
    )
    require(mounted.returncode == 0, "the right to mount a file system")
    larger = ["mount", "-o", "remount,size=512m", cache]
    try:
        yield lambda: subprocess.run(larger, check=True)
    finally:
        subprocess.run(["umount", "--lazy", cache], check=True)
        shutil.rmtree(cache)


def test_the_disk_of_the_cache_is_full(site, undisturbed, outcome):
    with full_disk(site.folder / "cache") as free:
        said = ended(site.start("--workers", "2"), 2)
        assert "space" in said
        free()
        ended(site.start("--workers", "2"))
        like(site, undisturbed, wasted=4)
    outcome(
        "the disk of the cache is full, and has space again",
        "one line says so, exit code 2; the same command goes on",
    )


def test_the_disk_of_the_store_is_full(site, undisturbed, outcome):
    site.store_file = site.folder / "disk" / "r.db"
    with full_disk(site.store_file.parent, kilobytes=160) as free:
        said = ended(site.start("--workers", "2"), 2)
        last = said.splitlines()[-1]
        assert last.startswith("error: ")
        assert "no space left to write" in last
        assert re.search(r"\(0\.\d MB free\)", last)
        free()
        ended(site.start("--workers", "2"))
        like(site, undisturbed, wasted=4)
    outcome(
        "the disk of the store is full, and has space again",
        "one line names the file and what is free, exit code 2; the same command goes on",
    )


def test_the_object_storage_answers_with_errors(site, undisturbed, bucket, storage_server, outcome):
    """From the first request after some candidates are measured on, for ten seconds."""
    process = site.start(
        "--workers", "2",
        HEADSTART_CACHE=bucket,
        HEADSTART_LOCAL_CACHE=str(site.folder / "cache"),
        HEADSTART_RETRY_SECONDS="60",
    )  # fmt: skip
    site.until(lambda: site.n_measured >= 1, process)
    failed = list[float]()

    def fails(*_: str) -> bool:
        now = time.monotonic()
        if failed and now > failed[0] + 10:
            return False
        failed.append(now)
        return True

    storage_server.fails = fails
    ended(process)
    assert failed
    like(site, undisturbed, wasted=0)
    outcome(
        "the object storage of the cache answers with errors for ten seconds",
        "it is asked again until it answers; the run goes on",
    )


CRASH = "os.kill(os.getpid(), signal.SIGKILL)"
# At most 4 GB, should the kernel not end it.
TAKE_ALL = """
        Path("MEMORY_GROUP", "cgroup.procs").write_text(str(os.getpid()))
        taken = [bytearray(10**7) for _ in range(400)]
"""
KILLER = """
import multiprocessing
import os
import signal
import sys
from pathlib import Path

import small_network


def build():
    if multiprocessing.parent_process() is not None or "default_worker" in sys.argv[0]:
        {what}
    return small_network.build()
"""


def with_killer(site: Site, what: str) -> None:
    """Put a model before those of a study that does something to each worker that builds it."""
    (site.folder / "killer.py").write_text(KILLER.format(what=what))
    text = site.study.read_text()
    killer = f"{site.folder / 'killer.py'}:build?size=16&mean=0.5,0.5,0.5&std=0.25,0.25,0.25"
    site.study.write_text(text.replace("models = [", f'models = [\n    "{killer}&name=killer",', 1))


@pytest.fixture
def memory_group() -> Iterator[Path]:
    """A group of processes that the kernel gives 200 MB."""
    root = Path("/sys/fs/cgroup")
    files = {root / "memory": "memory.limit_in_bytes", root: "memory.max"}
    parent = next((folder for folder in files if (folder / "cgroup.procs").exists()), root)
    group = parent / f"headstart-{os.getpid()}"
    try:
        group.mkdir()
        (group / files[parent]).write_text(str(200_000_000))
    except OSError:
        require(False, "the right to limit the memory of processes")
    yield group
    group.rmdir()


@pytest.mark.parametrize("what", [CRASH, TAKE_ALL.strip()], ids=["crash", "memory"])
def test_a_trial_kills_its_workers_each_time(what, site, undisturbed, outcome, request):
    if what != CRASH:
        what = what.replace("MEMORY_GROUP", str(request.getfixturevalue("memory_group")))
    with_killer(site, what)
    said = ended(site.start("--workers", "2"), 2)
    assert "4 measured, 0 already stored, 2 failed" in said
    assert "SIGKILL" in said
    failed = site.status()["failed"]
    assert {one["code"] for one in failed} == {"executor.worker_died"}
    assert all("died 3 times" in one["log"] for one in failed)
    like(site, undisturbed, wasted=0)
    outcome(
        "a trial crashes each time" if what == CRASH else "a trial takes all memory",
        "its worker is killed, and it is tried three times, then a failure with its reason; the "
        "others go on, exit code 2",
    )
