import os
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import conftest
from conftest import require
from headstart import features, models
from headstart.context import RunContext
from headstart.datasets import ArrayImages, JoinedImages
from headstart.features import choose_runtime, runtime
from headstart.features.extract import make_runtime
from headstart.features.inference import Extractor, converted
from headstart.features.runtime import RUNTIME, find_spec
from networks import relative
from refusals import refused
from watched import Listener

MODEL = models.find(conftest.MODEL)
CPU = torch.device("cpu")


@pytest.fixture
def openvino_there():
    require(find_spec("openvino") is not None, "openvino")


@pytest.fixture
def nothing_asked(monkeypatch):
    monkeypatch.delenv(RUNTIME, raising=False)


def installed(monkeypatch, present: bool) -> None:
    monkeypatch.setattr(runtime, "find_spec", lambda name: object() if present else None)


def random_pixels(n: int, channels: int = 3, size: int = 64) -> np.ndarray:
    return np.random.RandomState(1).randint(0, 256, (n, size, size, channels)).astype(np.uint8)


@pytest.mark.parametrize(("present", "device", "precision", "expected"), [
    (True, "cpu", "fp32", "openvino"),
    (False, "cpu", "fp32", "torch"),
    (True, "cpu", "bf16", "torch"),
    (True, "cuda", "fp32", "torch"),
])  # fmt: skip
def test_openvino_is_taken_where_it_is_there_and_may(
    monkeypatch, nothing_asked, present, device, precision, expected
):
    installed(monkeypatch, present)
    assert choose_runtime(device, precision) == expected


@pytest.mark.parametrize("name", ["torch", "openvino"])
def test_the_choice_by_hand(monkeypatch, name):
    installed(monkeypatch, True)
    monkeypatch.setenv(RUNTIME, name)
    assert choose_runtime("cpu", "fp32") == name


@pytest.mark.parametrize(("present", "asked", "device", "precision", "code"), [
    (True, "onnx", "cpu", "fp32", "device.runtime_unknown"),
    (False, "openvino", "cpu", "fp32", "device.runtime_missing"),
    (True, "openvino", "cuda", "fp32", "device.runtime_unsupported"),
    (True, "openvino", "cpu", "bf16", "device.runtime_unsupported"),
])  # fmt: skip
def test_a_choice_that_cannot_be(monkeypatch, present, asked, device, precision, code):
    installed(monkeypatch, present)
    monkeypatch.setenv(RUNTIME, asked)
    with refused(code, runtime=asked):
        choose_runtime(device, precision)


def test_choosing_imports_neither():
    code = (
        "import sys; from headstart.features import choose_runtime; choose_runtime('cpu', 'fp32')\n"
        "assert not {'torch', 'openvino'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_openvino_gives_torchs_features(openvino_there):
    torchs = Extractor(models.load(MODEL), MODEL, "fp32", CPU)
    notes = []
    openvinos = make_runtime("openvino", models.load(MODEL), MODEL, "fp32", CPU, notes.append)
    assert (openvinos.name, openvinos.version, notes) == ("openvino", version("openvino"), [])
    for channels in (1, 3, 1):
        pixels = random_pixels(5, channels)
        found = openvinos(pixels)
        assert found.dtype == np.float32
        assert relative(found, torchs(pixels)).max() < 1e-4
        # To the last bit: each image is a request of its own.
        np.testing.assert_array_equal(np.concatenate([openvinos(p[None]) for p in pixels]), found)
    # Its telemetry would report to its makers.
    assert sys.modules["openvino_telemetry"] is None


class Small(nn.Module):
    """Four features of an image."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3, stride=4)

    def penultimate(self, images):
        return self.conv(images).relu().mean((2, 3))


class LooksAtPixels(Small):
    """Takes a way that depends on the values, of which a trace knows one."""

    def penultimate(self, images):
        features = super().penultimate(images)
        return features if images.shape[1] == 3 and features.sum() > 1e3 else features * self.factor

    @property
    def factor(self):
        return 2.0 if torch.jit.is_tracing() else 1.0


class InNumpy(Small):
    """Leaves torch on the way."""

    def penultimate(self, images):
        if torch.jit.is_tracing():
            raise TypeError("no tracer\nknows this")
        return super().penultimate(images)


SMALL = MODEL.model_copy(update={"input_size": 32, "feature_dim": 4})


@pytest.mark.parametrize(("network", "words"), [
    (LooksAtPixels, "since OpenVINO gives other features (relative difference 1.0e+00"),
    (InNumpy, "since OpenVINO does not take the network ("),
])  # fmt: skip
def test_what_openvino_gets_wrong_is_left_to_torch(openvino_there, network, words):
    notes = []
    made = make_runtime("openvino", network().eval(), SMALL, "fp32", CPU, notes.append)
    assert made.name == "torch"
    assert len(notes) == 1
    assert words in notes[0]
    assert "\n" not in notes[0]
    assert made(random_pixels(2, size=32)).shape == (2, 4)
    notes.clear()
    # A network like them that it takes.
    made = make_runtime("openvino", Small().eval(), SMALL, "fp32", CPU, notes.append)
    assert (made.name, notes) == ("openvino", [])


INTERRUPTED = """
import os, signal, time, torch
from features.test_runtime import CPU, SMALL, Small, random_pixels
from headstart.features.extract import make_runtime

signal.signal(signal.SIGINT, signal.default_int_handler)
made = make_runtime("openvino", Small().eval(), SMALL, "fp32", CPU, print)
made(random_pixels(1, size=32))
del made
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_is_heard_after_the_last_network_is_gone(openvino_there):
    """OpenVINO's plug-in frees the stack of signals when it goes, where the processor has AMX."""
    tests = Path(__file__).parents[1]
    path = os.pathsep.join([str(tests), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], env=os.environ | {"PYTHONPATH": path},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (0, "interrupted\n"), ended.stderr


def extract(monkeypatch, folder, asked: str, network=Small):
    """Features of six images by a small network, and what was noted."""
    monkeypatch.setenv(RUNTIME, asked)
    monkeypatch.setattr(models, "load", lambda *_, **__: network().eval())
    images = JoinedImages([ArrayImages(random_pixels(6, size=20))])
    context = RunContext(device="cpu", cache=folder, reporter=Listener())
    asked = features.FeatureRequest(images, np.arange(6), "r", 6)
    found = features.penultimate_features(SMALL, asked, context)
    return found, context.reporter.notes


def test_ctrl_c_while_openvino_asks_for_the_network_is_no_failure_of_its_own(
    openvino_there, monkeypatch
):
    """It drops what its callbacks raise; the network would go to torch, and Ctrl-C be lost."""
    import openvino

    asked = []

    def convert(*args, **options):
        try:
            signal.raise_signal(signal.SIGINT)
            asked.append(args)
        except KeyboardInterrupt:
            raise RuntimeError("Check 'false' failed") from None

    monkeypatch.setattr(openvino, "convert_model", convert)
    extractor = Extractor(models.load(MODEL), MODEL, "fp32", CPU)
    with pytest.raises(KeyboardInterrupt):
        converted(extractor, MODEL)
    assert asked


def test_each_runtime_keeps_its_own_features(openvino_there, monkeypatch, tmp_path):
    torchs, _ = extract(monkeypatch, tmp_path, "torch")
    openvinos, _ = extract(monkeypatch, tmp_path, "openvino")
    assert len(list((tmp_path / "features").glob("*.npy"))) == 2
    assert torchs.made_by["runtime"] == "torch"
    assert openvinos.made_by["runtime"] == "openvino"
    assert openvinos.made_by["openvino"] == version("openvino")
    assert relative(openvinos.values, torchs.values).max() < 1e-4


def test_the_runtime_recorded_is_the_one_used(openvino_there, monkeypatch, tmp_path):
    found, notes = extract(monkeypatch, tmp_path, "openvino", InNumpy)
    assert found.made_by["runtime"] == "torch"
    assert "openvino" not in found.made_by
    assert len(notes) == 1
