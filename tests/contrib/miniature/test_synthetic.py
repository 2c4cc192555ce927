"""Drawn datasets: the pixels of the manifests, classes of equal size, no image twice."""

import hashlib
from functools import partial

import numpy as np
import pytest

from conftest import require
from headstart import datasets
from headstart.context import ProgressReporter
from headstart.contrib.miniature import characters, patches, shapes
from headstart.contrib.miniature.synthetic import DRAWN, cached_images
from headstart.datasets.file_index import FileIndex
from headstart.datasets.manifest import Manifest
from headstart.datasets.sources import locate

SPLITS = ("train", "validation", "test")
# Of two that take seconds to draw, the smallest split: the others are drawn by the same code.
PARTS = (
    ("shapes", SPLITS), ("patches", SPLITS), ("textures", SPLITS[1:2]), ("charts", SPLITS[1:2]),
    *(pytest.param((name, SPLITS), marks=pytest.mark.slow) for name in ("textures", "charts")),
)  # fmt: skip


def manifest(name: str) -> Manifest:
    source, asked = locate(name)
    return source.manifest(asked)


@pytest.fixture(scope="module", params=PARTS)
def drawn(request):
    name, splits = request.param
    if name == "patches":
        require(patches.find() is not None, "scikit-image")
    drawings = DRAWN[name]
    return name, drawings, {split: drawings.pixels(split) for split in splits}


def test_pixels_are_those_of_the_manifest(drawn):
    name, drawings, pixels = drawn
    for split, drawn_pixels in pixels.items():
        content = str(drawings.shape).encode() + drawn_pixels.tobytes()
        expected = manifest(name).splits[split].images_sha256
        assert hashlib.sha256(content).hexdigest() == expected


def test_classes_have_as_many_images_each(drawn):
    _, drawings, pixels = drawn
    for split in SPLITS:
        counts = np.bincount(drawings.labels(split))
        assert counts.tolist() == [drawings.per_class[split]] * len(drawings.classes)
        assert len(pixels.get(split, drawings.labels(split))) == counts.sum()


def test_no_image_is_there_twice(drawn):
    _, _, pixels = drawn
    images = np.concatenate(list(pixels.values()))
    assert len({image.tobytes() for image in images}) == len(images)


def test_an_image_can_be_drawn_alone(drawn):
    _, drawings, pixels = drawn
    split = [*pixels][-1]
    for row in (0, 17, 101):
        np.testing.assert_array_equal(drawings.image(split, row), pixels[split][row])


def test_no_pixel_of_a_photograph_is_in_two_splits():
    require(patches.find() is not None, "scikit-image")
    for name in patches.CLASSES:
        blocks = [set(patches._blocks(name, split)) for split in SPLITS]
        assert sum(map(len, blocks)) == len(set.union(*blocks))
        assert all(blocks)


def test_characters_are_drawn_as_the_manifest_says(tmp_path):
    """The first images of its smallest split; the whole is drawn by the next, slow test."""
    drawings = characters.CHARACTERS
    assert len(drawings.classes) == len(set(drawings.classes)) == 250
    one, same = (drawings.image("validation", 3) for _ in range(2))
    np.testing.assert_array_equal(one, same)
    assert (one.shape, one.dtype) == ((32, 32, 3), np.uint8)
    # Dark and bright: there is something to see.
    spread = [np.ptp(drawings.image("test", row).astype(int)) for row in range(20)]
    assert min(spread) > 60


@pytest.mark.slow
def test_characters_are_drawn_once_and_mapped_from_then_on(session_cache, monkeypatch):
    found = datasets.find("characters")
    assert tuple(found.sizes) == tuple(
        (split, 250 * characters.CHARACTERS.per_class[split]) for split in SPLITS
    )
    first = datasets.load(found, 0, session_cache)

    def never(*_):
        raise AssertionError("drawn again")

    monkeypatch.setattr(type(characters.CHARACTERS), "pixels", never)
    again = datasets.load(found, 0, session_cache)
    assert again.revision == first.revision


def test_the_first_drawing_is_watched(tmp_path):
    require(patches.find() is not None, "scikit-image")
    stages, drawn = [], []

    class Watching(ProgressReporter):
        def stage(self, name, total=None, unit=""):
            stages.append((name, total, unit))

        def advance(self, steps=1):
            drawn.append(steps)

    found = datasets.find("patches")
    for _ in range(2):
        # The second time there is nothing to draw.
        datasets.fetch(found, tmp_path, Watching())
    assert stages == [(f"drawing patches, {name}", n, "images") for name, n in found.sizes]
    assert sum(drawn) == sum(n for _, n in found.sizes)


def test_what_is_damaged_on_disk_is_drawn_again(tmp_path):
    drawings = shapes.DATASET
    digest = manifest("shapes").splits["validation"].images_sha256
    path, file_index = tmp_path / "shapes", FileIndex(tmp_path / "files.db")
    draw = partial(drawings.pixels, "validation")
    first = cached_images(path, drawings.shape, digest, file_index, draw)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    again = cached_images(path, drawings.shape, digest, file_index, draw)
    assert first.digest(file_index) == again.digest(file_index) == digest


def test_what_is_drawn_otherwise_is_not_kept(tmp_path):
    drawings, path = shapes.DATASET, tmp_path / "shapes"
    wrong = drawings.pixels("validation") ^ 1
    cached_images(path, drawings.shape, "0" * 64, FileIndex(tmp_path / "files.db"), lambda: wrong)
    assert not path.exists()


def test_glyphs_hold_font_families_apart_and_are_not_blank(session_cache):
    fonts = {split: set(names.split()) for split, names in characters.FONTS.items()}
    assert not fonts["train"] & fonts["test"]
    assert not fonts["train"] & fonts["validation"]
    assert not fonts["validation"] & fonts["test"]
    splits = datasets.load(datasets.find("glyphs"), 0, session_cache)
    assert splits.n_classes == 62
    assert np.bincount(splits.train.labels).tolist() == [24] * 62
    for row in range(0, len(splits.train), 97):
        ink = 255 - np.asarray(splits.train.images.decode(row))
        assert ink.shape == (64, 64)
        assert 0.005 < (ink > 128).mean() < 0.5
        # Nothing is cut off at the edge.
        assert not ink[[0, -1]].any()
        assert not ink[:, [0, -1]].any()
