import json
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import conftest
from headstart import datasets, features, files, models
from headstart.context import RunContext, default_cache
from headstart.datasets import ArrayImages, FileImages, JoinedImages
from headstart.datasets.images import map_ahead
from headstart.devices import fast_bfloat16, resolve_device
from headstart.errors import StorageError
from headstart.features import FeatureRequest, extract, feature_table, inference
from headstart.features.inference import Extractor, fold_batch_norms
from headstart.features.preprocess import center_crop, fit_image, whole_image
from networks import relative
from refusals import refused
from watched import Listener, StopError, Watched

MODEL = models.find(conftest.MODEL)


needs_bfloat16 = pytest.mark.skipif(
    not fast_bfloat16(resolve_device("auto")), reason="bfloat16 is slow on this machine"
)


def some_images(n: int = 20, seed: int = 0) -> ArrayImages:
    pixels = np.random.RandomState(seed).randint(0, 255, (n, 16, 16)).astype(np.uint8)
    return ArrayImages(pixels)


def run(images, context, revision="r", **options):
    request = FeatureRequest(images, np.arange(len(images)), revision, len(images), **options)
    return features.penultimate_features(MODEL, request, context)


@pytest.fixture
def context(tmp_path) -> RunContext:
    return RunContext(cache=tmp_path, reporter=Listener())


def plain_features(images) -> np.ndarray:
    """The obvious way: RGB, resize, normalise, one image at a time, network untouched."""
    network = models.load(MODEL)
    size = (MODEL.input_size, MODEL.input_size)
    rows = []
    for row in range(len(images)):
        image = images.decode(row).convert("RGB").resize(size, Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        with torch.inference_mode():
            rows.append(network.penultimate(((pixels - 0.5) / 0.5)[None])[0].numpy())
    return np.stack(rows)


def test_features_equal_the_plain_way(context):
    images = some_images()
    found = run(images, context).values
    assert found.dtype == np.float32
    assert relative(found, plain_features(images)).max() < 1e-4


@needs_bfloat16
def test_bf16_features_are_close(context):
    images = some_images(8)
    found = run(images, context, precision="bf16").values
    assert relative(found, plain_features(images)).max() < 0.1


def test_grey_and_rgb_give_the_same(context):
    pixels = np.random.RandomState(0).randint(0, 255, (4, 16, 16)).astype(np.uint8)
    grey = JoinedImages([ArrayImages(pixels)])
    rgb = JoinedImages([ArrayImages(np.repeat(pixels[..., None], 3, axis=3))])
    mixed = JoinedImages([ArrayImages(pixels[:2]), ArrayImages(rgb._parts[0]._pixels[2:])])
    expected = run(grey, context, "grey").values
    np.testing.assert_allclose(run(rgb, context, "rgb").values, expected, atol=1e-4)
    np.testing.assert_allclose(run(mixed, context, "mixed").values, expected, atol=1e-4)


def test_features_do_not_depend_on_the_batch():
    extractor = Extractor(models.load(MODEL), MODEL, "fp32", torch.device("cpu"))
    pixels = np.random.RandomState(0).randint(0, 255, (6, 64, 64, 3)).astype(np.uint8)
    alone = np.concatenate([extractor(pixels[i : i + 1]) for i in range(6)])
    assert relative(extractor(pixels), alone).max() < 1e-5


@pytest.fixture
def beside_others(monkeypatch):
    """Two threads, and others use the CPUs of both; return the sizes of forward passes."""
    sizes, forward = [], Extractor._forward

    def counted(extractor, pixels):
        if inference.crowded():
            sizes.append(len(pixels))
        return forward(extractor, pixels)

    monkeypatch.setattr(inference, "crowded", lambda: False)
    monkeypatch.setattr(Extractor, "_forward", counted)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield sizes
    torch.set_num_threads(before)


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=needs_bfloat16)])
@pytest.mark.parametrize("channels", [1, 3])
def test_features_beside_other_processes_are_the_same_bits(
    beside_others, monkeypatch, precision, channels
):
    extractor = Extractor(models.load(MODEL), MODEL, precision, torch.device("cpu"))
    size = MODEL.input_size
    pixels = np.random.RandomState(0).randint(0, 255, (19, size, size, channels), np.uint8)
    expected = extractor(pixels)
    monkeypatch.setattr(inference, "crowded", lambda: True)
    monkeypatch.setattr(inference, "PARTS_ARITHMETIC", 1)
    found = extractor(pixels)
    assert sorted(beside_others) == [3, 4, 4, 4, 4]
    np.testing.assert_array_equal(found, expected)
    # So few are not worth a second thread.
    np.testing.assert_array_equal(extractor(pixels[:4]), expected[:4])
    assert len(beside_others) == 6


class Remembers(torch.nn.Linear):
    """It keeps what it was given, as a network may that returns it later."""

    def forward(self, values):
        """Return what the layer does."""
        self.last = values
        return super().forward(self.last)


def hooked(network):
    network.backbone.register_forward_hook(lambda *_: None)


def replaced(network):
    network.backbone.forward = network.backbone.forward


def of_an_own_class(network):
    network.backbone.remembers = Remembers(2, 2)


def small(network):
    """The arithmetic of the network under test is too little by itself."""


@pytest.mark.parametrize("change", [hooked, replaced, of_an_own_class, small])
def test_passes_at_a_time_are_for_networks_that_keep_nothing(beside_others, monkeypatch, change):
    network = models.load(MODEL)
    change(network)
    extractor = Extractor(network, MODEL, "fp32", torch.device("cpu"))
    monkeypatch.setattr(inference, "crowded", lambda: True)
    monkeypatch.setattr(inference, "PARTS_ARITHMETIC", 1 if change is not small else 1e12)
    size = MODEL.input_size
    extractor(np.zeros((19, size, size, 3), np.uint8))
    assert beside_others == [16, 3]


def test_features_are_computed_once_and_mapped(context):
    first = run(some_images(), context)
    assert "features" in context.reporter.names
    context.reporter.stages.clear()
    second = run(some_images(), context)
    assert context.reporter.stages == []
    assert isinstance(second.values, np.memmap)
    assert not second.values.flags.writeable
    assert second.sha256 == first.sha256
    np.testing.assert_array_equal(first.values, second.values)


OTHERS = [
    {"revision": "other"}, {"resize": "center-crop"},
    pytest.param({"precision": "bf16"}, marks=needs_bfloat16),
]  # fmt: skip


@pytest.mark.parametrize("change", OTHERS)
def test_other_content_has_another_place(context, change):
    run(some_images(8), context)
    run(some_images(8), context, **change)
    assert len(list((context.cache / "features").glob("*.npy"))) == 2


def test_features_are_hashed_once_and_again_when_the_file_changes(context, monkeypatch):
    images = some_images()
    first = run(images, context)
    (file,) = (context.cache / "features").glob("*.npy")
    hashed = []
    for name in ("_start_digest", "_digest"):
        whole = getattr(feature_table, name)
        monkeypatch.setattr(
            feature_table, name, lambda *a, whole=whole, name=name: hashed.append(name) or whole(*a)
        )
    # As if the file had been written long ago.
    monkeypatch.setattr(feature_table, "TICK_NANOSECONDS", -(10**18))
    again = [run(images, context) for _ in range(3)]
    assert sorted(hashed) == ["_digest", "_start_digest"]
    assert {found.sha256 for found in again} == {first.sha256}
    # The same bytes with another time are looked at, and are the same.
    hashed.clear()
    os.utime(file, (0, 0))
    assert run(images, context).sha256 == first.sha256
    assert sorted(hashed) == ["_digest", "_start_digest"]


def test_what_changes_while_it_is_hashed_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_table, "TICK_NANOSECONDS", -(10**18))
    file, note = tmp_path / "a.npy", tmp_path / "a.proven"
    file.write_bytes(b"old")
    proven = feature_table.Proven(file, note)
    assert proven.digest("x", lambda: "of old") == "of old"

    def appended():
        file.write_bytes(b"longer")
        return "of a mixture"

    proven.digest("y", appended)
    assert json.loads(note.read_bytes())["digests"] == {"x": "of old"}
    # Nor is what was read before the change taken for the file after it.
    assert feature_table.Proven(file, note).digest("x", lambda: "of longer") == "of longer"


def test_a_file_that_was_just_written_is_hashed_each_time(context, monkeypatch):
    monkeypatch.setattr(feature_table, "TICK_NANOSECONDS", 10**18)
    images = some_images()
    first = run(images, context)
    values = np.array(first.values)
    (file,) = (context.cache / "features").glob("*.npy")
    run(images, context)
    assert not list(file.parent.glob("*.proven"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    after = run(images, context)
    assert after.sha256 == first.sha256
    np.testing.assert_array_equal(after.values, values)
    (note,) = context.reporter.notes
    assert str(file) in note


def test_a_cache_that_cannot_be_written_is_read(context, monkeypatch):
    first = run(some_images(), context)

    def fail(_):
        raise StorageError("read-only", code="storage.not_writable")

    monkeypatch.setattr(feature_table, "replaced", fail)
    monkeypatch.setattr(feature_table, "TICK_NANOSECONDS", -(10**18))
    assert run(some_images(), context).sha256 == first.sha256


@pytest.mark.usefixtures("calls_of_16_images")
def test_an_interrupted_extraction_carries_on(context, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "SYNC_SECONDS", 0.0)
    images = some_images(60)
    whole = run(images, RunContext(cache=tmp_path / "other")).values
    with pytest.raises(StopError):
        run(Watched(images, 50), context)
    folder = context.cache / "features"
    (card,) = folder.glob("*.json")
    assert json.loads(card.read_text())["rows"][0][1] >= 16
    carrying_on = Watched(images)
    found = run(carrying_on, context)
    assert min(carrying_on.decoded) >= 16
    np.testing.assert_array_equal(found.values, whole)
    assert json.loads(card.read_text())["rows"] == [[0, 60]]
    # Complete and in order, the file is one that any program reads.
    (file,) = folder.glob("*.npy")
    np.testing.assert_array_equal(np.load(file), whole)


def test_a_trial_adds_the_rows_that_no_other_asked_for(context):
    images = some_images(20)
    whole = np.array(run(images, context, revision="other").values)

    def part(rows):
        counted = Watched(images.take(rows))
        request = FeatureRequest(counted, np.asarray(rows), "r", 20)
        found = features.penultimate_features(MODEL, request, context)
        assert relative(found.values, whole[rows]).max() < 1e-4
        return found, sorted(rows[place] for place in counted.decoded)

    first, computed = part([3, 4, 5, 17])
    assert computed == [3, 4, 5, 17]
    second, computed = part([0, 3, 4, 19])
    assert computed == [0, 19]
    assert second.key == first.key
    # In another order they are the same rows, and another digest.
    again, computed = part([19, 4, 3, 0])
    assert computed == []
    assert again.sha256 != second.sha256
    np.testing.assert_array_equal(again.values[::-1], second.values)
    _, computed = part(list(range(20)))
    assert len(computed) == 14
    assert len(list((context.cache / "features").glob("*.npy"))) == 2
    beside, _ = part([3, 4, 5])
    assert isinstance(beside.values, np.memmap)


@pytest.mark.usefixtures("calls_of_16_images")
@pytest.mark.parametrize("damage", ["card", "card of a part", "cut", "flip"])
def test_what_did_not_reach_the_disk_is_made_again(context, damage, monkeypatch):
    monkeypatch.setattr(files, "SYNC_SECONDS", 0.0)
    images = some_images(60)
    if damage == "card":
        run(images, context)
    else:
        with pytest.raises(StopError):
            run(Watched(images, 50), context)
    (card,), (table,) = ((context.cache / "features").glob(f"*.{end}") for end in ("json", "npy"))
    if "card" in damage:
        card.write_text(card.read_text()[:-20])
    else:
        with table.open("r+b") as file:
            file.truncate(1000) if damage == "cut" else file.seek(1000)
            file.write(b"\xff" if damage == "flip" else b"")
    again = Watched(images)
    assert np.isfinite(run(again, context).values).all()
    assert sorted(again.decoded) == list(range(60))


def test_a_batch_that_does_not_fit_is_done_in_halves(monkeypatch):
    monkeypatch.setattr(inference, "crowded", lambda: False)
    extractor = Extractor(models.load(MODEL), MODEL, "fp32", torch.device("cpu"))
    forward, sizes = extractor._forward, []

    def small_memory(pixels):
        if len(pixels) > 2:
            return torch.empty(2**50)
        sizes.append(len(pixels))
        return forward(pixels)

    pixels = np.random.RandomState(0).randint(0, 255, (5, 64, 64, 1)).astype(np.uint8)
    expected = extractor(pixels)
    monkeypatch.setattr(extractor, "_forward", small_memory)
    assert relative(extractor(pixels), expected).max() < 1e-5
    assert sizes == [2, 1, 2]
    monkeypatch.setattr(
        extractor, "_forward", lambda pixels: (_ for _ in ()).throw(torch.OutOfMemoryError())
    )
    with refused("device.memory", device="cpu"):
        extractor(pixels)


def broken_among(tmp_path, n: int = 10, broken: int = 4) -> JoinedImages:
    paths = []
    for i in range(n):
        paths.append(tmp_path / f"{i}.png")
        Image.new("RGB", (20, 20), (20 * i, 100, 100)).save(paths[-1])
    paths[broken].write_bytes(b"no image")
    return JoinedImages([FileImages(paths)])


def test_a_broken_image_stops_the_extraction_unless_skipped(context, tmp_path):
    images = broken_among(tmp_path)
    with refused("image.broken", where=str(tmp_path / "4.png")):
        run(images, context)
    found = run(images, context, skip_broken=True)
    assert list(found.broken) == [4]
    assert np.isnan(found.values[4]).all()
    assert np.isfinite(np.delete(found.values, 4, axis=0)).all()
    # Kept features with a hole do not serve a run that wants none.
    with refused("image.broken", where=str(tmp_path / "4.png")):
        run(images, context)
    # If the image decodes by now, they are made again.
    Image.new("RGB", (20, 20)).save(tmp_path / "4.png")
    assert np.isfinite(run(images, context).values).all()


@pytest.mark.usefixtures("calls_of_16_images")
def test_an_interrupted_run_with_holes_does_not_serve_one_without(context, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "SYNC_SECONDS", 0.0)
    images = broken_among(tmp_path, n=60)
    with pytest.raises(StopError):
        run(Watched(images, 55), context, skip_broken=True)
    with refused("image.broken", where=str(tmp_path / "4.png")):
        run(images, context)


def test_nan_in_features_is_found_and_nothing_is_kept(context, monkeypatch):
    def poisoned(model, *cache, **options):
        network = load(model, *cache, **options)
        network.backbone.conv_head.weight.data[0] = float("nan")
        return network

    load = models.load
    monkeypatch.setattr(extract.models, "load", poisoned)
    with refused("features.not_finite") as error:
        run(some_images(8), context)
    # Float32 is what was asked for: it is no remedy.
    assert "--precision" not in str(error.value)
    assert not list((context.cache / "features").glob("*.json"))


def test_no_space_is_found_before_the_network_runs(context, monkeypatch):
    full = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr("headstart.files.shutil.disk_usage", lambda folder: full)
    assert features.bytes_needed(MODEL, 10) == 10 * 1280 * 4
    with refused("storage.full"):
        run(some_images(8), context)
    assert "features" not in context.reporter.names


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_where_there_is_none():
    with refused("device.missing"):
        resolve_device("cuda")
    assert resolve_device("auto") == resolve_device("cpu") == torch.device("cpu")


class NormFirst(nn.Module):
    """A network in which the order of submodules lies about the order of computation."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.norm.running_mean += 1
        self.between = nn.ReLU()

    def penultimate(self, images):
        return self.norm(self.between(self.conv(images))).mean((2, 3))


def test_folding_that_would_change_the_function_is_undone():
    torch.manual_seed(0)
    network = NormFirst().eval()
    images = torch.randn(2, 3, 16, 16)
    with torch.inference_mode():
        expected = network.penultimate(images)
        folded = fold_batch_norms(network, (2, 3, 16, 16)).penultimate(images)
    assert torch.equal(folded, expected)


def test_folding_leaves_no_norm_in_the_embedded_models():
    network = fold_batch_norms(models.load(MODEL), (2, 3, 64, 64))
    assert not [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]


def test_the_whole_image_is_squeezed_and_the_crop_is_central():
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, 20:60] = 255
    image = Image.fromarray(pixels)
    squeezed = np.asarray(whole_image(image, 32, "bicubic"))
    assert squeezed.shape == (32, 32, 3)
    assert squeezed[:, 0].max() == 0
    # The centre square is all white.
    cropped = np.asarray(center_crop(image, 32, "bicubic"))
    assert cropped[:, 1:-1].min() == 255
    assert cropped.min() > 240
    assert fit_image(image.convert("L"), 32, "bilinear", "whole").shape == (32, 32, 1)


def test_center_crop_is_torchvisions_within_rounding():
    from torchvision.transforms import v2

    random = np.random.RandomState(0).randint(0, 255, (6, 9, 3)).astype(np.uint8)
    image = Image.fromarray(random).resize((90, 60), Image.Resampling.BICUBIC)
    expected = v2.CenterCrop(32)(v2.Resize(32, interpolation=v2.InterpolationMode.BICUBIC)(image))
    difference = np.asarray(expected).astype(int) - np.asarray(center_crop(image, 32, "bicubic"))
    assert np.abs(difference).mean() < 2


def test_decoding_runs_a_bounded_number_of_items_ahead():
    started = []

    def slow(item):
        started.append(item)
        if item == 50:
            raise StopError
        return item * 2

    values = map_ahead(slow, range(100), depth=3)
    assert next(values) == 0
    assert len(started) <= 4
    assert [next(values) for _ in range(49)] == [2 * i for i in range(1, 50)]
    with pytest.raises(StopError):
        next(values)


@pytest.mark.parametrize("name", ["digits", "glyphs", "fashion_mnist"])
def test_a_trials_images_are_the_rows_that_they_are_in_the_whole_dataset(name, request):
    """Also where train and validation are parts of one published split, as in Fashion-MNIST."""
    if name == "fashion_mnist":
        request.getfixturevalue("real_fashion_mnist")
    whole, some = (datasets.find(name, limit=limit) for limit in (None, 100))
    everything = FeatureRequest.of(whole, datasets.load(whole, 0, default_cache()), "whole", "fp32")
    np.testing.assert_array_equal(everything.rows, np.arange(sum(n for _, n in whole.sizes)))
    for seed in (0, 1):
        asked = FeatureRequest.of(some, datasets.load(some, seed, default_cache()), "whole", "fp32")
        assert (asked.revision, asked.total) == (everything.revision, everything.total)
        for place in range(0, 300, 7):
            one, other = asked.images.decode(place), everything.images.decode(asked.rows[place])
            assert np.array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize("rows", [[0, 1, 1], [0, 1, 3], [-1, 0, 1], [0, 1]])
def test_no_two_images_share_a_row(rows):
    with pytest.raises(ValueError, match=r"\b3\b"):
        FeatureRequest(some_images(3), np.array(rows), "r", 3)
