"""Features that machines share: a machine is a local folder of its own."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from conftest import NETWORK
from headstart import features, models
from headstart.artifacts import ArtifactFolder
from headstart.context import RunContext
from headstart.datasets import ArrayImages, FileImages, JoinedImages
from headstart.features import FeatureRequest
from headstart.features.inference import Extractor
from headstart.files import sha256_file
from watched import Listener

N = 40


@pytest.fixture
def model():
    return models.find(NETWORK)


@pytest.fixture
def passes(monkeypatch) -> list[int]:
    """Number of images of each forward pass."""
    counted, real = [], Extractor.__call__

    def call(extractor, pixels):
        counted.append(len(pixels))
        return real(extractor, pixels)

    monkeypatch.setattr(Extractor, "__call__", call)
    return counted


@pytest.fixture
def machine(tmp_path, remote_url):
    """Give a machine by its name."""

    def named(name: str) -> RunContext:
        remote = ArtifactFolder(remote_url, tmp_path / name / "copies")
        return RunContext("cpu", tmp_path / name, reporter=Listener(), remote=remote)

    return named


def images() -> ArrayImages:
    return ArrayImages(np.random.RandomState(0).randint(0, 255, (N, 16, 16)).astype(np.uint8))


def run(model, context, rows=range(N), source=None, **options):
    rows = np.asarray(rows)
    request = FeatureRequest(source or images().take(rows), rows, "r", N, **options)
    return features.penultimate_features(model, request, context)


def changed(machine, suffix, change):
    """Change the content of the one shared file of a kind; return its name and the file."""
    (name,) = [name for name in machine.remote.names() if name.endswith(suffix)]
    file = machine.cache / "file"
    file.write_bytes(change(machine.remote.get(name).read_bytes()))
    return name, file


def test_an_empty_machine_computes_nothing(model, machine, passes):
    first = run(model, machine("one"))
    assert sum(passes) == N
    second = run(model, machine("two"))
    assert sum(passes) == N
    np.testing.assert_array_equal(second.values, first.values)
    assert (second.sha256, second.key, second.made_by) == (first.sha256, first.key, first.made_by)
    assert isinstance(second.values, np.memmap)
    for name in ("one", "two"):
        assert not list((machine(name).cache / "features").glob(".*"))


def test_machines_add_up(model, machine, passes):
    run(model, machine("one"), [0, 1, 2, 7])
    run(model, machine("two"), [5, 3, 2])
    assert sum(passes) == 4 + 2
    third = run(model, machine("three"), [7, 5, 3, 0])
    assert sum(passes) == 6
    whole = run(model, machine("three"))
    assert sum(passes) == N
    np.testing.assert_array_equal(whole.values[[7, 5, 3, 0]], third.values)
    alone = run(model, RunContext("cpu", machine("alone").cache, remote=None))
    np.testing.assert_allclose(whole.values, alone.values, rtol=0, atol=1e-6)
    # What was pulled is not pushed again.
    assert len(machine("one").remote.names("features/")) == 2 * 3
    assert sum(passes) == 2 * N


def test_two_machines_that_compute_the_same_at_once(model, machine, passes):
    """Neither sees the other's part before its own is written."""
    one, two = machine("one"), machine("two")
    first = run(model, one)
    shared = {name: one.remote.get(name).read_bytes() for name in one.remote.names()}
    for name in shared:
        one.remote.delete(name)
    second = run(model, two)
    for name, content in shared.items():
        file = one.cache / "file"
        file.write_bytes(content)
        one.remote.put(name, file)
    third = run(model, machine("three"))
    for found in (second, third):
        np.testing.assert_array_equal(found.values, first.values)


@pytest.mark.parametrize("suffix", [".npy", ".json"])
def test_a_damaged_part_is_computed_again(model, machine, passes, suffix):
    first, one = run(model, machine("one")), machine("one")

    def flip(content):
        middle = len(content) // 2
        return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]

    one.remote.put(*changed(one, suffix, flip))
    two = machine("two")
    second = run(model, two)
    assert sum(passes) == 2 * N
    assert len(two.reporter.notes) >= 1
    np.testing.assert_array_equal(second.values, first.values)


@pytest.mark.parametrize("change", [
    {"rows": [[0, N + 1]]}, {"rows": [[-1, N - 1]]}, {"rows": [[3, 2]]}, {"rows": [[0, N - 1]]},
    {"sha256": "../../x"}, {"rows": "all"},
])  # fmt: skip
def test_a_card_of_a_stranger_is_left_out(model, machine, passes, change):
    """Its name is the digest of its content, and yet it cannot be true."""
    first, one = run(model, machine("one")), machine("one")
    name, file = changed(one, ".json", lambda old: json.dumps(json.loads(old) | change).encode())
    one.remote.delete(name)
    one.remote.put(f"{name.rpartition('/')[0]}/{sha256_file(file)}.json", file)
    second = run(model, machine("two"))
    assert sum(passes) == 2 * N
    np.testing.assert_array_equal(second.values, first.values)


def test_broken_images_are_shared_with_those_that_skip_them(model, machine, passes, tmp_path):
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(good)
    bad.write_bytes(b"none")
    source = JoinedImages([FileImages([good, bad] + [good] * (N - 2))])
    first = run(model, machine("one"), source=source, skip_broken=True)
    computed = sum(passes)
    second = run(model, machine("two"), source=source, skip_broken=True)
    assert sum(passes) == computed
    assert list(second.broken) == [1]
    np.testing.assert_array_equal(second.values, first.values)
    # The image is mended meanwhile.
    bad.write_bytes(good.read_bytes())
    third = run(model, machine("three"), source=source)
    assert sum(passes) == computed + 1
    assert third.broken == {}
    assert np.isfinite(third.values).all()
    # What is better is shared, too.
    assert run(model, machine("four"), source=source).broken == {}
    assert sum(passes) == computed + 1


def test_features_that_cannot_be_shared_stay_here(model, machine, monkeypatch, request):
    one = machine("one")
    monkeypatch.setenv("HEADSTART_RETRY_SECONDS", "0")
    if one.remote.local:
        one.remote.local.parent.joinpath("shared").mkdir()
        (one.remote.local / "features").write_bytes(b"no folder")
    else:
        server = request.getfixturevalue("storage_server")
        server.fails = lambda method, _: method == "PUT"
    assert run(model, one).values.shape[0] == N
    assert len(one.reporter.notes) == 1
    assert run(model, one).values.shape[0] == N
    assert len(one.reporter.notes) == 1


# Computes features as a machine with this name, whose flock locks nothing.
MACHINE = """
import fcntl, json, socket, sys, time
from pathlib import Path

import numpy as np

fcntl.flock = fcntl.lockf = lambda *_: None
socket.gethostname = lambda: sys.argv[2]
from headstart import features, files, models
from headstart.context import RunContext
from headstart.datasets import ArrayImages
from headstart.features import FeatureRequest
from headstart.features.inference import Extractor

files.SYNC_SECONDS = 0.0
passes, real = [], Extractor.__call__

def call(extractor, pixels):
    passes.append(len(pixels))
    time.sleep(0.05)
    return real(extractor, pixels)

Extractor.__call__ = call
pixels = np.random.RandomState(0).randint(0, 255, (600, 16, 16)).astype(np.uint8)
model, rows = models.find(sys.argv[3]), np.arange(int(sys.argv[4]), int(sys.argv[5]))
context = RunContext("cpu", Path(sys.argv[1]), remote=None)
print("ready", flush=True)
sys.stdin.readline()
request = FeatureRequest(ArrayImages(pixels).take(rows), rows, "r", 600)
found = features.penultimate_features(model, request, context)
print(json.dumps([found.sha256, sum(passes)]))
"""


@pytest.mark.slow
def test_two_machines_compute_a_table_once(tmp_path):
    shares = {"one": (0, 600), "two": (0, 600), "three": (200, 500)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", MACHINE, tmp_path, name, NETWORK, *map(str, rows)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name, rows in shares.items()
    ]
    try:
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            process.stdin.write("\n")
            process.stdin.flush()
        found = [json.loads(process.communicate(timeout=120)[0]) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert sum(computed for _, computed in found) == 600
    assert found[0][0] == found[1][0]
    (card,) = (tmp_path / "features").glob("*.json")
    content = card.with_suffix(".npy").read_bytes()
    facts = json.loads(card.read_text())
    assert hashlib.sha256(content).hexdigest() == facts["sha256"]
    assert sum(last - first for first, last in facts["rows"]) == 600
