"""Which item a worker runs next, and what becomes of items whose worker dies."""

import os
import signal
import threading
from pathlib import Path
from queue import SimpleQueue

import pytest

from headstart.errors import ExecutorError
from headstart.executors import Processes
from headstart.executors.pool import QueuedItem, Schedule, WorkerDiedError, WorkerPool
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


def die_once(mark: Path, send) -> str:
    send(f"{mark.name} begins")
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return mark.name


def die_if_negative(number: int, send) -> int:
    if number < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def unreadable(_: int, send):
    return threading.Lock()


def test_an_item_whose_worker_was_killed_is_run_again(tmp_path):
    heard = []
    with Processes(2, threads=1) as executor:
        marks = [tmp_path / "a", tmp_path / "b"]
        found = dict(executor.map(die_once, marks, heard.append))
    assert found == {mark: mark.name for mark in marks}
    assert sorted(heard) == ["a begins"] * 2 + ["b begins"] * 2


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
