"""Workers on a Ray cluster: actors, each with its CPUs, its share of a GPU, and memory.

What a worker runs travels by pickle, functions by reference: the same headstart has to be installed
on all nodes. Nodes share the cache folder, or its URL.
"""

import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from headstart.devices import Device
from headstart.errors import ExecutorError, WorkersLostError
from headstart.executors.executor import (
    Send,
    adopt_variables,
    ignore,
    machine_name,
    not_installed,
    other_software,
    own_variables,
    process_name,
    refuse_other_software,
    software_versions,
    visible_gpus,
)
from headstart.executors.pool import WorkerDiedError, WorkerPool, packed_answer
from headstart.spec.formatting import count
from headstart.threads import THREAD_VARIABLES, available_cpus, configure_threads

__all__ = ["imported_ray", "open_ray"]

# Address of a cluster that is started for one run.
LOCAL = "local"
ADDRESS_VARIABLE = "RAY_ADDRESS"
TOKEN_FILE = Path("~/.ray/auth_token")
AUTH_VARIABLE = "RAY_AUTH_MODE"
CONNECT = "import sys; from ray._raylet import GcsClient; GcsClient(address=sys.argv[1])"
# In Ray's text where a cluster refuses a connection.
REFUSED_TEXT = "InvalidAuthToken"
# Of a local cluster: what travels is small.
OBJECT_STORE_BYTES = 200 * 2**20
# How long a worker keeps its caller waiting for an answer, and how often a caller looks up.
ANSWER_SECONDS, LOOK_SECONDS = 10.0, 0.5
# How many answers travel at once.
ANSWERS = 1000
# How long the cluster's head may be gone; Ray itself ends the process after a minute.
LOST_SECONDS = 30.0
# How long a worker may be waited for before the user is informed.
PATIENCE_SECONDS = 20.0
# How long a call may take whose cluster may be gone.
BOUND_SECONDS = 2.0
# How long importing Ray and asking a cluster may take.
TOKEN_SECONDS = 60.0
LONGEST_REASON = 200
# Digits of a node's number that are shown, of those in `ray list nodes`.
NODE_DIGITS = 12
# Of messages.
NODES = "nodes of the Ray cluster"
RESUME = "finished results are kept: run the same command again to resume"


@contextmanager
def open_ray(
    workers: int,
    device: Device,
    *,
    address: str | None = None,
    cpus_per_worker: int | None = None,
    gpus_per_worker: float | None = None,
    memory_per_worker: float | None = None,
    note: Callable[[str], None] = ignore,
    verbose: bool = False,
) -> Iterator["RayWorkers"]:
    """Start workers on a Ray cluster; the factory in the registry.

    Parameters
    ----------
    workers
        Number of workers; 0 takes all that the cluster has room for now. More than that wait for
        nodes that an autoscaler adds.
    device
        Where items run.
    address
        ``"auto"``, ``"HOST:PORT"``, ``"ray://HOST:PORT"``, or ``"local"``, a cluster on this
        machine that ends with the run. By default $RAY_ADDRESS, or local.
    cpus_per_worker
        By default an equal share of the CPUs.
    gpus_per_worker
        Number, or proportion: of 0.25 four workers share a GPU. By default one, if `device` selects
        GPUs and the cluster has some.
    memory_per_worker
        GB that a node must have free for a worker; not looked at by default.

    Raises
    ------
    ExecutorError
        No Ray, no cluster at this address, no room for a worker.
    """
    with _connected(address, device, verbose) as ray:
        nodes = _nodes(ray)
        if gpus_per_worker is None:
            has_gpu = any(node.get("GPU", 0) >= 1 for node in nodes)
            gpus_per_worker = 1 if device != "cpu" and (has_gpu or device == "cuda") else 0
        least = Share(cpus_per_worker or 1, gpus_per_worker, int(1e9 * (memory_per_worker or 0)))
        share = least if cpus_per_worker else least.largest(nodes, workers)
        workers = workers or share.room(nodes)
        if not workers:
            raise ExecutorError(
                f"no node of the Ray cluster has {share}: pass --workers to wait for nodes, or "
                "smaller --cpus-per-worker, --gpus-per-worker, --memory-per-worker",
                code="executor.no_room",
                share=str(share),
            )
        each = count(workers, "worker") + ", each" * (workers != 1)
        note(f"Ray cluster of {count(len(nodes), 'node')}: {each} with {share}")
        with RayWorkers(ray, workers, share, least, note) as pool:
            yield pool


@dataclass(frozen=True)
class Share:
    """What each worker gets: CPUs, GPUs, bytes of memory."""

    cpus: int
    gpus: float
    memory: int

    def __str__(self) -> str:
        parts = [f"{self.cpus} CPU{'s' * (self.cpus != 1)}"]
        parts += [f"{self.gpus:g} GPU"] if self.gpus else []
        parts += [f"{self.memory / 1e9:g} GB"] if self.memory else []
        return ", ".join(parts)

    def room(self, nodes: list[dict[str, float]]) -> int:
        """Return the number of workers that nodes have room for."""
        wanted = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory}
        return sum(
            min(int(node.get(name, 0) / amount) for name, amount in wanted.items() if amount)
            for node in nodes
        )

    def largest(self, nodes: list[dict[str, float]], workers: int) -> "Share":
        """Return the share with most CPUs that leaves room for as many workers."""
        workers = workers or self.room(nodes)
        most = int(max((node.get("CPU", 0) for node in nodes), default=1))
        # GPUs divide their node; on processors alone, workers of one thread are the fastest.
        sizes = range(most, 1, -1)
        fitting = (Share(cpus, self.gpus, self.memory) for cpus in sizes)
        return next((each for each in fitting if each.room(nodes) >= workers), self)


class RayWorkers(WorkerPool):
    """A pool of Ray actors, each with a `share`; with `least` if nodes go, and none has more."""

    remote = True

    def __init__(
        self,
        ray: Any,
        workers: int,
        share: Share,
        least: Share,
        note: Callable[[str], None] = ignore,
    ) -> None:
        self._ray, self._share, self._least = ray, share, least
        self._waits = False
        super().__init__(self._start_worker, workers, note=note)
        if head := _head_address(ray):
            watch = threading.Thread(target=self._watch, args=(head,), daemon=True)
            watch.start()

    def _start_worker(self, number: int) -> "RayWorker":  # noqa: ARG002
        share = self._share
        variables = {name: str(share.cpus) for name in THREAD_VARIABLES}
        options = {
            "num_cpus": share.cpus,
            "num_gpus": share.gpus,
            "memory": share.memory or None,
            "max_restarts": 0,
            "max_task_retries": 0,
            "scheduling_strategy": "SPREAD",
            "runtime_env": {"env_vars": variables},
        }
        runner = self._ray.remote(ItemRunner).options(**options)
        actor = runner.remote(share.cpus, own_variables())
        worker = RayWorker(self._ray, actor, self)
        began = time.monotonic()
        try:
            found, worker.place, worker.machine = worker.ask(
                actor.facts.remote, lambda: self._while_waiting(share, began)
            )
        except BaseException:
            worker.stop()
            raise
        refuse_other_software(found, NODES)
        return worker

    def _while_waiting(self, share: Share, began: float) -> None:
        """Ask for less if no node is left that has so much; else inform the user, once."""
        if time.monotonic() - began < PATIENCE_SECONDS:
            return
        nodes = _nodes(self._ray)
        if not share.room(nodes) and self._least.room(nodes):
            self._share = self._least.largest(nodes, self.workers)
            raise WorkerDiedError(f"no node has {share} any more")
        if not self._waits:
            self._waits = True
            self._note(f"waiting for a Ray node with {share} free (see `ray status`)")

    def _watch(self, head: tuple[str, int]) -> None:
        """Lose the workers when the cluster's head is gone: calls of Ray would wait for ever."""
        seen = time.monotonic()
        while not self.stopped:
            with suppress(OSError), socket.create_connection(head, timeout=BOUND_SECONDS):
                seen = time.monotonic()
            if time.monotonic() - seen > LOST_SECONDS:
                self.lose(_lost(f"nobody answers at {head[0]}:{head[1]}"))
            time.sleep(LOOK_SECONDS)


class RayWorker:
    """One actor, seen from here."""

    def __init__(self, ray: Any, actor: Any, pool: RayWorkers) -> None:
        self._ray, self._actor, self._pool = ray, actor, pool
        # Until it says where it is.
        self.place = self.machine = "a Ray node"

    def run(self, function: Callable[[Any, Send], Any], item: Any, on_message: Send) -> Any:
        packed: bytes | None = pickle.dumps((function, item))
        while True:
            for answer in self.ask(partial(self._actor.answers.remote, packed)):
                kind, content = pickle.loads(answer)  # noqa: S301 - from a worker of our own
                if kind == "error":
                    raise content
                if kind == "value":
                    return content
                on_message(content)
            packed = None

    def ask(self, call: Callable[[], Any], while_waiting: Callable[[], object] = bool) -> Any:
        """Return what a call of the actor returns.

        Raises
        ------
        WorkerDiedError
            The actor died, or the pool was stopped.
        WorkersLostError
            There is no connection to the cluster any more, or it cannot run headstart.
        """
        from ray.exceptions import RayError, RuntimeEnvSetupError

        try:
            reference = call()
            while not self._pool.stopped:
                if self._ray.wait([reference], timeout=LOOK_SECONDS)[0]:
                    return self._ray.get(reference)
                while_waiting()
        except RuntimeEnvSetupError as error:
            raise other_software(NODES, _reason(error)) from error
        except RayError as error:
            if "No module named 'headstart" in str(error):
                raise other_software(NODES, "headstart is not installed there") from error
            raise WorkerDiedError(_reason(error)) from error
        # Of a connection by ray://.
        except ConnectionError as error:
            lost = _lost(_reason(error))
            self._pool.lose(lost)
            raise lost from error
        raise WorkerDiedError("stopped")

    def stop(self) -> None:
        _bounded(lambda: self._ray.kill(self._actor))


class ItemRunner:
    """The actor: runs one item after the other. The one thread that Ray knows of never computes."""

    def __init__(self, threads: int, variables: Mapping[str, str]) -> None:
        adopt_variables(variables)
        configure_threads(threads)
        self._items: SimpleQueue[bytes] = SimpleQueue()
        self._answers: SimpleQueue[bytes] = SimpleQueue()
        threading.Thread(target=self._serve, daemon=True).start()

    def facts(self) -> tuple[dict[str, str], str, str]:
        """Return the versions of software, and where this runs, for a person: process and node."""
        import ray

        # Several nodes may be on one machine.
        node = ray.get_runtime_context().get_node_id()[:NODE_DIGITS]
        return software_versions(), process_name(), f"{machine_name()}, Ray node {node}"

    def answers(self, packed: bytes | None) -> list[bytes]:
        """Begin an item, if one is given; return what was sent since, its value last."""
        if packed is not None:
            self._items.put(packed)
        found: list[bytes] = []
        with suppress(Empty):
            found.append(self._answers.get(timeout=ANSWER_SECONDS))
            while len(found) < ANSWERS:
                found.append(self._answers.get_nowait())
        return found

    def _serve(self) -> None:
        def send(message: Any) -> None:
            self._answers.put(pickle.dumps(("message", message)))

        try:
            while True:
                self._answers.put(packed_answer(self._items.get(), send))
        finally:
            # SystemExit, or the like: without this thread the actor would never answer again.
            os._exit(1)


@contextmanager
def _connected(address: str | None, device: Device, verbose: bool) -> Iterator[Any]:
    """Import Ray, connect to a cluster or start one; leave it as it was found."""
    address = address or os.environ.get(ADDRESS_VARIABLE) or LOCAL
    _settle_token(address)
    ray = imported_ray(address, verbose=verbose)
    if ray.is_initialized():
        yield ray
        return
    options: dict[str, Any] = {"address": address}
    if address == LOCAL:
        options |= {
            "num_cpus": available_cpus(),
            "num_gpus": len(visible_gpus(device)),
            "object_store_memory": OBJECT_STORE_BYTES,
            "include_dashboard": False,
        }
    try:
        _refuse_silent(address)
        with _handlers_kept():
            ray.init(**options, log_to_driver=verbose, configure_logging=verbose)
    # A wrong address, another version of Ray or Python, no permission: each has its own kind.
    except Exception as error:
        if "Version mismatch" in str(error):
            raise other_software(NODES, " ".join(str(error).split())) from error
        if REFUSED_TEXT in "".join(traceback.format_exception(error)):
            raise _no_token(address) from error
        if "AF_UNIX" in str(error):
            raise ExecutorError(
                "the temporary folder's path is too long for Ray's sockets: set RAY_TMPDIR to a "
                "folder with a path of up to 40 bytes, for example /tmp",
                code="executor.long_path",
            ) from error
        raise ExecutorError(
            f"no Ray cluster at '{address}' ({_reason(error)}): start one with `ray start --head`, "
            "or pass --address local",
            code="executor.no_cluster",
            address=address,
        ) from error
    try:
        yield ray
    finally:
        _bounded(ray.shutdown, 2 * BOUND_SECONDS)


def imported_ray(address: str, *, verbose: bool) -> Any:
    """Import Ray, which reads these variables then."""
    if "ray" not in sys.modules:
        if address == LOCAL or address.startswith(("127.0.0.1:", "localhost:")):
            # All of it listens at 127.0.0.1 only, as on systems other than Linux; by default Ray
            # replaces that by an address that other machines reach.
            os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        if not verbose:
            os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".*")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # `ray start` takes a token that is there; a connection by ray:// does so only when told.
        if address.startswith("ray://") and TOKEN_FILE.expanduser().exists():
            os.environ.setdefault(AUTH_VARIABLE, "token")
    try:
        import ray
    except ImportError as error:
        raise not_installed("ray") from error
    # Importing it sets a level of its own.
    if not verbose:
        logging.getLogger("ray").setLevel(logging.ERROR)
    return ray


def _refuse_silent(address: str) -> None:
    """Raise OSError if nobody answers at an address: Ray would wait for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _settle_token(address: str) -> None:
    """Set the variable by which Ray sends our token, if a cluster asks for one.

    A process of its own finds out: Ray reads the variable once, and where it is refused it tries
    for 20 seconds and writes a line for each.

    Raises
    ------
    ExecutorError
        The cluster asks for another token.
    """
    if "ray" in sys.modules or not address.rpartition(":")[0] or "/" in address:
        return
    try:
        _refuse_silent(address)
    except OSError:
        return
    modes: list[dict[str, str]] = [{}]
    if AUTH_VARIABLE not in os.environ and TOKEN_FILE.expanduser().exists():
        modes.append({AUTH_VARIABLE: "token"})
    for mode in modes:
        if not _refuses(address, mode):
            os.environ.update(mode)
            return
    raise _no_token(address)


def _refuses(address: str, variables: Mapping[str, str]) -> bool:
    """Whether a cluster refuses our token, or that we have none."""
    command = [sys.executable, "-c", CONNECT, address]
    with suppress(subprocess.TimeoutExpired):
        done = subprocess.run(  # noqa: S603
            command, env={**os.environ, **variables}, capture_output=True, text=True, check=False,
            timeout=TOKEN_SECONDS, errors="replace",
        )  # fmt: skip
        return REFUSED_TEXT in done.stderr
    return False


def _no_token(address: str) -> ExecutorError:
    return ExecutorError(
        f"the Ray cluster at '{address}' asks for a token that this machine does not have: copy "
        "~/.ray/auth_token from the cluster's head, chmod 600, and leave RAY_AUTH_MODE unset or "
        "set it to token",
        code="executor.no_token",
        address=address,
    )


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Keep the handlers of SIGTERM and of uncaught errors, which Ray replaces.

    Its own for errors asks the cluster first, and prints nothing where that is gone.
    """
    is_main = threading.current_thread() is threading.main_thread()
    before, hook = signal.getsignal(signal.SIGTERM), sys.excepthook
    try:
        yield
    finally:
        sys.excepthook = hook
        if is_main:
            signal.signal(signal.SIGTERM, before)


def _nodes(ray: Any) -> list[dict[str, float]]:
    """Return what each node that is alive has."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _head_address(ray: Any) -> tuple[str, int] | None:
    """Return where the head listens; None where the connection is one by ray://."""
    if ray.util.client.ray.is_connected():
        return None
    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    return host.strip("[]"), int(port)


def _bounded(function: Callable[[], Any], seconds: float = BOUND_SECONDS) -> None:
    """Call a function whose result does not matter, and go on if it takes longer."""

    def call() -> None:
        # The cluster may be gone.
        with suppress(Exception):
            function()

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)


def _reason(error: BaseException) -> str:
    """Return the line of Ray's text that says why."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [repr(error)]
    # Of one that only announces the others, the last: what a server raised.
    first = lines[-1] if lines[0].endswith(":") else lines[0]
    line = next((line for line in lines if "is dead because" in line), first)
    return line.partition(" Some common causes")[0][:LONGEST_REASON]


def _lost(reason: str) -> WorkersLostError:
    return WorkersLostError(
        f"the Ray cluster is gone ({reason}); {RESUME}", code="executor.cluster_lost", reason=reason
    )
