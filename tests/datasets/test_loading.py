import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from conftest import write_folder
from headstart import datasets
from headstart.context import ProgressReporter, default_cache
from headstart.datasets import ArrayImages
from headstart.datasets.audit import data_warnings, verify
from headstart.datasets.dataset_name import DatasetName
from headstart.datasets.loading import check_examples, loaded_dataset, read_dataset
from headstart.datasets.sources.study_datasets import StudySource
from headstart.datasets.splits import RawDataset
from headstart.labels import kind_of
from own_datasets import labels_of_test, split_of
from refusals import refused


def reading_at(folder, cache):
    return read_dataset("folder", DatasetName.parse(str(folder)), cache)


def test_a_copy_names_its_images_alike(photos, tmp_path, own_cache):
    copy = shutil.copytree(photos, tmp_path / "elsewhere" / "copy")
    first, second = reading_at(photos, own_cache), reading_at(copy, own_cache)
    assert (first.root, second.root) == (photos, copy)
    names = [
        [one.image(split, i) for split in one.parts for i in range(6)] for one in (first, second)
    ]
    assert names[0] == names[1]
    assert names[0][:2] == ["train/dark/0.png", "train/dark/1.png"]
    assert first.manifest == second.manifest
    Image.new("RGB", (24, 24)).save(copy / "test" / "dark" / "0.png")
    assert reading_at(copy, own_cache).manifest.revision != first.manifest.revision


def test_a_folder_is_a_dataset(photos):
    dataset = datasets.find(str(photos))
    assert dataset.name == "photos"
    assert dataset.classes == ("dark", "light")
    assert dict(dataset.sizes) == {"train": 6, "validation": 6, "test": 6}
    splits = datasets.load(dataset, 0, default_cache(), test_labels=True)
    assert splits.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert labels_of_test(splits).tolist() == [0, 0, 0, 1, 1, 1]
    assert splits.train.images.where(0) == str(photos / "train" / "dark" / "0.png")


def test_a_table_is_a_dataset(photos):
    images = sorted(photos.rglob("*.png"))
    lines = [f"{path.relative_to(photos)},{path.parent.name}" for path in images]
    (photos / "t.csv").write_text("\n".join(["file,kind", *lines]))
    dataset = datasets.find(f"{photos}/t.csv?label=kind")
    assert dataset.classes == ("dark", "light")
    assert len(datasets.load(dataset, 0, default_cache()).train) == 10
    assert dict(dataset.sizes) == {"train": 10, "validation": 4, "test": 4}


def test_images_that_are_no_files_have_their_own_names(photos, own_cache):
    digits = read_dataset("embedded", DatasetName.parse("digits"), own_cache)
    assert digits.root is None
    assert digits.image("test", 3) == digits.parts["test"].images.where(3)
    # Of parts that are files and parts that are not, each has names.
    loaded = reading_at(photos, own_cache)
    test = replace(loaded.parts["test"], images=ArrayImages(np.zeros((6, 2, 2), np.uint8)))
    mixed = replace(loaded, parts={**loaded.parts, "test": test})
    assert mixed.root == photos
    assert mixed.image("test", 0) == test.images.where(0)
    assert mixed.image("validation", 0) == "validation/dark/0.png"


def test_a_dataset_that_changes_while_it_is_in_use(photos, own_cache):
    dataset = datasets.find(str(photos), cache=own_cache)
    assert loaded_dataset(dataset, own_cache).manifest.revision == dataset.revision
    assert loaded_dataset(dataset, own_cache) is loaded_dataset(dataset, own_cache)
    shutil.copy(photos / "train" / "dark" / "0.png", photos / "train" / "dark" / "new.png")
    changed = datasets.find(str(photos), cache=own_cache)
    assert changed.revision != dataset.revision
    loaded_dataset(changed, own_cache)
    with refused("dataset.changed"):
        loaded_dataset(dataset, own_cache)


def test_a_metric_for_other_labels(photos, own_cache):
    asked = DatasetName.parse(f"{photos}?metric=voc-map-11point")
    with refused("dataset.metric", metric="voc-map-11point", ndim=1):
        read_dataset("folder", asked, own_cache)


def test_a_split_seed_that_draws_nothing_is_refused(photos):
    """Else two names would stand for the same splits."""
    for name in (f"{photos}?split_seed=3", "digits?split_seed=3"):
        with refused("dataset.option_unused", option="split_seed"):
            datasets.find(name)
    parts = dict.fromkeys(("train", "validation", "test"))
    with refused("dataset.option_unused", option="split_seed"):
        StudySource().split(DatasetName.parse("dtd?split_seed=3"), RawDataset(("a", "b"), parts))


def test_a_file_that_is_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos.zip").write_bytes(b"PK")
    for name in ("photos.zip", "./photos.zip", str(tmp_path / "photos.zip")):
        with refused("dataset.not_a_folder"):
            datasets.find(name)


@pytest.mark.parametrize(("name", "refusal"), [
    ("", {"code": "name.unknown", "kind": "dataset", "name": "", "near": []}),
    ("hf:", {"code": "dataset.repository_name", "found": ""}),
])  # fmt: skip
def test_no_name_is_not_the_folder_where_one_is(photos, monkeypatch, name, refusal):
    monkeypatch.chdir(photos)
    with refused(**refusal):
        datasets.find(name)


def test_an_image_with_another_name_is_found_in_the_same_process(photos):
    before = datasets.find(str(photos))
    datasets.load(before, 0, default_cache())
    (photos / "test" / "dark" / "0.png").rename(photos / "test" / "dark" / "00.png")
    after = datasets.find(str(photos))
    assert after.revision == before.revision
    splits = datasets.load(after, 0, default_cache())
    assert splits.test.images.where(0).endswith("00.png")
    assert splits.test.images.decode(0).size


@pytest.mark.parametrize(("counts", "refusal"), [
    ({"train": {"a": 1, "b": 1}, "validation": {"a": 1}, "test": {"a": 0}},
     {"code": "dataset.split_empty", "split": "test"}),
    ({"train": {"a": 1}, "validation": {"a": 1}, "test": {"a": 1}},
     {"code": "dataset.one_class", "found": 1}),
    ({"a": {"": 1}, "b": {"": 1}}, {"code": "dataset.split_impossible", "split": "test"}),
])  # fmt: skip
def test_folders_that_are_no_dataset(tmp_path, counts, refusal):
    write_folder(tmp_path / "photos", counts)
    with refused(**refusal):
        datasets.find(str(tmp_path / "photos"))


FINE = {"train": [0, 1], "validation": [0], "test": [1]}
MANY = {"train": [[1, -1], [0, 1]], "validation": [[1, -1]], "test": [[-1, 1]]}


@pytest.mark.parametrize(("given", "changes", "code", "values"), [
    (FINE, {"test": []}, "split_empty", {"split": "test"}),
    (FINE, {"test": [1, 2]}, "class_unknown", {"split": "test", "row": 1}),
    (FINE, {"validation": [-1]}, "class_unknown", {"split": "validation", "row": 0}),
    (FINE, {"train": [0, 0]}, "class_empty", {"found": "b"}),
    (MANY, {"test": [[0, -1]]}, "split_unlabelled", {"split": "test"}),
    (MANY, {"test": [[1, 2]]}, "class_unknown", {"split": "test", "row": 0}),
    (MANY, {"train": [[1, -1], [1, 0]]}, "class_empty", {"found": "b"}),
    (MANY, {"test": [[1, -1, 1]]}, "class_unknown", {"split": "test", "row": 0}),
])  # fmt: skip
def test_examples_that_cannot_be_measured(given, changes, code, values):
    kind = kind_of("top-1" if given is FINE else "voc-map-11point")
    whole = {name: split_of(labels=labels) for name, labels in given.items()}
    check_examples("d", ("a", "b"), whole, kind)
    parts = {**whole, **{name: split_of(labels=labels) for name, labels in changes.items()}}
    with refused(f"dataset.{code}", **values):
        check_examples("d", ("a", "b"), parts, kind)


CLASSES = ("a", "b", "c", "d")
GIVE = """
import numpy as np

def load():
    images = np.arange(4 * 24, dtype=np.uint8).reshape(24, 2, 2)
    parts = {{"train": (images[:16], {train}), "holdout": (images[16:], {test})}}
    return parts | {{"classes": {classes}}}
"""


@pytest.mark.parametrize(("train", "test", "metric", "classes", "warning", "n_notes"), [
    ([0, 1, 2, 3] * 4, [0, 1, 2, 3] * 2, "top-1", CLASSES, "", 0),
    ([0, 1, 2, 3] * 4, [0, 1, 1, 3] * 2, "top-1", CLASSES,
     "1 of 4 classes has no test image: 'c'", 0),
    ([0, 1, 2, 3] * 4, [0, 1] * 4, "mean-per-class", CLASSES,
     "2 of 4 classes have no test image: 'c', 'd'; the mean is over the other 2", 0),
    # A class without any image is none, whoever names it.
    ([0, 2, 2, 3] * 4, [0, 2, 3, 3] * 2, "top-1", ("a", "c", "d"), "", 1),
    ([[1, 0, 1, 0], [1, 0, 0, 1]] * 8, [[1, 0, 1, 0]] * 8, "voc-map-11point", ("a", "c", "d"),
     "1 of 3 classes has no test image: 'd'; the mean is over the other 2", 1),
])  # fmt: skip
def test_classes_without_images_are_told(
    tmp_path, own_cache, train, test, metric, classes, warning, n_notes
):
    (tmp_path / "data.py").write_text(GIVE.format(train=train, test=test, classes=CLASSES))
    name = f"{tmp_path}/data.py:load?metric={metric}"
    loaded = read_dataset("function", DatasetName.parse(name), own_cache)
    assert loaded.classes == classes
    assert loaded.split_rule == (
        "parts train, holdout (as test); test as given; "
        "20 % of train drawn for validation, stratified, seed 0"
    )
    assert len(loaded.notes) == n_notes
    assert set(np.unique(loaded.parts["train"].labels)) <= {-1, *range(len(classes))}
    found = {
        one.code: one.text for one in data_warnings(verify(name, own_cache, ProgressReporter()))
    }
    assert found.get("untested-classes", "") == warning
