"""Machines whose clocks differ by hours, on every backend: by libfaketime, in processes of theirs.

What they see of the file system's times is what others see, as on a shared folder.
"""

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from conftest import require
from headstart.store import ResultStore
from headstart.study import study_status
from stores import make_result

pytestmark = pytest.mark.slow

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
HOURS = 5
# Stores a result, then holds the trial of another; says what time it is.
DRIVER = """
import sys, threading, time
# The library refuses what `sleep` asks of the kernel.
time.sleep = lambda seconds: threading.Event().wait(seconds)
sys.path.insert(0, sys.argv[2])
from headstart.store import ResultStore
from stores import make_result
store = ResultStore(sys.argv[1], create=True, lease_seconds=float(sys.argv[3]))
done, other = make_result(1), make_result(2)
with store.claim(done.trial.key, wait=False) as mine:
    print(mine, store.add(done), time.time(), flush=True)
with store.claim(other.trial.key, wait=sys.argv[4] == "wait") as mine:
    print("held", mine, flush=True)
    sys.stdin.readline()
    try:
        print(store.add(other), flush=True)
    except Exception as error:
        print(error.code, flush=True)
"""


@pytest.fixture
def driver(place, request):
    """Start a driver whose clock is so many hours ahead."""
    require(bool(LIBRARIES), "Debian package libfaketime")
    started = []

    def start(hours: int, lease_seconds: float = 60, *, wait: bool = False) -> subprocess.Popen:
        arguments = [place, str(request.path.parents[1]), str(lease_seconds), "wait" * wait]
        process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "LD_PRELOAD": str(LIBRARIES[0]), "FAKETIME": f"{hours:+}h",
                 "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"},
        )  # fmt: skip
        started.append(process)
        mine, stored, now = process.stdout.readline().split()
        assert (mine, stored) == ("True", "True")
        # Its clock is as wrong as it is meant to be.
        assert abs(float(now) - datetime.now(UTC).timestamp() - 3600 * hours) < 600
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("hours", [HOURS, -HOURS])
def test_a_lease_holds_and_ends_in_time_and_times_are_the_stores(store, driver, hours):
    first, other = (make_result(seed).trial for seed in (1, 2))
    process = driver(hours, lease_seconds=2)
    assert process.stdout.readline() == "held True\n"
    # Not expired early: it is renewed.
    time.sleep(3)
    with store.claim(other.key, wait=False) as taken:
        assert not taken
    (lease,) = store.leases()
    now = datetime.now(UTC)
    assert lease.is_live
    assert 0 <= lease.age < 600
    assert abs((lease.started_at - now).total_seconds()) < 600
    status = study_status([first, other], store)
    assert (status.n_done, [one.trial for one in status.running]) == (1, [other])
    assert 0 <= status.running[0].elapsed < 600
    ((stored, _),) = store.times({first.key}).values()
    assert abs((stored - now).total_seconds()) < 600
    # Nor does it live for ever.
    process.send_signal(signal.SIGSTOP)
    with store.claim(other.key, wait=True) as taken:
        assert taken
        process.send_signal(signal.SIGCONT)
        out, _ = process.communicate("go\n", timeout=60)
        assert out == "store.lease_lost\n"
    assert store.keys() == {first.key}


@pytest.mark.parametrize("hours", [HOURS, -HOURS])
def test_who_is_late_or_early_leaves_a_trial_to_its_holder(store, driver, hours):
    with store.claim(make_result(2).trial.key, wait=False) as mine:
        assert mine
        process = driver(hours, lease_seconds=2)
        assert process.stdout.readline() == "held False\n"
        assert store.add(make_result(2))
    assert len(store.keys()) == 2


@pytest.mark.parametrize("hours", [HOURS, -HOURS])
def test_the_rate_of_results_of_two_machines_is_that_of_one_clock(opened, driver, hours):
    store: ResultStore = opened()
    process = driver(hours)
    process.communicate("go\n", timeout=60)
    late = make_result(3)
    with store.claim(late.trial.key, wait=False):
        assert store.add(late)
    times = sorted(at for at, _ in store.times(store.keys()).values())
    assert len(times) == 3
    assert (times[-1] - times[0]).total_seconds() < 600
