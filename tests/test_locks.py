"""Locks that do not rely on the file system's: held, left by the dead, lost by the stopped."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from headstart import files
from headstart.files import Appender, Lock, sha256_start

# Holds the lock, appends to the table as it is told by lines, and says what came of it.
HOLDER = """
import socket, sys
from pathlib import Path
from headstart import files
from headstart.errors import StorageError

path, files.LEASE_SECONDS, host = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
if host:
    socket.gethostname = lambda: host
with files.locked(path / "table.lock", lambda: None) as lock:
    with files.Appender(path / "table", lock=lock) as out:
        out.write(b"first ")
        out.sync()
        print("synced", flush=True)
        sys.stdin.readline()
        out.write(b"of the holder")
        try:
            out.sync()
        except StorageError as error:
            print(error.code, flush=True)
        else:
            print("held", flush=True)
"""


@contextmanager
def holder(folder, lease: float = 60.0, host: str = ""):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, folder, str(lease), host],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "synced\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def lock(tmp_path) -> Lock:
    return Lock(tmp_path / "table.lock")


def test_one_process_has_it(tmp_path):
    with holder(tmp_path) as other:
        lock = Lock(tmp_path / "table.lock")
        assert not lock.acquire(wait=False)
        other.stdin.write("\n")
        other.stdin.flush()
        assert other.stdout.readline() == "held\n"
        assert lock.acquire()
        lock.check()
        lock.release()
    assert (tmp_path / "table").read_bytes() == b"first of the holder"
    assert not list(tmp_path.glob("*.lock"))


def test_the_lock_of_a_process_that_was_killed_is_free_at_once(tmp_path):
    with holder(tmp_path) as other:
        other.send_signal(signal.SIGKILL)
        other.wait()
        lock = Lock(tmp_path / "table.lock")
        assert lock.was_held
        assert lock.acquire(wait=False)
        lock.release()


def test_the_empty_file_that_older_versions_left_is_no_lock(tmp_path, lock):
    (tmp_path / "table.lock").touch()
    assert not lock.was_held
    assert lock.acquire(wait=False)
    lock.check()
    lock.release()


def test_an_empty_lease_that_a_power_cut_left_is_free_after_a_while(tmp_path, lock, monkeypatch):
    monkeypatch.setattr(files, "LEASE_SECONDS", 0.5)
    (tmp_path / "table.lease.lock").touch()
    assert not lock.acquire(wait=False)
    assert lock.acquire()
    lock.check()
    lock.release()


def test_of_another_machine_it_is_free_after_a_while(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LEASE_SECONDS", 1.0)
    with holder(tmp_path, 1.0, "elsewhere") as other:
        other.send_signal(signal.SIGKILL)
        other.wait()
        lock = Lock(tmp_path / "table.lock")
        assert not lock.acquire(wait=False)
        assert lock.acquire()
        lock.release()


@pytest.mark.slow
def test_a_heartbeat_holds_it(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LEASE_SECONDS", 6.0)
    with holder(tmp_path, 6.0, "elsewhere") as other:
        lock, ends = Lock(tmp_path / "table.lock"), time.monotonic() + 10
        while time.monotonic() < ends:
            assert not lock.acquire(wait=False)
            time.sleep(0.1)
        other.stdin.write("\n")
        other.stdin.flush()
        assert other.stdout.readline() == "held\n"


def test_a_process_that_was_stopped_loses_it_and_damages_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LEASE_SECONDS", 1.0)
    table = tmp_path / "table"
    with holder(tmp_path, 1.0) as other:
        other.send_signal(signal.SIGSTOP)
        lock = Lock(tmp_path / "table.lock")
        assert lock.acquire()
        with Appender(table, 6, sha256_start(table, 6), lock) as out:
            out.write(b"mine")
            out.sync()
            other.send_signal(signal.SIGCONT)
            other.stdin.write("\n")
            other.stdin.flush()
            assert other.stdout.readline() == "cache.lock_lost\n"
            out.write(b" too")
            out.sync()
        lock.release()
        other.wait()
    assert table.read_bytes() == b"first mine too"
    assert os.listdir(tmp_path) == ["table"]


def test_what_nobody_had_is_not_copied(tmp_path, lock):
    table = tmp_path / "table"
    table.write_bytes(b"first ")
    before = table.stat().st_ino
    assert lock.acquire()
    with Appender(table, 6, sha256_start(table, 6), lock) as out:
        out.write(b"mine")
        out.sync()
    lock.release()
    assert table.stat().st_ino == before
