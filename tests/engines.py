"""Executors for tests: what their workers run, and how each is opened here.

Workers import this module by its name.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import headstart
from headstart.errors import DiskFullError
from headstart.executors import Executor, executor_of


def square(number: int, send) -> int:
    return number * number


def process_id(_: int, send) -> int:
    # Long enough that one worker does not take all.
    time.sleep(0.05)
    return os.getpid()


def visible_gpu(_: int, send) -> str:
    time.sleep(0.2)
    return os.environ.get("CUDA_VISIBLE_DEVICES", "none")


def fill_the_disk(path: str, send) -> None:
    raise DiskFullError("no space", path=path)


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


def die_once(marker: str, send) -> int:
    """Kill this worker unless one has been killed at this marker."""
    if not Path(marker).exists():
        Path(marker).write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def hold(folder: str, send) -> int:
    """Say which process this is, and wait to be released."""
    (Path(folder) / str(os.getpid())).write_text("")
    send("held")
    while not (Path(folder) / "go").exists():
        time.sleep(0.05)
    return os.getpid()


def threads(_: int, send) -> int:
    import torch

    return torch.get_num_threads()


def ends(process: int, seconds: float = 5) -> bool:
    """Return whether a process ends in time."""
    for _ in range(int(seconds / 0.05)):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def python_path() -> str:
    """Return a PYTHONPATH by which workers find the package and this module."""
    places = (Path(headstart.__file__).parents[1], Path(__file__).parent)
    return os.pathsep.join(map(str, places))


def open_executor(name: str, workers: int, **options: Any) -> AbstractContextManager[Executor]:
    """Open an executor as the command line does, for the CPU."""
    if name == "ray":
        options = {"address": os.environ["TEST_RAY_ADDRESS"], **options}
    return executor_of(workers, "cpu", name, **options)


@contextmanager
def ray_cluster() -> Iterator[Any]:
    """Start a Ray cluster of two nodes with one CPU each, at 127.0.0.1."""
    from headstart.executors import ray_cluster

    ray_cluster.imported_ray("local", verbose=False)
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    cluster = Cluster(
        initialize_head=True,
        head_node_args={**node, "include_dashboard": False, "node_ip_address": "127.0.0.1"},
    )
    try:
        cluster.add_node(**node)
        yield cluster
    finally:
        cluster.shutdown()
