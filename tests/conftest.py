"""What several tests need: an isolated cache, the command line, small datasets on disk."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import hypothesis
import numpy as np
import pytest
from PIL import Image

import engines
from headstart.datasets.sources import embedded

# How long an example takes says more of the machine than of the code; and what CI finds, it finds
# on every run.
hypothesis.settings.register_profile(
    "headstart", deadline=None, derandomize=os.environ.get("CI") == "true"
)
hypothesis.settings.load_profile("headstart")

pytest_plugins = ["reliability"]

# Tests compare bits of two fits. Beside others, a fit has fewer threads, and another order of sums;
# tests of that bring neighbours of their own.
os.environ["HEADSTART_SHARE_CPUS"] = "off"

# Tests press Ctrl-C, which what a shell runs in the background ignores, with all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Pretrained, and for small images: a twelfth of the arithmetic of those of 224 pixels.
MODEL = "efficientnet_lite0?size=64"
# Small enough to be trained. Not named in its own file, whose content is in the keys of its trials,
# and so decides their draws.
NETWORK = (
    f"{Path(__file__).with_name('small_network.py')}:build"
    "?size=16&mean=0.5,0.5,0.5&std=0.25,0.25,0.25"
)
# Executors on other machines, and what has them here.
FAR = {"ray": "ray_cluster", "slurm": "slurm_here"}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip the tests marked `gpu` where there is none."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs an NVIDIA GPU")


@pytest.fixture(scope="session", autouse=True)
def session_cache(tmp_path_factory) -> Iterator[Path]:
    """One cache for all tests, so that features are computed once, and none of the user's."""
    folder = tmp_path_factory.mktemp("cache")
    # torch is ready in half the time that OpenVINO takes: tests/features/test_runtime.py uses both.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_CACHE", str(folder))
        patch.setenv("HEADSTART_RUNTIME", os.environ.get("HEADSTART_RUNTIME", "torch"))
        yield folder


@pytest.fixture
def own_cache(tmp_path, monkeypatch) -> Path:
    """A cache that no other test uses."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("HEADSTART_CACHE", str(folder))
    return folder


@pytest.fixture
def trainings(monkeypatch) -> list[SimpleNamespace]:
    """What is to be trained, in the place of which Ctrl-C is pressed."""
    calls = []

    def train(network, pixels, labels, input_spec, config, **_):
        sizes = len(pixels), len(labels)
        calls.append(SimpleNamespace(network=network, sizes=sizes, config=config))
        raise KeyboardInterrupt

    monkeypatch.setattr("headstart.training.train", train)
    return calls


def require(present: bool, what: str) -> None:
    """Skip the test where something is not installed; under HEADSTART_REQUIRE_ALL=1 fail it."""
    if present:
        return
    if os.environ.get("HEADSTART_REQUIRE_ALL") == "1":
        pytest.fail(f"{what} is required and not there")
    pytest.skip(f"{what} is not there")


@pytest.fixture
def real_fashion_mnist() -> Path:
    folder = embedded.SYSTEM_FOLDER
    require(folder.exists(), "Debian package dataset-fashion-mnist")
    return folder


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server of these tests."""
    from postgres import FOLDERS, postgres_server

    require(bool(FOLDERS), "Debian package postgresql")
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def storage_server():
    """An S3 server, with credentials in the environment of this process and its children."""
    import s3fs

    from object_storage import serve

    with serve() as server, pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_ENDPOINT_URL", server.url)
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        yield server
        s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def bucket(storage_server, monkeypatch):
    """The URL of a new bucket; the server fails on request: `storage_server.fails`."""
    import fsspec

    name = f"bucket-{uuid4().hex}"
    fsspec.filesystem("s3", use_listings_cache=False).mkdir(name)
    monkeypatch.setenv("HEADSTART_RETRY_SECONDS", "5")
    yield f"s3://{name}"
    storage_server.fails = lambda *_: False


@pytest.fixture(params=["file", "s3"])
def remote_url(request, tmp_path) -> str:
    """URL of a folder that several machines share."""
    if request.param == "s3":
        return f"{request.getfixturevalue('bucket')}/shared"
    return (tmp_path / "shared").as_uri()


@pytest.fixture
def remote(remote_url, tmp_path):
    """That folder, with copies on this machine."""
    from headstart.artifacts import ArtifactFolder

    return ArtifactFolder(remote_url, tmp_path / "copies")


@pytest.fixture
def store(tmp_path):
    """An empty results store."""
    from headstart.store import ResultStore

    return ResultStore(tmp_path / "r.db", create=True)


@pytest.fixture(scope="session")
def worker_path() -> Iterator[None]:
    """Let processes that are started elsewhere import what these tests do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", engines.python_path())
        yield


@pytest.fixture(scope="session")
def ray_cluster(worker_path, storage_server) -> Iterator[object]:
    """A Ray cluster of two nodes, to which `engines.open_executor` connects.

    Its workers have the environment of this moment: that of the storage server, too.
    """
    require(find_spec("ray") is not None, "ray")
    with engines.ray_cluster() as cluster, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_RAY_ADDRESS", cluster.address)
        yield cluster


@pytest.fixture
def slurm_here(worker_path, monkeypatch) -> None:
    """Have jobs run on this machine, by submitit's local executor."""
    require(find_spec("submitit") is not None, "submitit")
    monkeypatch.setenv("HEADSTART_SLURM_CLUSTER", "local")


@pytest.fixture
def forked_workers(monkeypatch) -> None:
    """Have worker processes begin with everything imported."""
    from processes import ForkedWorkers

    monkeypatch.setattr("headstart.executors.processes.multiprocessing", ForkedWorkers)


@pytest.fixture(params=["processes", *(pytest.param(name, marks=pytest.mark.slow) for name in FAR)])
def executor_name(request) -> str:
    """Each executor that has workers."""
    if request.param in FAR:
        request.getfixturevalue(FAR[request.param])
    return request.param


@dataclass(frozen=True)
class Outcome:
    """What a command ended with; `error` is the HeadstartError that ended it, if one did."""

    code: int
    out: str
    err: str
    error: BaseException | None = None


@pytest.fixture
def cli(monkeypatch, capsys) -> Callable[..., Outcome]:
    """Run a command in this process, through the real entry point."""
    from headstart.cli.main import main

    def run(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["headstart", *map(str, arguments)])
        capsys.readouterr()
        code, error = 0, None
        try:
            main()
        except SystemExit as exit_:
            code, error = exit_.code or 0, exit_.__cause__
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err, error)

    return run


def write_folder(root: Path, counts: dict[str, dict[str, int]], seed: int = 0) -> Path:
    """Write a folder dataset: split -> class -> number of images. Each class has a brightness."""
    random = np.random.RandomState(seed)
    classes = sorted({name for split in counts.values() for name in split})
    for split, per_class in counts.items():
        (root / split).mkdir(parents=True, exist_ok=True)
        for name, count in per_class.items():
            (root / split / name).mkdir(exist_ok=True)
            for i in range(count):
                level = 60 + 120 * classes.index(name) // max(1, len(classes) - 1)
                pixels = np.clip(level + random.randint(-40, 40, (24, 32, 3)), 0, 255)
                Image.fromarray(pixels.astype(np.uint8)).save(root / split / name / f"{i}.png")
    return root


@pytest.fixture
def photos(tmp_path) -> Path:
    """A small valid folder dataset of two classes."""
    each = {"dark": 3, "light": 3}
    return write_folder(tmp_path / "photos", {"train": each, "validation": each, "test": each})
