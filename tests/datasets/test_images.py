import hashlib
import json
from importlib.resources import files

import numpy as np
import pytest
from PIL import Image

import awkward
from headstart.datasets import ArrayImages, FileImages
from headstart.datasets.decode import inspect_image
from headstart.datasets.file_index import FileIndex
from headstart.datasets.sources.embedded import read_digits
from headstart.errors import StorageError
from headstart.spec import Decoding


@pytest.fixture
def images(tmp_path):
    paths = []
    for name in ("rgb.png", "grey.jpg", "turned 6.jpg"):
        (tmp_path / name).write_bytes(awkward.whole_files()[name])
        paths.append(tmp_path / name)
    return FileImages(paths)


def test_the_digest_of_files_is_that_of_their_digests(images):
    contents = [path.read_bytes() for path in images.paths]
    digests = [hashlib.sha256(content).digest() for content in contents]
    file_index = FileIndex(None)
    assert images.digest(file_index) == hashlib.sha256(b"".join(digests)).hexdigest()
    turned_round = images.take(np.array([2, 0]))
    expected = hashlib.sha256(digests[2] + digests[0]).hexdigest()
    assert turned_round.digest(file_index) == expected
    assert images.info(file_index) == [inspect_image(content) for content in contents]


def test_the_digest_of_arrays_is_the_published_one():
    text = files("headstart.datasets").joinpath("manifests", "digits.json").read_text()
    expected = json.loads(text)["splits"]["train"]["images_sha256"]
    assert read_digits()["train"].images.digest(FileIndex(None)) == expected


@pytest.mark.parametrize("channels", [1, 3])
def test_arrays_are_seen_by_their_pixels(channels):
    pixels = np.stack([awkward.noise(4, 5, channels)] * 3)
    pixels[1] += 1
    steps = []
    seen = ArrayImages(pixels).take(np.array([2, 1, 0])).info(FileIndex(None), steps.append)
    assert sum(steps) == 3
    assert seen[0] == seen[2] != seen[1]
    assert seen[1].sha256 == hashlib.sha256(pixels[1].tobytes()).hexdigest()
    image = Image.fromarray(pixels[0])
    assert (seen[0].width, seen[0].height, seen[0].mode) == (*image.size, image.mode)
    assert seen[0].n_bytes == 20 * channels
    assert not seen[0].problem


def test_a_file_that_goes_is_no_broken_image(images):
    images.paths[1].unlink()
    for use in (images.info, images.digest):
        with pytest.raises(StorageError):
            use(FileIndex(None))
    with pytest.raises(StorageError):
        images.decode(1)


def test_another_decoding_leaves_the_first_as_it_was(images):
    other = images.decoded(Decoding(like="torchvision"))
    assert other.decode(2).size == (32, 24)
    assert images.decode(2).size == (24, 32)
    assert other.take(np.array([2])).decode(0).size == (32, 24)
