"""What is said of a dataset's images before a run."""

import pytest

from conftest import write_folder
from headstart import datasets
from headstart.datasets.checking import Checked, check_images, oddities
from headstart.datasets.inspection import Duplicate, Inspection
from headstart.datasets.manifest import Manifest
from headstart.datasets.reading import Reading
from headstart.errors import DatasetError
from headstart.spec import Decoding
from headstart.workspace import Watcher

NONE = {
    "n_images": 9, "problems": (), "duplicates": (), "conflicts": 0, "turned": 0,
    "transparent": 0, "deep": 0, "animated": 0, "largest": 1, "too_large": 0,
}  # fmt: skip
AS_SHOWN = Decoding()


def said(missing=None, decoding=AS_SHOWN, **found) -> list[str]:
    manifest = Manifest(classes=(), splits={})
    reading = Reading(("a", "b"), {}, manifest, "top-1", "", missing or {}, {})
    return list(oddities(Checked("own", "", reading, Inspection(**NONE | found), decoding)))


def test_nothing_odd():
    assert said() == []


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (
            {"missing": {"test": 1}},
            "1 test image is listed and not there: numbers cannot be compared with published ones",
        ),
        (
            {"missing": {"train": 1200}},
            "1,200 train images are listed and not there: numbers cannot be compared with "
            "published ones",
        ),
        (
            {"turned": 2, "transparent": 1000, "deep": 1},
            "images touched by decoding: 2 turned as their EXIF data say, 1,000 put on white where "
            "they are transparent, 1 scaled from 16 bits to 8 (?decoding=torchvision does none of "
            "it)",
        ),
        (
            {"turned": 2, "deep": 1, "decoding": Decoding(like="torchvision")},
            "images that torchvision decodes otherwise than a viewer: 2 not turned as their EXIF "
            "data say, 1 not scaled from 16 bits to 8",
        ),
        ({"animated": 3}, "images of several frames, of which the first is taken: 3"),
        ({"conflicts": 1}, "1 image is there twice with different labels"),
        ({"conflicts": 2}, "2 images are there twice with different labels"),
        (
            {"duplicates": (Duplicate("test", "x.png", "train", "y.png"),)},
            "1 image lies in two splits: train y.png = test x.png",
        ),
        (
            {"duplicates": (Duplicate("test", "x", "train", "y"),) * 5},
            "5 images lie in two splits: train y = test x; train y = test x; train y = test x and "
            "2 more",
        ),
    ],
)
def test_what_is_odd(found, line):
    assert said(**found) == [line]


class Listener(Watcher):
    def __init__(self):
        self.notes, self.stages = [], []

    def note(self, text):
        self.notes.append(text)

    def stage(self, name, total=None, unit=""):
        self.stages.append((name, total))


def test_images_are_looked_at_before_a_network_runs(photos, own_cache):
    twin = (photos / "train" / "dark" / "0.png").read_bytes()
    (photos / "test" / "dark" / "2.png").write_bytes(twin)
    watcher = Listener()
    check_images(datasets.find(str(photos)), own_cache, watcher)
    assert watcher.stages[-1] == ("looking at the images", 18)
    assert watcher.notes == [
        "photos: splits: folders train, validation, test",
        f"photos: 1 image lies in two splits: train {photos}/train/dark/0.png = "
        f"test {photos}/test/dark/2.png",
    ]
    (photos / "train" / "light" / "0.png").write_bytes(b"")
    (photos / "train" / "light" / "1.png").write_bytes(b"text")
    with pytest.raises(DatasetError, match="2 of 18 images of dataset 'photos' cannot be used"):
        check_images(datasets.find(str(photos)), own_cache, watcher)
    watcher.notes.clear()
    check_images(datasets.find(str(photos), skip_broken=True), own_cache, watcher)
    assert "photos: 2 of 18 images cannot be used" in watcher.notes


def test_what_is_known_by_its_digest_is_not_looked_at(own_cache):
    watcher = Listener()
    check_images(datasets.find("digits"), own_cache, watcher)
    assert (watcher.stages, watcher.notes) == ([], [])


def test_a_cache_that_cannot_be_used_is_told_once(photos, own_cache):
    (own_cache / "datasets" / "files.db").mkdir(parents=True)
    watcher = Listener()
    datasets.verify(str(photos), own_cache, watcher)
    assert len([note for note in watcher.notes if "files.db" in note]) == 1


def test_the_first_reading_shows_how_far_it_is(photos, own_cache):
    watcher, done = Listener(), []
    watcher.advance = done.append
    datasets.find(str(photos), cache=own_cache, watcher=watcher)
    assert watcher.stages == [("reading the images", 18)]
    assert sum(done) == 18


def test_too_few_images_are_told_with_the_datasets_name(tmp_path, own_cache):
    folder = write_folder(tmp_path, {"photos": {"a": 1, "b": 1}}) / "photos"
    words = rf"dataset '{folder}': no test images can be drawn \(2 images, no two of one class\)"
    with pytest.raises(DatasetError, match=words):
        datasets.verify(str(folder), own_cache, Watcher())
