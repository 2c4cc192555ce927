"""Which item a worker runs next, and what becomes of items whose worker dies."""

import errno
import os
import pickle
import signal
import threading
import time
from queue import SimpleQueue

import pytest

from headstart.errors import DiskFullError, ExecutorError
from headstart.executors import Processes
from headstart.executors.executor import ignore
from headstart.executors.pool import (
    FREED_BYTES,
    DiskFaultError,
    QueuedItem,
    Schedule,
    WorkerDiedError,
    WorkerPool,
    packed_answer,
)
from refusals import refused


def schedule_of(*groups: tuple[str, str]) -> Schedule:
    schedule = Schedule()
    for order, group in enumerate(groups):
        schedule.add(QueuedItem(print, order, group, SimpleQueue(), order))
    return schedule


def taken(schedule: Schedule, worker: int) -> int | None:
    item = schedule.take(worker)
    return None if item is None else item.item


def test_each_worker_has_a_trial_of_its_own_while_there_are_enough():
    schedule = schedule_of(("a", "1"), ("a", "1"), ("b", "2"), ("b", "2"), ("c", "3"))
    assert [taken(schedule, 0), taken(schedule, 1)] == [0, 2]
    # A worker that is free goes on with its own trial, since no other serves it.
    schedule.end(0)
    assert taken(schedule, 0) == 1
    schedule.end(1)
    assert taken(schedule, 1) == 3
    schedule.end(0)
    assert taken(schedule, 0) == 4


def test_workers_without_a_trial_of_their_own_help_with_the_oldest():
    schedule = schedule_of(*[("a", "1")] * 3, *[("b", "2")] * 3)
    assert [taken(schedule, worker) for worker in range(4)] == [0, 3, 1, 2]
    assert [taken(schedule, worker) for worker in range(4, 7)] == [4, 5, None]


def test_trials_that_share_data_are_begun_one_at_a_time_if_there_are_others():
    schedule = schedule_of(("a", "1"), ("a", "2"), ("b", "3"), ("a", "4"))
    assert [taken(schedule, worker) for worker in range(4)] == [0, 2, 1, 3]


def test_what_a_trial_asks_for_later_comes_before_newer_trials():
    schedule = schedule_of(("a", "1"), ("b", "2"), ("c", "3"))
    assert [taken(schedule, 0), taken(schedule, 1)] == [0, 1]
    schedule.end(0)
    schedule.add(QueuedItem(print, 9, ("a", "1"), SimpleQueue(), 9))
    assert taken(schedule, 0) == 9


def test_what_is_remembered_of_trials_is_bounded(monkeypatch):
    monkeypatch.setattr("headstart.executors.pool.REMEMBERED", 2)
    schedule = schedule_of(("a", "1"), ("b", "2"), ("c", "3"), ("b", "2"))
    assert len(schedule.begun) == 2
    # Those that wait are in order all the same.
    assert [taken(schedule, worker) for worker in range(4)] == [0, 1, 2, 3]


def die_if_negative(number: int, send) -> int:
    if number < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def unreadable(_: int, send):
    return threading.Lock()


def test_an_item_that_kills_each_worker_is_given_up_and_others_go_on():
    with Processes(1, threads=1) as executor:
        with refused("executor.worker_died", tries=3, reason="SIGKILL"):
            list(executor.map(die_if_negative, [-1]))
        assert list(executor.map(die_if_negative, [5])) == [(5, 5)]


def test_a_value_that_cannot_travel_is_an_error_of_its_item():
    with Processes(1, threads=1) as executor:
        with pytest.raises(TypeError, match="pickle"):
            list(executor.map(unreadable, [1]))
        assert list(executor.map(die_if_negative, [5])) == [(5, 5)]


class Dies:
    """A worker that dies at the item 1, once it may."""

    def __init__(self, may_die: threading.Event, ran: list[int]) -> None:
        self.may_die, self.ran = may_die, ran

    def run(self, function, item, on_message):
        self.ran.append(item)
        on_message(item)
        if item == 1:
            self.may_die.wait()
            raise WorkerDiedError("killed")
        return item

    def stop(self) -> None:
        self.may_die.set()


def test_an_item_that_nobody_waits_for_is_not_run_again():
    may_die, ran = threading.Event(), []

    def leave(message) -> None:
        raise KeyError(message)

    with WorkerPool(lambda number: Dies(may_die, ran), 1) as pool:
        with pytest.raises(KeyError):
            list(pool.map(print, [1], leave))
        may_die.set()
        assert list(pool.map(print, [2])) == [(2, 2)]
        assert list(pool.map(print, [3])) == [(3, 3)]
    assert ran == [1, 2, 3]


class Waits:
    """A worker that runs until it is stopped."""

    def __init__(self, number: int) -> None:
        self.began, self.stopped = threading.Event(), threading.Event()

    def run(self, function, item, on_message):
        self.began.set()
        self.stopped.wait()
        raise WorkerDiedError("stopped")

    def stop(self) -> None:
        self.stopped.set()


def test_stopping_ends_those_who_wait():
    workers = []

    def start(number):
        workers.append(Waits(number))
        return workers[-1]

    pool = WorkerPool(start, 2)
    errors = []

    def wait() -> None:
        try:
            list(pool.map(print, [1, 2, 3]))
        except ExecutorError as error:
            errors.append(error.code)

    caller = threading.Thread(target=wait)
    caller.start()
    while len(workers) < 2 or not all(worker.began.is_set() for worker in workers):
        pass
    pool.stop()
    caller.join()
    assert errors == ["executor.stopped"]
    with refused("executor.stopped"):
        list(pool.map(print, [1]))


class OnMachine:
    """A worker on a machine.

    Parameters
    ----------
    machine
        Its name.
    full
        Bytes that can be written where the disk is full, by machine. No positive item can be run
        there, and none above 100 anywhere.
    ran
        Pairs of machine and item, in their order.
    may_run
        Waited for where the disk is not full.
    """

    def __init__(self, machine: str, full: dict, ran: list, may_run: threading.Event) -> None:
        self.machine = self.place = machine
        self.full, self.ran, self.may_run = full, ran, may_run

    def run(self, function, item, on_message):
        free = self.full.get(self.machine, 10**9)
        if isinstance(item, str):
            # The look for space.
            return free
        if self.machine not in self.full:
            self.may_run.wait()
        self.ran.append((self.machine, item))
        if (self.machine in self.full and item > 0) or item > 100:
            raise DiskFaultError(DiskFullError("no space", path="/x"), "/x", free, "7 MB free")
        return item

    def stop(self) -> None:
        self.may_run.set()


class RemotePool(WorkerPool):
    """A pool of one worker on each of some machines, whose names are letters."""

    remote = True

    def __init__(self, machines: str, **full: int) -> None:
        self.full, self.ran, self.notes = full, list[tuple[str, int]](), list[str]()
        self.may_run = threading.Event()
        super().__init__(
            lambda n: OnMachine(machines[n], full, self.ran, self.may_run),
            len(machines),
            note=self.hear,
        )

    def hear(self, note: str) -> None:
        self.notes.append(note)
        self.may_run.set()


def same(*items: int) -> dict[int, int]:
    return {item: item for item in items}


def test_a_machine_with_a_full_disk_leaves_its_items_to_others():
    with RemotePool("aab", a=0) as pool:
        assert dict(pool.map(print, range(1, 31))) == same(*range(1, 31))
        assert dict(pool.map(print, range(31, 61))) == same(*range(31, 61))
    # What its two workers had at the time, and no more.
    assert 1 <= sum(machine == "a" for machine, _ in pool.ran) <= 2
    assert sorted(item for machine, item in pool.ran if machine == "b") == list(range(1, 61))
    (note,) = pool.notes
    assert note.startswith("a: cannot write to /x (7 MB free): ")


def test_a_machine_whose_disk_has_space_again_runs_items(monkeypatch):
    monkeypatch.setattr("headstart.executors.pool.REST_SECONDS", 0.01)
    with RemotePool("ab", a=0) as pool:
        assert dict(pool.map(print, [1, 2])) == same(1, 2)
        (failed,) = [item for machine, item in pool.ran if machine == "a"]
        pool.full.clear()
        while len(pool.notes) < 2:
            time.sleep(0.01)
        assert "1,000 MB free in /x" in pool.notes[1]
        while sum(machine == "a" for machine, _ in pool.ran) < 2:
            assert dict(pool.map(print, [1, 2])) == same(1, 2)
    assert failed in (1, 2)


def test_a_little_space_does_not_end_the_rest(monkeypatch):
    with RemotePool("ab", a=7) as pool:
        list(pool.map(print, [1, 2]))
        pool.full["a"] = 6 + FREED_BYTES
        pool._look_for_space(0)
        assert "a" in pool._full
        pool.full["a"] = 7 + FREED_BYTES
        pool._look_for_space(0)
        assert "a" not in pool._full


def test_an_item_is_given_up_where_each_disk_is_full_and_the_error_names_the_machine():
    with RemotePool("ab", a=0, b=0) as pool:
        with refused("storage.full", path="/x") as error:
            list(pool.map(print, [1]))
        assert [item for _, item in pool.ran] == [1, 1]
        assert error.value.values["machine"] == pool.ran[-1][0]
        # What needs no space goes on.
        assert dict(pool.map(print, [-1, -2, -3])) == same(-1, -2, -3)


def test_an_item_that_fits_no_disk_is_tried_three_times_and_others_go_on():
    with RemotePool("abcdef") as pool:
        pool.may_run.set()
        with refused("storage.full"):
            list(pool.map(print, [101]))
        tried = {machine for machine, _ in pool.ran}
        assert len(pool.ran) == len(tried) == 3
        assert dict(pool.map(print, range(20))) == same(*range(20))
        # Those on whose disks it did not fit rest.
        assert not tried & {machine for machine, item in pool.ran if item < 20}


def test_where_no_machine_is_well_a_success_shows_that_it_was_the_item():
    with RemotePool("ab") as pool:
        pool.may_run.set()
        with refused("storage.full"):
            list(pool.map(print, [101]))
        assert set(pool._full) == {"a", "b"}
        assert dict(pool.map(print, [1])) == same(1)
        assert not pool._full


def fill(path: str, send) -> None:
    if path == "library":
        raise OSError(errno.ENOSPC, "No space left on device")
    if path == "read only":
        raise OSError(errno.EROFS, "Read-only file system", "/x")
    if path == "other":
        raise OSError(errno.ENOENT, "No such file or directory")
    raise DiskFullError("no space", path=path)


@pytest.mark.parametrize("raised", ["library", "read only", "own"])
def test_a_worker_says_which_disk_is_full(raised, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    item = str(tmp_path / "a" / "b") if raised == "own" else raised
    kind, fault = pickle.loads(packed_answer(pickle.dumps((fill, item)), ignore))
    assert (kind, type(fault)) == ("error", DiskFaultError)
    assert fault.folder == ("/" if raised == "read only" else str(tmp_path))
    assert ("MB free" in fault.reason) == (raised != "read only")
    assert fault.free > 0
    assert isinstance(fault.error, DiskFullError if raised == "own" else OSError)
    assert list(tmp_path.iterdir()) == []


def test_another_error_is_no_full_disk():
    kind, error = pickle.loads(packed_answer(pickle.dumps((fill, "other")), ignore))
    assert (kind, error.errno) == ("error", errno.ENOENT)


def test_processes_of_one_machine_raise_what_was_raised():
    with Processes(2, threads=1) as executor, refused("storage.full", path="x", machine=None):
        list(executor.map(fill, ["x"]))
