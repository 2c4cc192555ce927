"""What all executors do: in this process, in processes, on a Ray cluster, in Slurm jobs."""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

import engines
from engines import open_executor
from headstart.executors import InProcess, Processes, executor_of
from refusals import refused


def test_in_this_process_in_order():
    heard = []
    assert list(InProcess().map(engines.square, [3, 1, 2])) == [(3, 9), (1, 1), (2, 4)]
    assert list(InProcess().map(engines.count_aloud, [2], heard.append)) == [(2, 2)]
    assert heard == [(2, 0), (2, 1)]


def test_workers_give_every_value_once_and_stay(executor_name):
    with open_executor(executor_name, 2) as executor:
        assert sorted(executor.map(engines.square, range(10))) == [(n, n * n) for n in range(10)]
        workers = {worker for _, worker in executor.map(engines.process_id, range(8))}
        assert os.getpid() not in workers
        assert {worker for _, worker in executor.map(engines.process_id, range(8))} & workers


def test_a_worker_sees_its_gpu_alone():
    with Processes(2, gpus=[0, 3]) as executor:
        assert {gpu for _, gpu in executor.map(engines.visible_gpu, range(6))} == {"0", "3"}


def test_the_first_error_ends_it(executor_name):
    with open_executor(executor_name, 1) as executor:
        with pytest.raises(ValueError, match="three") as error:
            list(executor.map(engines.fail_at_three, range(6)))
        assert "engines.py:" in error.value.__notes__[-1]
        assert list(executor.map(engines.square, [2])) == [(2, 4)]


def test_a_full_disk_of_another_machine_is_an_error_that_names_it(executor_name, tmp_path):
    with open_executor(executor_name, 1) as executor:
        with refused("storage.full", path=str(tmp_path)) as error:
            list(executor.map(engines.fill_the_disk, [str(tmp_path)]))
        machine = error.value.values.get("machine", "")
        assert machine.startswith(socket.gethostname() if executor.remote else "")
        assert machine in str(error.value)
        assert "engines.py:" in error.value.__notes__[-1]
        # It is the only one: what needs no space is run there.
        assert list(executor.map(engines.square, [2])) == [(2, 4)]


def test_what_kills_its_worker_is_tried_three_times(executor_name):
    with open_executor(executor_name, 1) as executor:
        with refused("executor.worker_died", tries=3):
            list(executor.map(engines.end_at_once, [1]))
        assert list(executor.map(engines.square, [2])) == [(2, 4)]


def test_an_item_whose_worker_is_killed_is_run_again(executor_name, tmp_path):
    with open_executor(executor_name, 2) as executor:
        ((_, worker),) = executor.map(engines.die_once, [str(tmp_path / "died")])
        assert worker != os.getpid()
        assert sorted(executor.map(engines.square, range(4)))[-1] == (3, 9)


def test_more_workers_than_a_pool_or_a_system_can_have(monkeypatch):
    with refused("executor.no_workers", workers=10**23):
        Processes(10**23)
    start, before = threading.Thread.start, set(threading.enumerate())

    def start_two(thread):
        if thread.name == "worker 2":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_two)
    with refused("executor.threads", started=2, workers=5):
        Processes(5)
    assert set(threading.enumerate()) <= before


def test_no_workers():
    with refused("executor.no_workers", workers=0):
        Processes(0)
    with refused("executor.no_workers", workers=0), executor_of(0, "cpu", "processes"):
        pass
    with executor_of(0, "cpu") as executor:
        assert executor is None


@pytest.mark.parametrize(("workers", "name", "option"), [
    (1, "processes", "address"), (1, "ray", "partition"), (1, "slurm", "address"),
    (0, None, "cpus_per_worker"),
])  # fmt: skip
def test_an_option_of_another_executor(workers, name, option):
    with (
        refused("executor.option_unknown", option=option),
        executor_of(workers, "cpu", name, **{option: 1}),
    ):
        pass


def test_an_unknown_executor():
    unknown = refused("name.unknown", kind="executor", name="proceses", near=["processes"])
    with unknown, executor_of(2, "cpu", "proceses"):
        pass


@pytest.mark.parametrize(("name", "library"), [("ray", "ray"), ("slurm", "submitit")])
def test_an_executor_without_its_library(name, library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with refused("executor.not_installed", executor=name), executor_of(1, "cpu", name):
        pass


def test_all_messages_of_an_item_come_before_its_value(executor_name):
    heard = []
    with open_executor(executor_name, 2) as executor:
        for number, value in executor.map(engines.count_aloud, [3, 0, 5], heard.append):
            assert [i for n, i in heard if n == number] == list(range(value))
    assert len(heard) == 8


def test_a_worker_does_not_wait_for_somebody_to_listen(executor_name):
    with open_executor(executor_name, 1) as executor:
        mapped = executor.map(engines.tell_much, [1, 2])
        assert next(mapped)[0] == 1
        mapped.close()
        heard = []
        # What the call before has told is not taken for this one's.
        assert list(executor.map(engines.count_aloud, [2], heard.append)) == [(2, 2)]
        assert heard == [(2, 0), (2, 1)]


def test_stopping_ends_what_runs(executor_name, tmp_path):
    with open_executor(executor_name, 1) as executor:
        mapped = executor.map(engines.hold, [str(tmp_path)], lambda _: stopper.start())
        stopper = threading.Thread(target=executor.stop)
        with refused("executor.stopped"):
            next(mapped)
        began = time.monotonic()
        stopper.join()
    assert time.monotonic() - began < 5
    (worker,) = (int(file.name) for file in tmp_path.iterdir())
    assert engines.ends(worker)


def test_a_worker_has_the_threads_that_are_asked_for(executor_name):
    with open_executor(executor_name, 1, cpus_per_worker=1) as executor:
        assert list(executor.map(engines.threads, [0])) == [(0, 1)]


def test_where_items_of_a_group_run(executor_name, tmp_path):
    places = []
    with open_executor(executor_name, 1) as executor:

        def look(_) -> None:
            places.extend(executor.places("trial"))
            assert executor.places("another") == []
            (tmp_path / "go").touch()

        mapped = executor.map(engines.hold, [str(tmp_path)], look, group=("data", "trial"))
        ((_, worker),) = mapped
        assert executor.places("trial") == []
    (place,) = places
    if executor_name == "slurm":
        assert place.startswith("Slurm job ")
    else:
        assert place == f"{socket.gethostname()}, process {worker}"


def test_a_worker_that_is_starting_does_not_end_by_ctrl_c():
    """It is in the terminal's group of processes, and its parent ends it."""
    found: list[tuple[int, int]] = []
    with Processes(1, threads=1) as executor:
        run = threading.Thread(target=lambda: found.extend(executor.map(engines.process_id, [1])))
        before = set(multiprocessing.active_children())
        run.start()
        while not (started := set(multiprocessing.active_children()) - before):
            time.sleep(0.001)
        (worker,) = started
        os.kill(worker.pid, signal.SIGINT)
        run.join()
    assert found == [(1, worker.pid)]


PROGRAM = """
import os
import torch
from headstart.executors import Processes

def threads(_, send):
    return torch.get_num_threads()

if __name__ == "__main__":
    with Processes(2) as executor:
        found = {value for _, value in executor.map(threads, range(2))}
    print(found == {max(1, os.cpu_count() // 2)})
"""


def test_workers_share_the_threads_though_the_program_imports_torch_first(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    free = {name: value for name, value in os.environ.items() if "NUM_THREADS" not in name}
    ran = subprocess.run(
        [sys.executable, program], env=free, capture_output=True, text=True, check=False
    )
    assert ran.stdout == "True\n", ran.stderr
