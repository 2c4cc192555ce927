"""Several networks fed from one decoding give what each gives alone."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import small_network
from conftest import require
from headstart import files, models
from headstart.context import RunContext
from headstart.datasets import FileImages
from headstart.errors import FeatureError
from headstart.features import FeatureRequest, extract, extract_together, penultimate_features
from headstart.features.runtime import RUNTIME, find_spec
from refusals import refused
from watched import Listener, StopError, Watched

# Input size, interpolation or normalization differ, or how images are resized, or nothing.
OPTIONS = (
    "?size=16&mean=0.5,0.5,0.5&std=0.25,0.25,0.25",
    "?size=16&mean=0.4,0.5,0.5&std=0.25,0.25,0.25",
    "?size=24&mean=0.5,0.5,0.5&std=0.25,0.25,0.25",
    "?size=24&mean=0.5,0.5,0.5&std=0.25,0.25,0.25&interpolation=bicubic",
)
N = 40


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Grey and coloured images of several sizes; number 7 is broken."""
    folder, random = tmp_path_factory.mktemp("images"), np.random.RandomState(0)
    paths = [folder / f"{i}.png" for i in range(N)]
    for i, path in enumerate(paths):
        # The first batch is grey alone.
        shape = (20 + i, 40) if i < 20 else (40, 20 + i, 3)
        Image.fromarray(random.randint(0, 256, shape).astype(np.uint8)).save(path)
    paths[7].write_bytes(b"no image")
    return FileImages(paths)


def requests(images, rows=None, skip_broken=True):
    networks = [models.find(f"{small_network.__file__}:build{options}") for options in OPTIONS]
    rows = np.arange(N) if rows is None else np.asarray(rows)
    asked = [
        FeatureRequest(images, rows, "r", N, resize, "fp32", skip_broken)
        for resize in ("whole", "center-crop")
    ]
    return [(network, asked[0]) for network in networks] + [(networks[0], asked[1])]


def content_of(cache: Path) -> dict[str, bytes]:
    """Tables and cards of a cache, byte for byte."""
    found = [path for path in (cache / "features").iterdir() if path.suffix in (".npy", ".json")]
    return {path.name: path.read_bytes() for path in found}


def one_by_one(folder: Path, *asked) -> dict[str, bytes]:
    for model, request in asked:
        penultimate_features(model, request, RunContext(cache=folder, device="cpu"))
    return content_of(folder)


def context_of(folder, **options) -> RunContext:
    return RunContext(cache=folder, device="cpu", **options)


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_tables_are_to_the_bit_those_of_one_network_after_another(
    images, tmp_path, monkeypatch, runtime
):
    require(runtime == "torch" or find_spec("openvino") is not None, runtime)
    monkeypatch.setenv(RUNTIME, runtime)
    counted = Watched(images)
    errors = extract_together(requests(counted), context_of(tmp_path / "together"))
    assert errors == [None] * 5
    assert sorted(counted.decoded) == list(range(N))
    found = content_of(tmp_path / "together")
    assert len(found) == 10
    assert found == one_by_one(tmp_path / "alone", *requests(images))
    # What is there is not computed again, and nothing is decoded for it.
    again = Watched(images)
    assert extract_together(requests(again), context_of(tmp_path / "together")) == [None] * 5
    assert again.decoded == []


def test_each_network_gets_its_own_batches_where_tables_lack_other_images(images, tmp_path):
    """Batches of sixteen images end at others for the network that has some already."""
    some = np.array([3, 9, 17, 30, 31])
    before = requests(images.take(some), some)[1]
    expected = one_by_one(tmp_path / "alone", before, *requests(images))
    one_by_one(tmp_path / "together", before)
    counted = Watched(images)
    extract_together(requests(counted), context_of(tmp_path / "together"))
    assert sorted(counted.decoded) == list(range(N))
    assert content_of(tmp_path / "together") == expected


@pytest.mark.usefixtures("calls_of_16_images")
def test_after_an_interruption_each_table_keeps_its_rows(images, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "SYNC_SECONDS", 0.0)
    monkeypatch.setattr(extract, "available_cpus", lambda: 1)
    folder = tmp_path / "together"
    with pytest.raises(StopError):
        extract_together(requests(Watched(images, 35)), context_of(folder))
    cards = list((folder / "features").glob("*.json"))
    assert [json.loads(card.read_text())["rows"] for card in cards] == [[[0, 32]]] * 5
    counted = Watched(images)
    assert extract_together(requests(counted), context_of(folder)) == [None] * 5
    assert sorted(counted.decoded) == list(range(32, N))
    assert content_of(folder) == one_by_one(tmp_path / "alone", *requests(images))


@pytest.mark.parametrize("when", ["loaded", "computing"])
def test_an_error_of_one_network_does_not_stop_the_others(images, tmp_path, monkeypatch, when):
    asked = requests(images)
    name = asked[2][0].name

    def poisoned(model, *rest, **options):
        network = load(model, *rest, **options)
        if model.name != name:
            return network
        if when == "loaded":
            raise MemoryError
        for weights in network.state_dict().values():
            weights.fill_(float("nan") if weights.is_floating_point() else 0)
        return network

    expected = one_by_one(tmp_path / "alone", *asked[:2], *asked[3:])
    load = models.load
    monkeypatch.setattr(extract.models, "load", poisoned)
    errors = extract_together(asked, context_of(tmp_path / "together"))
    kind = MemoryError if when == "loaded" else FeatureError
    assert [type(error) for error in errors] == [type(None)] * 2 + [kind] + [type(None)] * 2
    found = content_of(tmp_path / "together")
    assert {name: found[name] for name in expected} == expected
    assert len([name for name in found if name.endswith(".json")]) == 4


def test_networks_that_memory_does_not_hold_take_another_pass(images, tmp_path, monkeypatch):
    monkeypatch.setattr(extract, "NETWORKS_BYTES", 1)
    # Nor are images decoded far ahead.
    monkeypatch.setattr(extract, "AHEAD_BYTES", 1)
    counted = Watched(images)
    extract_together(requests(counted), context_of(tmp_path / "together"))
    assert sorted(counted.decoded) == sorted([*range(N)] * 5)
    assert content_of(tmp_path / "together") == one_by_one(tmp_path / "alone", *requests(images))


def test_a_broken_image_stops_all_unless_skipped(images, tmp_path):
    with refused("image.broken", where=images.where(7)):
        extract_together(requests(images, skip_broken=False), context_of(tmp_path))


def test_a_network_named_twice_is_computed_once(images, tmp_path):
    asked, reporter = requests(images)[:2], Listener()
    assert extract_together(asked * 2, context_of(tmp_path, reporter=reporter)) == [None] * 4
    assert ("features of 2 networks", N, "images") in reporter.stages
    assert len(list((tmp_path / "features").glob("*.npy"))) == 2


def test_a_network_that_sees_images_in_two_forms_is_loaded_once(images, tmp_path, monkeypatch):
    loaded, load = [], models.load
    monkeypatch.setattr(
        models, "load", lambda model, *more, **options: loaded.append(model.name) or load(
            model, *more, **options
        )
    )  # fmt: skip
    asked = requests(images)
    assert extract_together(asked, RunContext(device="cpu", cache=tmp_path)) == [None] * 5
    assert sorted(loaded) == sorted({model.name for model, _ in asked})
