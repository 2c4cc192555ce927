"""What is said of a dataset's images before a run."""

import json

import pytest

from conftest import write_folder
from headstart import datasets
from headstart.context import ProgressReporter
from headstart.datasets.audit import (
    AuditReport,
    DataWarning,
    Duplicate,
    VerifiedDataset,
    check_images,
    data_warnings,
)
from headstart.datasets.loading import LoadedDataset
from headstart.datasets.manifest import Manifest
from headstart.datasets.splits import LOOSE
from headstart.spec import Decoding
from refusals import refused
from watched import Listener

NONE = {
    "n_images": 9, "problems": (), "duplicates": (), "conflicts": 0, "turned": 0,
    "transparent": 0, "deep": 0, "animated": 0, "largest": 1, "too_large": 0,
}  # fmt: skip
AS_SHOWN = Decoding()


def warned(missing=None, decoding=AS_SHOWN, left_out=None, **found) -> list[DataWarning]:
    manifest = Manifest(classes=(), splits={})
    loaded = LoadedDataset(("a", "b"), {}, manifest, "top-1", "", missing or {}, left_out or {})
    return data_warnings(VerifiedDataset("own", "", loaded, AuditReport(**NONE | found), decoding))


TWINS = (Duplicate("test", "x", "train", "y"),)


@pytest.mark.parametrize(("found", "code", "named"), [
    ({"missing": {"test": 1}}, "missing-images", ["1 listed test image is"]),
    ({"missing": {"all": 3}}, "missing-images", ["3 listed images are"]),
    ({"left_out": {".icloud": 3}}, "skipped-files", ["3 .icloud", "not downloaded"]),
    ({"missing": {"train": 1200}}, "missing-images", ["1,200 listed train images are"]),
    ({"left_out": {LOOSE: 2}}, "skipped-files", ["2 images are"]),
    ({"left_out": {".txt": 3, ".heic": 1200}}, "skipped-files",
     ["1,200 .heic, 3 .txt", "convert .heic to"]),
    ({"turned": 2, "transparent": 1000, "deep": 1, "spans": {(0, 4095): 1}}, "converted-images",
     ["2 rotated", "1,000 transparent", "1 of more than 8 bits", "0..4095"]),
    ({"turned": 2, "deep": 1, "decoding": Decoding(like="torchvision")}, "converted-images",
     ["not converted", "2 rotated", "1 of more than 8 bits"]),
    ({"dark": 3, "dark_high": 4095.0}, "converted-images", ["3 16-bit", "?range=0..4095"]),
    ({"extra_bands": 3}, "converted-images", ["bands", ": 3"]),
    ({"animated": 3}, "converted-images", ["frames", ": 3"]),
    ({"conflicts": 1}, "label-conflicts", ["1 duplicate image has"]),
    ({"conflicts": 18}, "label-conflicts", ["18 duplicate images have"]),
    ({"duplicates": TWINS}, "leakage", ["1 image is", "train y = test x"]),
    ({"duplicates": TWINS * 5}, "leakage", ["5 images are", " and 2 more"]),
])  # fmt: skip
def test_what_is_warned_of(found, code, named):
    assert warned() == []
    (warning,) = warned(**found)
    assert warning.code == code
    assert all(part in warning.text for part in named), warning.text
    assert "\n" not in warning.text


@pytest.mark.parametrize(("classes", "named"), [
    (("Cat", "cat", "dog"), "'Cat', 'cat'"), (("True", "TRUE", "False"), "'True', 'TRUE'"),
    (("hot dog", "hot_dog", "hot-dog"), "'hot dog', 'hot_dog', 'hot-dog'"),
    (("7", "07", "8"), "'7', '07'"), (("a", "nan"), "'nan'"), (("NA", "US"), "'NA'"),
    (("-1", "0", "1", "2"), "'-1'"), (("cat ", "cat", "dog"), "'cat ', 'cat'"),
    (("-1", "1"), ""), (("-1", "0"), ""),
    # Letters, numbers and signs that are others.
    (("a", "A", "b"), ""), (("1", "10", "-1"), ""), (("C++", "C#", "C"), ""), (("0", "00x"), ""),
    (("1.0", "10"), ""), (("+", "*"), ""),
])  # fmt: skip
def test_names_of_classes_that_may_be_slips(classes, named):
    loaded = LoadedDataset(classes, {}, Manifest(classes=(), splits={}), "top-1", "", {}, {})
    found = data_warnings(VerifiedDataset("own", "", loaded, AuditReport(**NONE), AS_SHOWN))
    assert [warning.code for warning in found] == (["similar-classes"] if named else [])
    assert all(warning.text.endswith(f": {named}") for warning in found)


def test_a_class_without_a_test_image_is_named(tmp_path, own_cache):
    files = {"train": {"a": 2, "b": 2, "c": 2}, "validation": {"a": 1, "b": 1, "c": 1}}
    folder = write_folder(tmp_path / "p", files | {"test": {"a": 2, "c": 1}})
    (warning,) = data_warnings(datasets.verify(str(folder), own_cache, ProgressReporter()))
    assert warning.code == "untested-classes"
    assert "1 of 3 classes has" in warning.text
    assert "'b'" in warning.text


def test_warnings_are_what_a_result_keeps(photos, own_cache):
    twin = (photos / "train" / "dark" / "0.png").read_bytes()
    (photos / "test" / "light" / "2.png").write_bytes(twin)
    (photos / "train" / "dark" / "notes.txt").write_text("x")
    dataset = datasets.find(str(photos), cache=own_cache)
    kept = datasets.warnings_of(dataset, own_cache)
    codes = ["skipped-files", "leakage", "label-conflicts"]
    assert [warning["code"] for warning in kept] == codes
    assert json.loads(json.dumps(kept)) == kept
    assert datasets.warnings_of(datasets.find("digits"), own_cache) == []


def test_images_are_looked_at_before_a_network_runs(photos, own_cache):
    twin = (photos / "train" / "dark" / "0.png").read_bytes()
    (photos / "test" / "dark" / "2.png").write_bytes(twin)
    reporter = Listener()
    check_images(datasets.find(str(photos)), own_cache, reporter)
    assert reporter.stages[-1][:2] == ("looking at the images", 18)
    assert reporter.notes == [
        "photos: splits: folders train, validation, test",
        f"photos: 1 image is in two splits (leakage): train {photos}/train/dark/0.png = "
        f"test {photos}/test/dark/2.png",
    ]
    (photos / "train" / "light" / "0.png").write_bytes(b"")
    (photos / "train" / "light" / "1.png").write_bytes(b"text")
    with refused("dataset.images_broken", found=2):
        check_images(datasets.find(str(photos)), own_cache, reporter)
    reporter.notes.clear()
    check_images(datasets.find(str(photos), skip_broken=True), own_cache, reporter)
    assert "photos: 2 of 18 images cannot be used" in reporter.notes


def test_what_is_known_by_its_digest_is_not_looked_at(own_cache):
    reporter = Listener()
    check_images(datasets.find("digits"), own_cache, reporter)
    assert (reporter.stages, reporter.notes) == ([], [])


def test_a_cache_that_cannot_be_used_is_told_once(photos, own_cache):
    (own_cache / "datasets" / "files.db").mkdir(parents=True)
    reporter = Listener()
    datasets.verify(str(photos), own_cache, reporter)
    assert len([note for note in reporter.notes if "files.db" in note]) == 1


def test_the_first_reading_shows_how_far_it_is(photos, own_cache):
    reporter = Listener()
    datasets.find(str(photos), cache=own_cache, reporter=reporter)
    assert [stage[:2] for stage in reporter.stages] == [("reading the images", 18)]
    assert reporter.done == 18
