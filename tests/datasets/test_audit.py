"""What is found in a dataset's images before a run, and what is said of it."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import awkward
from conftest import require, write_folder
from headstart import datasets
from headstart.context import ProgressReporter
from headstart.datasets import ArrayImages, FileImages
from headstart.datasets.audit import (
    AuditReport,
    DataWarning,
    Duplicate,
    Problem,
    VerifiedDataset,
    audit_images,
    check_audit,
    check_images,
    data_warnings,
)
from headstart.datasets.file_index import FileIndex
from headstart.datasets.loading import LoadedDataset
from headstart.datasets.manifest import Manifest
from headstart.datasets.splits import LOOSE
from headstart.spec import Decoding
from own_datasets import split_of, write_split
from refusals import refused
from watched import Listener


def flat(level: int) -> bytes:
    return awkward.encoded(Image.new("L", (4, 4), level))


def test_every_problem_in_order_and_what_a_decoding_touches(tmp_path):
    whole, broken = awkward.whole_files(), awkward.broken_files()
    parts = {
        "train": write_split(tmp_path / "train", whole),
        "test": write_split(tmp_path / "test", {name: one for name, (one, _) in broken.items()}),
    }
    steps = []
    found = audit_images(parts, FileIndex(tmp_path / "files.db"), Decoding(), steps.append)
    assert found.n_images == sum(steps) == len(whole) + len(broken)
    assert [(p.split, p.row, p.where) for p in found.problems] == [
        ("test", row, str(tmp_path / "test" / name)) for row, name in enumerate(broken)
    ]
    reasons = [problem.reason for problem in found.problems]
    expected = [words for _, words in broken.values()]
    assert all(words in reason for words, reason in zip(expected, reasons, strict=True))
    assert (found.turned, found.transparent, found.deep, found.animated) == (16, 6, 2, 3)
    assert (found.largest, found.too_large) == (768, 0)
    for problem in found.problems:
        with refused("image.broken", reason=problem.reason):
            parts[problem.split].images.decode(problem.row)


def test_images_over_the_limit(tmp_path):
    huge = awkward.huge_png(12960, 12960)
    parts = {"train": write_split(tmp_path / "x", {"a.png": flat(1), "b.png": huge})}
    found = audit_images(parts, FileIndex(None), Decoding())
    reason = (
        "12960 x 12960 = 167,961,600 pixels, over the limit of 100,000,000: raise it with "
        "?max_pixels=167961600"
    )
    assert found.problems == (Problem("train", 1, str(tmp_path / "x" / "b.png"), reason),)
    assert (found.largest, found.too_large) == (167961600, 1)
    with refused("dataset.images_broken", found=1):
        check_audit(found, "photos", skip_broken=False)
    assert not audit_images(parts, FileIndex(None), Decoding(max_pixels=167961600)).problems


def test_the_list_ends_somewhere(tmp_path):
    files = {f"{i:02}.png": bytes(i) for i in range(23)}
    found = audit_images({"train": write_split(tmp_path / "x", files)}, FileIndex(None), Decoding())
    named = [str(tmp_path / "x" / f"{i:02}.png") for i in range(10)]
    with refused("dataset.images_broken", found=23, images=named) as error:
        check_audit(found, "photos", skip_broken=False)
    said = str(error.value)
    assert [said.count(problem.where) for problem in found.problems] == [1] * 10 + [0] * 13
    assert all(f"{problem.where}: {problem.reason}" in said for problem in found.problems[:10])
    assert re.findall(r"\b(?:23|13|photos)\b", said) == ["23", "23", "photos", "13"]
    check_audit(found, "photos", skip_broken=True)


def test_nothing_wrong_is_nothing_said(tmp_path):
    parts = {"train": write_split(tmp_path / "x", {"a.png": flat(1)})}
    check_audit(audit_images(parts, FileIndex(None), Decoding()), "photos", skip_broken=False)
    empty = audit_images({"train": split_of(FileImages([]))}, FileIndex(None), Decoding())
    assert (empty.n_images, empty.largest) == (0, 0)


def test_identical_files_in_two_splits(tmp_path):
    a, b, c = flat(1), flat(2), flat(3)
    parts = {
        "train": write_split(tmp_path / "train", {"1.png": a, "2.png": b, "3.png": a}),
        "validation": write_split(tmp_path / "validation", {"4.png": c, "5.png": b, "6.png": b""}),
        # Two empty files are two broken ones.
        "test": write_split(tmp_path / "test", {"7.png": b, "8.png": c, "9.png": b""}),
    }
    found = audit_images(parts, FileIndex(None), Decoding())
    one, two, four, five, seven, eight = (
        str(tmp_path / name)
        for name in (
            "train/1.png", "train/2.png", "validation/4.png", "validation/5.png", "test/7.png",
            "test/8.png",
        )
    )  # fmt: skip
    assert found.duplicates == (
        Duplicate("validation", five, "train", two),
        Duplicate("test", seven, "train", two),
        Duplicate("test", eight, "validation", four),
    )
    assert one not in str(found.duplicates)  # twice in one split
    assert found.conflicts == 0


@pytest.mark.parametrize(("labels", "conflicts"), [
    ([0, 0, 1, 1], 0),
    ([0, 1, 1, 1], 1),
    ([0, 1, 1, 0], 2),
    ([[1, -1], [1, -1], [0, 1], [0, 1]], 0),
    ([[1, -1], [1, 0], [0, 1], [0, 1]], 1),
])  # fmt: skip
def test_identical_files_with_different_labels(tmp_path, labels, conflicts):
    files = {"1.png": flat(1), "2.png": flat(1), "3.png": flat(2), "4.png": flat(2)}
    # Two empty files are no two of one content.
    files |= {"5.png": b"", "6.png": b""}
    parts = {"train": write_split(tmp_path / "x", files, [*labels, labels[0], labels[-1]])}
    found = audit_images(parts, FileIndex(None), Decoding())
    assert (found.conflicts, found.duplicates) == (conflicts, ())


@pytest.mark.parametrize(("label", "conflicts"), [(0, 0), (1, 1)])
def test_labels_of_one_file_in_two_splits_conflict_too(tmp_path, label, conflicts):
    parts = {
        "train": write_split(tmp_path / "train", {"1.png": flat(1), "2.png": flat(2)}, [0, 1]),
        "validation": write_split(tmp_path / "validation", {"3.png": flat(1)}, [label]),
    }
    found = audit_images(parts, FileIndex(None), Decoding())
    assert (found.conflicts, len(found.duplicates)) == (conflicts, 1)


def test_arrays_have_duplicates_and_nothing_else():
    pixels = np.arange(4, dtype=np.uint8)[:, None, None] * np.ones((4, 5, 6), np.uint8)
    parts = {
        "train": split_of(ArrayImages(pixels[[0, 1, 1]]), [0, 1, 2]),
        "test": split_of(ArrayImages(pixels[[2, 1]])),
    }
    found = audit_images(parts, FileIndex(None), Decoding(max_pixels=29))
    assert found.duplicates == (Duplicate("test", "number 1", "train", "number 1"),)
    assert found.conflicts == 1
    assert (found.turned, found.transparent, found.deep, found.animated) == (0, 0, 0, 0)
    assert found.problems == ()  # the limit is on what is decoded


@pytest.fixture
def stamps() -> list[Path]:
    """The labelled pictures of a package of Debian's: a folder for each category."""
    folder = Path("/usr/share/tuxpaint/stamps")
    require(folder.is_dir(), "Debian package tuxpaint-stamps-default")
    return sorted(folder.rglob("*.png"))


def test_real_pictures(stamps, tmp_path):
    parts = {
        "train": split_of(FileImages(stamps[::2])),
        "test": split_of(FileImages(stamps[1::2])),
    }
    found = audit_images(parts, FileIndex(tmp_path / "files.db"), Decoding())
    assert found.n_images == len(stamps) > 700
    assert found.problems == ()
    transparent, largest = 0, 0
    for stamp in stamps:
        with Image.open(stamp) as image:
            transparent += image.has_transparency_data
            largest = max(largest, image.width * image.height)
    assert (found.transparent, found.largest) == (transparent, largest)
    train = {path.read_bytes() for path in stamps[::2]}
    twice = [str(path) for path in stamps[1::2] if path.read_bytes() in train]
    assert [duplicate.where for duplicate in found.duplicates] == twice
    for one in found.duplicates:
        assert Path(one.where).read_bytes() == Path(one.other_where).read_bytes()
    again = audit_images(parts, FileIndex(tmp_path / "files.db"), Decoding())
    assert again == found


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
