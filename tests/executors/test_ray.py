"""What only a Ray cluster has: nodes that go, room, versions, a head that is lost."""

import os
import socket
import subprocess
import sys
import time
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pytest

import engines
from headstart.executors import ray_cluster
from headstart.executors.executor import software_versions
from headstart.executors.ray_cluster import Share
from refusals import refused

CPU_NODES = [{"CPU": 16.0, "memory": 64e9}, {"CPU": 16.0, "memory": 64e9}]
GPU_NODES = [{"CPU": 4.0}, {"CPU": 32.0, "GPU": 4.0}, {"CPU": 32.0, "GPU": 4.0}]


@pytest.mark.parametrize(
    ("nodes", "share", "workers", "cpus", "room"),
    [
        # As many as fit, of one thread each.
        (CPU_NODES, Share(1, 0, 0), 0, 1, 32),
        # Three on two nodes: of 10 CPUs each, one would have no place.
        (CPU_NODES, Share(1, 0, 0), 3, 8, 4),
        (CPU_NODES, Share(1, 0, 0), 64, 1, 32),
        (CPU_NODES, Share(1, 0, int(30e9)), 0, 8, 4),
        # The CPUs of a node are shared by the workers of its GPUs.
        (GPU_NODES, Share(1, 1, 0), 0, 8, 8),
        (GPU_NODES, Share(1, 0.25, 0), 0, 2, 32),
        (GPU_NODES, Share(1, 0.25, 0), 4, 16, 4),
        ([], Share(1, 0, 0), 0, 1, 0),
    ],
)
def test_what_each_worker_gets(nodes, share, workers, cpus, room):
    found = share.largest(nodes, workers)
    assert (found.cpus, found.room(nodes)) == (cpus, room)


@pytest.mark.slow
@pytest.mark.parametrize(("code", "workers", "options"), [
    ("executor.no_room", 0, {"cpus_per_worker": 99}),
    ("executor.no_room", 0, {"memory_per_worker": 1e6}),
    ("executor.no_cluster", 1, {"address": "127.0.0.1:1"}),
])  # fmt: skip
def test_a_cluster_that_will_not_do(ray_cluster, code, workers, options):
    with refused(code), engines.open_executor("ray", workers, **options):
        pass


@pytest.fixture
def listening():
    """The address of a socket that somebody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen()
        yield "{}:{}".format(*one.getsockname())


@pytest.mark.parametrize(
    ("asks", "has", "said", "sent"),
    [
        # Whether the cluster asks for a token, whether there is one here, what the variable says.
        (False, True, None, None),
        (True, True, None, "token"),
        (True, True, "token", "token"),
        (False, False, None, None),
        (True, False, None, "refused"),
        (True, True, "disabled", "refused"),
    ],
)
def test_a_token_is_sent_to_a_cluster_that_asks_for_one(
    monkeypatch, tmp_path, listening, asks, has, said, sent
):
    if has:
        (tmp_path / "token").touch()
    monkeypatch.setattr(ray_cluster, "TOKEN_FILE", tmp_path / "token")
    monkeypatch.setattr(
        ray_cluster,
        "CONNECT",
        f"""
import os, sys
if {asks} and os.environ.get("RAY_AUTH_MODE") != "token":
    sys.exit("RPC error: InvalidAuthToken: missing or incorrect")""",
    )
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    variables = {name: text for name, text in os.environ.items() if name != "RAY_AUTH_MODE"}
    monkeypatch.setattr(os, "environ", variables | ({"RAY_AUTH_MODE": said} if said else {}))
    if sent == "refused":
        with refused("executor.no_token", address=listening):
            ray_cluster._settle_token(listening)
    else:
        ray_cluster._settle_token(listening)
        assert os.environ.get("RAY_AUTH_MODE") == sent


def test_a_cluster_that_refuses_a_token_is_not_taken_for_none(monkeypatch, listening):
    def refuse(**_options):
        try:
            raise ConnectionError("RPC error: InvalidAuthToken: token is missing or incorrect")
        except ConnectionError as error:
            raise RuntimeError("no connection") from error

    fake = SimpleNamespace(is_initialized=lambda: False, init=refuse)
    monkeypatch.setattr(ray_cluster, "imported_ray", lambda *_, **__: fake)
    monkeypatch.setattr(ray_cluster, "_settle_token", lambda _: None)
    with (
        refused("executor.no_token", address=listening),
        ray_cluster._connected(listening, "cpu", verbose=False),
    ):
        pass


OPEN_LOCAL = """
from headstart.errors import HeadstartError
from headstart.executors import executor_of

try:
    with executor_of(1, "cpu", "ray", address="local"):
        pass
except HeadstartError as error:
    print(error.code)
"""


@pytest.mark.slow
def test_a_temporary_folder_with_a_long_path(worker_path, tmp_path):
    """In a process of its own: Ray does not recover from it."""
    (long := tmp_path / ("x" * 100)).mkdir()
    command = [sys.executable, "-c", OPEN_LOCAL]
    variables = {**os.environ, "RAY_TMPDIR": str(long)}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["executor.long_path"]


SQUARES = """
import sys
import engines
from headstart.executors import executor_of

with executor_of(1, "cpu", "ray", address=sys.argv[1]) as executor:
    print(sorted(value for _, value in executor.map(engines.square, [1, 2, 3])))
"""


@pytest.mark.slow
def test_a_cluster_is_reached_by_its_client_server(worker_path):
    """By processes of their own: a process has one connection to Ray."""
    with socket.socket() as one, socket.socket() as other:
        for free in (one, other):
            free.bind(("127.0.0.1", 0))
        port, client = one.getsockname()[1], other.getsockname()[1]
    variables = {**os.environ, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    variables.pop("RAY_ADDRESS", None)
    # A short path: sockets lie there.
    with TemporaryDirectory(dir="/tmp", prefix="ray", ignore_cleanup_errors=True) as folder:
        start = ["start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={port}",
                 f"--ray-client-server-port={client}", "--num-cpus=1", f"--temp-dir={folder}",
                 "--include-dashboard=false", "--object-store-memory=80000000"]  # fmt: skip
        head = subprocess.Popen([sys.executable, "-m", "ray.scripts.scripts", *start],
                                env=variables, stdout=subprocess.DEVNULL)  # fmt: skip
        try:
            # Ray gives its server 30 seconds, which a busy machine may exceed the first time.
            for _ in range(4):
                command = [sys.executable, "-c", SQUARES, f"ray://127.0.0.1:{client}"]
                done = subprocess.run(command, env=variables, capture_output=True, text=True,
                                      timeout=120)  # fmt: skip
                if not done.returncode:
                    break
                time.sleep(10)
            assert done.stdout.splitlines()[-1:] == ["[1, 4, 9]"], done.stderr
        finally:
            head.terminate()
            head.wait(60)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_other_software_on_nodes_is_refused(monkeypatch):
    other = software_versions() | {"torch": "1.0"}
    monkeypatch.setattr("headstart.executors.executor.software_versions", lambda: other)
    with (
        engines.open_executor("ray", 1) as executor,
        refused("executor.version_mismatch"),
    ):
        list(executor.map(engines.square, [1]))


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_what_the_user_is_told(monkeypatch):
    monkeypatch.setattr(ray_cluster, "PATIENCE_SECONDS", 0.5)
    notes = []
    with engines.open_executor("ray", 3, note=notes.append) as executor:
        # Two have room; the third would wait for another node, and keeps nobody waiting.
        assert len(dict(executor.map(engines.process_id, range(12)))) == 12
        deadline = time.monotonic() + 20
        while len(notes) < 2 and time.monotonic() < deadline:
            list(executor.map(engines.process_id, range(3)))
    assert notes == [
        "Ray cluster of 2 nodes: 3 workers, each with 1 CPU",
        "waiting for a Ray node with 1 CPU free (see `ray status`)",
    ]


@pytest.mark.slow
def test_an_item_goes_on_elsewhere_when_its_node_goes(ray_cluster, tmp_path):
    # Room for a worker of three CPUs is there alone.
    node = ray_cluster.add_node(num_cpus=3, object_store_memory=80 * 2**20)
    held = []

    def replace_node(message: str) -> None:
        held.append(message)
        if len(held) > 1:
            (tmp_path / "go").write_text("")
            return
        ray_cluster.remove_node(node, allow_graceful=False)
        held_nodes.append(ray_cluster.add_node(num_cpus=3, object_store_memory=80 * 2**20))

    held_nodes = []
    try:
        with engines.open_executor("ray", 1, cpus_per_worker=3) as executor:
            ((_, worker),) = executor.map(engines.hold, [str(tmp_path)], replace_node)
        ran = {int(file.name) for file in tmp_path.iterdir() if file.name != "go"}
        assert len(ran) == 2
        assert worker in ran
    finally:
        for each in held_nodes:
            ray_cluster.remove_node(each)
        # The cluster takes seconds to notice.
        ray_cluster.wait_for_nodes()


@pytest.mark.slow
def test_workers_get_less_when_the_largest_node_goes(ray_cluster, monkeypatch):
    monkeypatch.setattr("headstart.executors.ray_cluster.PATIENCE_SECONDS", 1)
    node = ray_cluster.add_node(num_cpus=3, object_store_memory=80 * 2**20)
    with engines.open_executor("ray", 1) as executor:
        ray_cluster.remove_node(node, allow_graceful=False)
        ray_cluster.wait_for_nodes()
        assert list(executor.map(engines.threads, [0])) == [(0, 1)]
