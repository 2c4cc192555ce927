"""Leases: one holder per trial, on every backend; who lost one can write nothing."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from headstart.spec import Candidate, Measurement
from headstart.store import ResultStore, leases
from refusals import refused
from stores import make_result

RESULT = make_result()
KEY = RESULT.trial.key
MEASUREMENT = Measurement(candidate=Candidate(), examples="r", curve=({"accuracy": 0.5},))
WRITES = {
    "add": lambda store: store.add(RESULT),
    "add_measurement": lambda store: store.add_measurement(KEY, MEASUREMENT),
    "add_selection": lambda store: store.add_selection(KEY, RESULT.selection),
}


def is_empty(store: ResultStore) -> bool:
    return not (store.results() or store.measurements(KEY) or store.selection(KEY))


def test_a_claim_keeps_others_off_until_it_ends(store, opened):
    other = opened()
    with store.claim("k", wait=False) as mine:
        assert mine
        for another in (store, other):
            with another.claim("k", wait=False) as theirs:
                assert not theirs
        with other.claim("another", wait=False) as theirs:
            assert theirs
        held = store.leases()
        assert [(one.trial, one.host, one.pid, one.is_live) for one in held] == [
            ("k", socket.gethostname(), os.getpid(), True)
        ]
        assert 50 < (held[0].expires_at - held[0].started_at).total_seconds() < 70
    assert opened(create=False).leases() == []
    with other.claim("k", wait=False) as theirs:
        assert theirs


def test_threads_hold_different_trials_and_wait_for_the_same_one(store):
    inside, most = [], []

    def work(key: str) -> None:
        with store.claim(key, wait=True) as mine:
            inside.append(key)
            assert mine
            most.append(inside.count(key))
            time.sleep(0.02)
            inside.remove(key)

    threads = [threading.Thread(target=work, args=(key,)) for key in "aabbcc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 6
    assert store.leases() == []


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_what_another_measures_is_not_written(store, opened, write):
    other = opened()
    with store.claim(KEY, wait=False), refused("store.leased", key=KEY, pid=os.getpid()):
        write(other)
    assert is_empty(store)
    write(other)
    assert not is_empty(store)


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_who_lost_a_lease_writes_nothing(store, opened, write, tmp_path):
    # The first store is never heard of: its next beat is after the end of its lease.
    late = opened(lease_seconds=0.05)
    late._leases._renew = lambda: None
    with late.claim(KEY, wait=False) as mine:
        assert mine
        with store.claim(KEY, wait=True) as taken:
            assert taken
            assert [one.is_live for one in store.leases()] == [True]
            with refused("store.lease_lost", key=KEY):
                write(late)
        # The other is done, too: the trial is not the late one's again.
        with refused("store.lease_lost", key=KEY):
            write(late)
    assert is_empty(store)
    assert list(tmp_path.rglob("*.parquet")) == []


def test_a_lease_that_expired_is_its_holders_until_another_takes_it(opened):
    store = opened(lease_seconds=0.05)
    store._leases._renew = lambda: None
    with store.claim(KEY, wait=False):
        time.sleep(0.1)
        assert [one.is_live for one in store.leases()] == [False]
        assert store.add(RESULT)


def test_a_lease_is_renewed_for_as_long_as_it_is_held(opened):
    store, other = opened(lease_seconds=0.4), opened()
    others = _beating()
    with store.claim("a", wait=False), store.claim("b", wait=False):
        before = {one.trial: one.expires_at for one in store.leases()}
        time.sleep(1)
        assert [name for name in "ab" if _taken(other, name)] == []
        assert all(one.expires_at > before[one.trial] for one in store.leases())
        assert len(_beating() - others) == 1
    deadline = time.monotonic() + 10
    while _beating() - others:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _beating() -> set[threading.Thread]:
    """Return the threads that renew leases; one ends some time after its last lease."""
    return {thread for thread in threading.enumerate() if thread.name == "leases"}


def _taken(store: ResultStore, key: str) -> bool:
    with store.claim(key, wait=False) as mine:
        return mine


HOLDER = """
import sys, time
from headstart.errors import HeadstartError
sys.path.insert(0, sys.argv[2])
from headstart.store import ResultStore
from stores import make_result
store = ResultStore(sys.argv[1], create=True, lease_seconds=float(sys.argv[3]))
result = make_result()
with store.claim(result.trial.key, wait=False) as mine:
    print("held", mine, flush=True)
    sys.stdin.readline()
    try:
        store.add(result)
    except HeadstartError as error:
        print(error.code, flush=True)
"""


@pytest.fixture
def holder(place, request):
    """Start a process that holds the trial, and writes its result when it is sent a line."""
    started = []

    def start(lease_seconds: float) -> subprocess.Popen:
        arguments = [place, str(request.path.parents[1]), str(lease_seconds)]
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        assert process.stdout.readline() == "held True\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_dead_process_on_this_machine_has_no_lease(store, holder):
    process = holder(1000)
    assert not _taken(store, KEY)
    process.kill()
    process.wait()
    assert [one.is_live for one in store.leases()] == [False]
    assert _taken(store, KEY)


def test_a_machine_that_cannot_be_told_is_one_machine_and_no_other(monkeypatch):
    monkeypatch.setattr(os, "readlink", lambda path: Path(path, "missing").read_text())
    machines = []
    for _ in range(2):
        leases._machine.cache_clear()
        machines.append({leases._machine() for _ in range(2)})
    leases._machine.cache_clear()
    assert [len(names) for names in machines] == [1, 1]
    assert machines[0] != machines[1]


def test_a_process_that_was_stopped_has_lost_its_lease(store, holder):
    process = holder(1)
    process.send_signal(signal.SIGSTOP)
    with store.claim(KEY, wait=True) as mine:
        assert mine
        process.send_signal(signal.SIGCONT)
        out, _ = process.communicate("go\n", timeout=60)
        assert out == "store.lease_lost\n"
        assert is_empty(store)
        assert store.add(RESULT)
    assert len(store.results()) == 1


def test_a_child_that_is_forked_does_not_hold_its_parents_leases(store):
    with store.claim(KEY, wait=False) as mine:
        assert mine
        child = os.fork()
        if child == 0:
            code = 1
            try:
                with refused("store.leased", key=KEY):
                    store.add(RESULT)
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        assert store.add(RESULT)


@pytest.mark.parametrize("seconds", ["x", "0", "inf"])
def test_an_invalid_time_of_leases(tmp_path, monkeypatch, seconds):
    monkeypatch.setenv("HEADSTART_LEASE_SECONDS", seconds)
    with refused("store.lease_seconds", found=seconds):
        ResultStore(tmp_path, create=True)
