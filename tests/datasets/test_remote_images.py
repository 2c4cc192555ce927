"""Prepared images that machines share: a machine is a local folder of its own."""

import shutil

import numpy as np
import pytest
from PIL import Image

from headstart.datasets import ArrayImages, FileImages, image_cache
from headstart.datasets.image_cache import PreparedForm, prepare_images
from headstart.errors import BrokenImageError
from watched import Listener

RECIPE = PreparedForm("r")
N = 50


@pytest.fixture
def prepare(remote, tmp_path, monkeypatch):
    """Prepare images on a machine; return them and whether any was decoded."""
    monkeypatch.setattr(image_cache, "BYTES_PER_SECOND", 1e12)

    def on(machine: str, images, **options):
        listener, folder = Listener(), tmp_path / machine
        found = prepare_images(images, RECIPE, folder, listener, remote=remote, **options)
        return found, "preparing images" in listener.names, listener.notes

    return on


def images() -> ArrayImages:
    return ArrayImages(np.random.RandomState(0).randint(0, 256, (N, 12, 9)).astype(np.uint8))


def assert_same(found, expected):
    assert len(found) == len(expected)
    for row in range(len(expected)):
        np.testing.assert_array_equal(found.pixels(row), expected.pixels(row))


def test_an_empty_machine_decodes_nothing(prepare, remote):
    first, decoded, _ = prepare("one", images())
    assert decoded
    second, decoded, notes = prepare("two", images())
    assert (decoded, notes) == (False, [])
    assert_same(second, first)
    assert len(remote.names()) == 3
    # What lies here is not looked for there.
    for name in remote.names():
        remote.delete(name)
    assert prepare("two", images())[1] is False
    assert remote.names() == []


def test_what_is_faster_prepared_than_copied_is_not_shared(prepare, remote, monkeypatch):
    monkeypatch.setattr(image_cache, "BYTES_PER_SECOND", 1.0)
    prepare("one", images())
    assert remote.names() == []
    assert prepare("two", images())[1]


@pytest.mark.parametrize("suffix", [".npy", ".bin", ".json"])
def test_what_is_damaged_is_prepared_again(prepare, remote, tmp_path, suffix):
    first, _, _ = prepare("one", images())
    (name,) = [name for name in remote.names() if name.endswith(suffix)]
    content = bytearray(remote.get(name).read_bytes())
    content[-20] ^= 1
    (tmp_path / "file").write_bytes(content)
    remote.put(name, tmp_path / "file")
    shutil.rmtree(tmp_path / "copies", ignore_errors=True)
    second, decoded, notes = prepare("two", images())
    assert decoded
    assert len(notes) == 1
    assert_same(second, first)


def test_a_form_with_holes_is_for_those_that_skip_them(prepare, tmp_path):
    files = [tmp_path / f"{i}.png" for i in range(3)]
    for file in files:
        Image.fromarray(np.zeros((9, 9), np.uint8)).save(file)
    files[1].write_bytes(b"none")
    prepare("one", FileImages(files), skip_broken=True)
    found, decoded, _ = prepare("two", FileImages(files), skip_broken=True)
    assert not decoded
    assert list(found.broken) == [1]
    with pytest.raises(BrokenImageError):
        prepare("three", FileImages(files))


def test_images_that_cannot_be_shared_stay_here(prepare, remote, monkeypatch, request):
    monkeypatch.setenv("HEADSTART_RETRY_SECONDS", "0")
    if remote.local:
        remote.local.mkdir()
        (remote.local / RECIPE.key).write_bytes(b"no folder")
    else:
        request.getfixturevalue("storage_server").fails = lambda method, _: method == "PUT"
    found, decoded, notes = prepare("one", images())
    assert (len(found), decoded, len(notes)) == (N, True, 1)
