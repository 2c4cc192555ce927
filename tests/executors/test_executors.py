import os
import signal
import subprocess
import sys
import time

import pytest

from headstart.executors import InProcess, Processes, executor_of
from refusals import refused


def square(number: int, send) -> int:
    return number * number


def process_id(_: int, send) -> int:
    # Long enough that one worker does not take all.
    time.sleep(0.05)
    return os.getpid()


def visible_gpu(_: int, send) -> str:
    time.sleep(0.2)
    return os.environ.get("CUDA_VISIBLE_DEVICES", "none")


def fail_at_three(number: int, send) -> int:
    if number == 3:
        raise ValueError("three")
    return number


def count_aloud(number: int, send) -> int:
    for i in range(number):
        send((number, i))
    return number


def tell_much(number: int, send) -> int:
    # Far more than a pipe holds, and one message that is too large for it.
    for i in range(20_000):
        send(i)
    send("x" * 100_000)
    return number


def end_at_once(_: int, send) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_in_this_process_in_order():
    assert list(InProcess().map(square, [3, 1, 2])) == [(3, 9), (1, 1), (2, 4)]


def test_other_processes_give_every_value_once():
    with Processes(2) as executor:
        assert sorted(executor.map(square, range(10))) == [(n, n * n) for n in range(10)]
        workers = {worker for _, worker in executor.map(process_id, range(8))}
        assert os.getpid() not in workers
        # The same workers again: they stay until they are closed.
        assert {worker for _, worker in executor.map(process_id, range(8))} & workers


def test_a_worker_sees_its_gpu_alone():
    with Processes(2, gpus=[0, 3]) as executor:
        assert {gpu for _, gpu in executor.map(visible_gpu, range(6))} == {"0", "3"}


def test_the_first_error_ends_it():
    with Processes(1) as executor, pytest.raises(ValueError, match="three"):
        list(executor.map(fail_at_three, range(6)))


def test_a_worker_that_is_killed_is_told():
    with Processes(1) as executor, refused("executor.worker_died"):
        list(executor.map(end_at_once, [1]))


def test_no_workers():
    with refused("executor.no_workers", workers=0):
        Processes(0)
    with refused("executor.no_workers", workers=0), executor_of(0, "cpu", "processes"):
        pass
    with executor_of(0, "cpu") as executor:
        assert executor is None


def test_an_unknown_executor():
    unknown = refused("name.unknown", kind="executor", name="proceses", near=["processes"])
    with unknown, executor_of(2, "cpu", "proceses"):
        pass


@pytest.mark.parametrize("make", [InProcess, lambda: Processes(2)])
def test_all_that_a_function_tells_is_heard_before_its_value(make):
    heard = []

    def run(executor):
        for number, value in executor.map(count_aloud, [3, 0, 5], heard.append):
            assert [i for n, i in heard if n == number] == list(range(value))

    executor = make()
    if isinstance(executor, InProcess):
        run(executor)
    else:
        with executor:
            run(executor)
    assert len(heard) == 8


def test_a_worker_does_not_wait_for_somebody_to_listen():
    with Processes(1) as executor:
        mapped = executor.map(tell_much, [1, 2])
        assert next(mapped)[0] == 1
        mapped.close()
        heard = []
        # What the call before has told is not taken for this one's.
        assert list(executor.map(count_aloud, [2], heard.append)) == [(2, 2)]
        assert heard == [(2, 0), (2, 1)]


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
