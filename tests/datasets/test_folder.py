import shutil

import pytest
from PIL import Image

from conftest import write_folder
from headstart import datasets
from headstart.context import default_cache
from headstart.datasets.dataset_name import DatasetName
from headstart.datasets.sources.study_datasets import StudySource
from headstart.datasets.splits import RawDataset
from headstart.spec import Selection
from refusals import refused


def test_a_folder_is_a_dataset(photos):
    dataset = datasets.find(str(photos))
    assert dataset.name == "photos"
    assert dataset.classes == ("dark", "light")
    assert dict(dataset.sizes) == {"train": 6, "validation": 6, "test": 6}
    splits = datasets.load(dataset, 0, default_cache(), test_labels=True)
    assert splits.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    choice = {"lambda": 1.0}
    selection = Selection(examples=splits.revision, chosen=choice, validation_curve=(choice,))
    assert splits.test.open(selection).tolist() == [0, 0, 0, 1, 1, 1]
    assert splits.train.images.where(0) == str(photos / "train" / "dark" / "0.png")


def test_splits_of_class_folders_are_drawn(tmp_path):
    write_folder(tmp_path, {"photos": {"dark": 10, "light": 5}})
    found = [datasets.find(f"{tmp_path}/photos?split_seed={seed}") for seed in (0, 0, 1)]
    assert dict(found[0].sizes) == {"train": 9, "validation": 3, "test": 3}
    assert found[0].split_rule == (
        "drawn: 60 % train, 20 % validation, 20 % test, stratified, seed 0"
    )
    assert found[0].revision == found[1].revision != found[2].revision
    splits = datasets.load(found[2], 0, default_cache())
    assert splits.train.labels.tolist() == [0] * 6 + [1] * 3


def test_a_table_is_a_dataset(photos):
    images = sorted(photos.rglob("*.png"))
    lines = [f"{path.relative_to(photos)},{path.parent.name}" for path in images]
    (photos / "t.csv").write_text("\n".join(["file,kind", *lines]))
    dataset = datasets.find(f"{photos}/t.csv?label=kind")
    assert dataset.classes == ("dark", "light")
    assert len(datasets.load(dataset, 0, default_cache()).train) == 10
    assert dict(dataset.sizes) == {"train": 10, "validation": 4, "test": 4}


def test_the_revision_is_the_content_not_the_place(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "copy")
    before = datasets.find(str(photos)).revision
    assert datasets.find(str(tmp_path / "copy")).revision == before
    Image.new("RGB", (24, 24)).save(tmp_path / "copy" / "test" / "dark" / "0.png")
    assert datasets.find(str(tmp_path / "copy")).revision != before


def test_a_folder_that_changes_under_way_is_found(photos):
    dataset = datasets.find(str(photos))
    (photos / "test" / "dark" / "0.png").unlink()
    with refused("dataset.changed"):
        datasets.load(dataset, 0, default_cache())


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
