"""A cache in a folder of two machines, on a file system whose locks do nothing."""

import hashlib
import json
import subprocess
import sys

import pytest

from small_network import NETWORK

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
