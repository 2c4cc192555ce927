"""Parquet files in the hub's layout: columns, labels, splits; copies of the study's datasets."""

import base64
import itertools
import re
from importlib.metadata import files as installed_files
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
import pytest

from conftest import write_folder
from headstart.datasets import FileImages
from headstart.datasets.archives import check_published, facts_of, protocol_splits, published_facts
from headstart.datasets.hub_splits import Choice, parts_of
from headstart.datasets.parquet_dataset import (
    ParquetImages,
    has_several_classes,
    read,
    read_hub_copy,
)
from headstart.errors import DatasetError
from headstart.spec import Sizes
from hub_files import class_label, encoded, write_images, write_table
from refusals import refused

NAMES = ("cat", "dog", "emu")


@pytest.fixture
def pets(tmp_path):
    """Train in two files, and test."""
    write_images(tmp_path / "data/train-00000-of-00002.parquet", [2, 0, 1], NAMES)
    write_images(tmp_path / "data/train-00001-of-00002.parquet", [1, 1], NAMES, seed=1)
    write_images(tmp_path / "data/test-00000-of-00001.parquet", [0, 2], NAMES, seed=2)
    return tmp_path


def write_labels(folder, labels, feature=None, file="train.parquet", column="label", **more):
    """Write as many images as labels."""
    images = pa.array([encoded(60 + row) for row in range(len(labels))])
    columns = {"image": images, column: pa.array(labels), **more}
    return write_table(folder / file, columns, {column: feature} if feature else {})


def refused_read(folder, code, *, found=None, **choice):
    values = {} if found is None else {"found": found}
    with refused(code, **values):
        read(folder, Choice(**choice), "hf:a/b")


def test_a_repository_as_the_hubs_library_writes_it(pets):
    raw = read(pets, Choice(), "hf:a/b")
    assert raw.classes == NAMES
    assert list(raw.parts) == ["train", "test"]
    assert raw.parts["train"].labels.tolist() == [2, 0, 1, 1, 1]
    assert raw.parts["train"].labels.dtype == np.int64
    assert raw.parts["test"].rows.tolist() == [0, 1]
    assert isinstance(raw.parts["train"].images, ParquetImages)
    where = raw.parts["train"].images.where(3)
    assert where == "train-00001-of-00002.parquet, row 0 (1_0.png)"
    # The brightness tells the class.
    levels = [np.asarray(raw.parts["train"].images.decode(row)).mean() for row in range(5)]
    assert np.round((np.array(levels) - 60) / 20).tolist() == [2, 0, 1, 1, 1]
    assert raw.parts["train"].groups is None
    assert not has_several_classes(pets / "data/test-00000-of-00001.parquet", Choice(), "")


@pytest.mark.parametrize(("names", "expected"), [
    (["data/train-00000-of-00001-a09b74b3ef9c3b56.parquet", "data/test-00000-of-00001.parquet"],
     {"train": 1, "test": 1}),
    (["train.parquet", "valid.parquet"], {"train": 1, "validation": 1}),
    (["train/0000.parquet", "train/0001.parquet", "val/0000.parquet"],
     {"train": 2, "validation": 1}),
    (["plain_text/train/0000.parquet", "plain_text/test/0000.parquet"], {"train": 1, "test": 1}),
    (["pets-train.parquet", "pets-dev.parquet", "pets-test.parquet"],
     {"train": 1, "validation": 1, "test": 1}),
    (["data/train-00000-of-00001.parquet", "data/val-00000-of-00001.parquet",
      "data/extra-00000-of-00001.parquet"], {"train": 1, "validation": 1}),
    (["images.parquet"], {"all": 1}),
    (["data/0000.parquet", "data/0001.parquet"], {"all": 2}),
    (["everything-00000-of-00001.parquet"], {"all": 1}),
    (["data/train-00000-of-00001.parquet"], {"all": 1}),
])  # fmt: skip
def test_splits_are_read_from_names(names, expected):
    parts = parts_of(names, Choice(), "").files
    assert {part: len(files) for part, files in parts.items()} == expected


def test_splits_that_are_named_otherwise_are_chosen():
    names = [f"data/{split}-00000-of-00001.parquet" for split in ("trainval", "eval", "extra")]
    found = parts_of(names, Choice(), "hf:a/b")
    assert found.files == {"train": [names[0]], "test": [names[1]]}
    assert found.parts_note == "trainval (as train), eval (as test); not used: extra"
    for some in (["data/train.parquet", names[2]], [names[0], names[2]]):
        with refused("dataset.split_unknown") as error:
            parts_of(some, Choice(), "hf:a/b")
        assert "extra" in error.value.values["found"]
    chosen = Choice(parts={"train": "trainval+extra", "test": "eval"})
    assert parts_of(names, chosen, "").files == {
        "train": [names[0], names[2]], "test": [names[1]],
    }  # fmt: skip
    # Another word for a split that only one has; none for one that is not there.
    assert parts_of(names, Choice(parts={"train": "train", "test": "test"}), "").files == {
        "train": [names[0]], "test": [names[1]],
    }  # fmt: skip
    with pytest.raises(DatasetError) as error:
        parts_of(names, Choice(parts={"train": "trains"}), "hf:a/b")
    assert error.value.values["found"] == ("eval", "extra", "trainval")


@pytest.mark.parametrize("layout", [
    "data/{}-00000-of-00001.parquet", "data/{}-00000-of-00001-a09b74b3ef9c3b56.parquet",
    "default/{}/0000.parquet", "{}/0000.parquet", "{}.parquet", "{}-0.parquet",
])  # fmt: skip
def test_a_split_is_the_whole_name_before_the_number(layout):
    own = ("test_id", "test_ood", "train", "train_noisy")
    names = [layout.format(split) for split in own]
    with refused("dataset.split_unknown", found=own):
        parts_of(names, Choice(), "hf:a/b")
    found = parts_of(names, Choice(parts={"train": "train", "test": "test_ood"}), "hf:a/b")
    assert found.files == {"train": [names[2]], "test": [names[1]]}
    assert found.parts_note == "train, test_ood (as test); not used: test_id, train_noisy"
    whole = parts_of(names, Choice(parts={"train": "train+train_noisy", "test": "test_id"}), "")
    assert whole.files["train"] == names[2:]


def test_what_the_readme_declares_is_taken_where_names_do_not_tell(tmp_path):
    for seed, name in enumerate("abcd"):
        write_images(tmp_path / f"files/{name}.parquet", [0, 1], NAMES[:2], seed=seed)
    readme = tmp_path / "README.md"
    declared = (
        "---\nconfigs:\n- config_name: {}\n  data_files:\n"
        "  - split: train\n    path: files/{}.parquet\n"
        "  - split: test_ood\n    path:\n    - files/{}*\n---\n# Pets\n"
    )
    readme.write_text(declared.format("pets", "a", "b"))
    parts = {"train": "train", "test": "test_id"}
    refused_read(tmp_path, "dataset.split_unknown", found=("train", "test_ood"), parts=parts)
    raw = read(tmp_path, Choice(parts={"train": "train", "test": "test_ood"}), "")
    assert [len(raw.parts[part]) for part in ("train", "test")] == [2, 2]
    assert raw.parts["test"].images.where(0).startswith("b.parquet")
    assert raw.parts_note == "train, test_ood (as test)"
    # What is not simple, or no YAML at all, declares nothing.
    for text in ("---\nconfigs: [1]\n---\n", "---\n: [\n---\n", declared.format("x", "none", "b")):
        readme.write_text(text)
        assert list(read(tmp_path, Choice(), "").parts) == ["all"]


def test_lists_of_objects_are_no_flags(tmp_path):
    """A class may be there twice in an image of several objects."""
    write_labels(tmp_path, [[0, 0], [1], [0, 1]])
    labels = read(tmp_path, Choice(), "").parts["all"].labels
    assert labels.tolist() == [[1, -1], [-1, 1], [1, 1]]


def test_names_and_the_readme_disagree(tmp_path):
    for seed, name in enumerate(("train", "test")):
        write_images(tmp_path / f"data/{name}-00000-of-00001.parquet", [0, 1], NAMES, seed=seed)
    declared = "---\nconfigs:\n- config_name: default\n  data_files:\n" + "".join(
        f"  - split: {{}}\n    path: data/{name}-*\n" for name in ("train", "test")
    )
    (tmp_path / "README.md").write_text(declared.format("train", "validation") + "---\n")
    refused_read(tmp_path, "dataset.split_unknown", found=("test", "validation"))
    raw = read(tmp_path, Choice(parts={"train": "train", "test": "test"}), "")
    assert raw.parts["test"].images.where(0).startswith("test-0")
    (tmp_path / "README.md").write_text(declared.format("train", "test") + "---\n")
    assert list(read(tmp_path, Choice(), "").parts) == ["train", "test"]


def test_images_that_are_only_named(tmp_path):
    """The hub's library writes such a file where images are not embedded."""
    paths = ["shots/0.png", "shots/1.png"]
    image = pa.array([{"bytes": None, "path": path} for path in paths])
    write_labels(tmp_path, [0, 1], image=image)
    refused_read(tmp_path, "dataset.images_missing", found=2)
    (tmp_path / "shots").mkdir()
    for path in paths:
        (tmp_path / path).write_bytes(encoded(60))
    images = read(tmp_path, Choice(), "").parts["all"].images
    assert isinstance(images, FileImages)
    assert images.decode(1).size


def test_images_as_text(tmp_path):
    text = base64.b64encode(encoded(60) * 9).decode()
    write_labels(tmp_path, [0, 1], image=pa.array([text] * 2))
    with refused("dataset.images_missing") as error:
        read(tmp_path, Choice(), "hf:a/b")
    assert len(str(error.value)) < 400


def test_columns_that_are_not_used_are_named(tmp_path):
    columns = {
        "image": pa.array([encoded(60 + row) for row in range(4)]),
        "coarse": pa.array([0, 1, 0, 1]),
        "fine_label": pa.array([0, 1, 2, 1]),
        "split": pa.array(["train", "test"] * 2),
    }
    features = {"coarse": class_label("a", "b"), "fine_label": class_label(*NAMES)}
    write_table(tmp_path / "data.parquet", columns, features)
    notes = read(tmp_path, Choice(), "").notes
    assert ["coarse" in note for note in notes] == [True, False]
    assert "'split' ('test', 'train')" in notes[1]
    assert read(tmp_path, Choice(label="coarse"), "").notes == notes[1:]


@pytest.mark.parametrize(
    "parts", [{"train": "train", "test": "train"}, {"train": "train+test", "test": "test"},
              {"all": "train+train"}, {"train": "training", "test": "train"}],
)  # fmt: skip
def test_a_split_is_asked_for_once(parts):
    """Else the model is tested on what it was fitted on."""
    with refused("dataset.split_twice"):
        parts_of(["train.parquet", "test.parquet"], Choice(parts=parts), "hf:a/b")


@pytest.mark.parametrize("labels", [["0", "1"], [[0], [1]]])
def test_labels_are_of_one_kind(tmp_path, labels):
    write_labels(tmp_path, [0, 1])
    write_labels(tmp_path, labels, file="test.parquet")
    refused_read(tmp_path, "dataset.labels_mixed")


def test_a_configuration_is_chosen(tmp_path):
    for config, names in (("fine", NAMES), ("coarse", NAMES[:2])):
        write_images(tmp_path / config / "train-00000-of-00001.parquet", [0, 1], names)
    for choice in ({}, {"config": "fein"}):
        found = ("coarse", "fine")
        refused_read(tmp_path, "dataset.config_unknown", found=found, **choice)
    assert read(tmp_path, Choice(config="coarse"), "").classes == NAMES[:2]


def test_what_is_not_whole_is_refused(pets):
    (pets / "data/train-00000-of-00002.parquet").unlink()
    refused_read(pets, "dataset.incomplete", found=0)
    with refused("dataset.incomplete", found="default/partial-train/0000.parquet"):
        parts_of(["default/partial-train/0000.parquet"], Choice(), "hf:a/b")
    refused_read(pets / "none", "dataset.missing")


def test_columns_are_found_or_asked_for(tmp_path):
    both = {"fine": pa.array([1, 0]), "animal": pa.array(["owl", "ant"])}
    write_images(tmp_path / "train.parquet", [0, 1], NAMES, image="photo", label="kind", **both)
    # The only images, and the only column of classes, whatever they are called.
    assert read(tmp_path, Choice(), "").classes == NAMES
    assert read(tmp_path, Choice(label="animal"), "").classes == ("ant", "owl")
    for use in ("label", "image", "group"):
        refused_read(tmp_path, "dataset.column_unknown", found="other", **{use: "other"})
    refused_read(tmp_path, "dataset.cell_type", found="int64", image="fine")


def test_columns_that_cannot_be_told(tmp_path):
    images = pa.array([encoded(60)])
    two = {"left": images, "right": images, "kind": pa.array([0])}
    features = {name: {"_type": "Image"} for name in ("left", "right")}
    write_table(tmp_path / "train.parquet", two, features)
    for choice, use in (({}, "image"), ({"image": "left"}, "label")):
        with refused("dataset.column_missing", found=("left", "right", "kind"), use=use):
            read(tmp_path, Choice(**choice), "hf:a/b")
    assert read(tmp_path, Choice(image="left", label="kind"), "").classes == ("0",)


def test_labels_without_names(tmp_path):
    coarse = {"coarse_label": pa.array([0, 0])}
    for part, labels in (("train", [7, 3]), ("test", [3, 10])):
        write_images(tmp_path / f"{part}.parquet", labels, label="fine_label", **coarse)
    raw = read(tmp_path, Choice(), "")
    # In the order of numbers, not of text; and the fine ones.
    assert raw.classes == ("3", "7", "10")
    assert raw.parts["train"].labels.tolist() == [1, 0]
    assert raw.parts["test"].labels.tolist() == [0, 2]


@pytest.mark.parametrize("dictionary", [False, True])
def test_labels_that_are_text(tmp_path, dictionary):
    values = pa.array(["owl", "ant", "owl"])
    write_labels(tmp_path, values.dictionary_encode() if dictionary else values)
    raw = read(tmp_path, Choice(), "")
    assert raw.classes == ("ant", "owl")
    assert raw.parts["all"].labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize("kind", ["names", "old names", "numbers", "text"])
def test_several_labels_an_image(tmp_path, kind):
    values = [["b", "c"], [], ["c"]] if kind == "text" else [[1, 2], [], [2]]
    inner = class_label("a", "b", "c")
    feature = {
        "names": {"feature": inner, "_type": "List"},
        "old names": [inner],
        "numbers": {"feature": {"dtype": "int64", "_type": "Value"}, "_type": "List"},
        "text": {"feature": {"dtype": "string", "_type": "Value"}, "_type": "List"},
    }[kind]
    file = write_labels(tmp_path, values, feature, column="labels")
    raw = read(tmp_path, Choice(), "")
    expected = np.array([[-1, 1, 1], [-1, -1, -1], [-1, -1, 1]])
    if "names" in kind:
        assert raw.classes == ("a", "b", "c")
    else:
        # Of a class without an image nothing is known.
        assert raw.classes == (("b", "c") if kind == "text" else ("1", "2"))
        expected = expected[:, 1:]
    np.testing.assert_array_equal(raw.parts["all"].labels, expected)
    assert raw.parts["all"].labels.dtype == np.int64
    assert has_several_classes(file, Choice(), "")


@pytest.mark.parametrize(("labels", "names", "code", "found"), [
    ([0, -1], NAMES, "class_unknown", -1), ([0, 3], NAMES, "class_unknown", 3),
    ([0, None], NAMES, "cell_empty", 1), ([0.5, 1.0], None, "cell_type", "float"),
    (["a", "", "b"], None, "cell_empty", None), (["1", "1.0", "2"], None, "labels_alike", None),
    ([["a", ""], ["b"], ["a"]], None, "cell_empty", None),
    # One number per class, and no labels: which would be the classes 0 and 1 of each image.
    ([[0, 1, 0], [1, 0, 0], [0, 0, 1]], None, "labels_flags", 0),
    ([[0, 1, 0], [1, 0, 0], [0, 0, 1]], NAMES, "labels_flags", 0),
    ([[False, True], [True, True]], None, "labels_flags", 1),
    ([-1, -1], None, "labels_secret", "all"),
])  # fmt: skip
def test_labels_that_are_none(tmp_path, labels, names, code, found):
    write_labels(tmp_path, labels, class_label(*names) if names else None)
    refused_read(tmp_path, f"dataset.{code}", found=found)


def test_files_of_different_datasets_are_not_joined(pets):
    last = pets / "data/test-00000-of-00001.parquet"
    write_images(last, [0, 1], ("dog", "cat", "emu"))
    refused_read(pets, "dataset.classes_differ")
    write_table(last, {"image": pa.array([encoded(60)])}, {"label": class_label(*NAMES)})
    refused_read(pets, "dataset.column_unknown", found="label")


def test_groups_are_numbered_and_in_one_part_each(tmp_path):
    def write(part, *patients):
        labels = [row % 2 for row in range(len(patients))]
        file = tmp_path / f"{part}.parquet"
        write_images(file, labels, NAMES[:2], patient=pa.array(patients))

    write("train", "p9", "p1", "p9")
    write("test", "p0", "p5", "p5")
    parts = read(tmp_path, Choice(group="patient"), "").parts
    assert {part: split.groups.tolist() for part, split in parts.items()} == {
        "train": [3, 1, 3],
        "test": [0, 2, 2],
    }
    write("test", "p1", "p5")
    with refused("dataset.group_split", group="p1", parts=("train", "test")):
        read(tmp_path, Choice(group="patient"), "hf:a/b")
    write("test", "p1", None)
    refused_read(tmp_path, "dataset.cell_empty", found=1, group="patient")


def test_paths_of_files_count_from_the_parquet_file(tmp_path):
    write_folder(tmp_path / "shots", {"train": {"a": 2}})
    columns = {"file_name": ["../shots/train/a/1.png", "../shots/train/a/0.png"],
               "label": ["x", "y"]}  # fmt: skip
    write_table(tmp_path / "tables" / "train.parquet", columns)
    images = read(tmp_path / "tables", Choice(), "").parts["all"].images
    assert isinstance(images, FileImages)
    assert images.paths[1].resolve() == (tmp_path / "shots/train/a/0.png").resolve()
    images.decode(0)
    columns["file_name"] = ["a.png", None]
    write_table(tmp_path / "tables" / "train.parquet", columns)
    refused_read(tmp_path / "tables", "dataset.cell_empty", found=1)


# The copies of the study's datasets, in small.

EACH = {
    "food101": {"train": 4, "validation": 2},
    "cifar10": {"train": 4, "test": 2},
    "cifar100": {"train": 4, "test": 2},
    "sun397": {"train": 4, "test": 2},
    "stanford_cars": {"train": 4, "test": 2},
    "fgvc_aircraft": {"train": 2, "validation": 2, "test": 2},
    "dtd": {"train": 4, "test": 2},
    "oxford_pets": {"train": 4, "test": 2},
    "caltech101": {"train": 3, "test": 2},
    "flowers102": {"train": 2, "validation": 2, "test": 3},
}


def write_copy(folder, key, each):
    """Write a copy of three classes with so many images of each class a split."""
    copy = facts_of(key).hub
    for seed, (split, n) in enumerate(each.items()):
        file = folder / f"data/{split}-00000-of-00001.parquet"
        labels = list(itertools.chain(*[range(3)] * n))
        write_images(file, labels, NAMES, image=copy.image, label=copy.label, seed=seed)
    return folder


def small_facts(key):
    """Give the published facts in the sizes of the small copy."""
    facts = facts_of(key)
    n_train, n_validation, n_test = {"caltech101": (2, 1, 2), "dtd": (2, 2, 2)}.get(key, (3, 1, 2))
    if key in ("fgvc_aircraft", "flowers102"):
        n_train, n_validation, n_test = 2, 2, EACH[key]["test"]
    sizes = Sizes(train=3 * n_train, validation=3 * n_validation, test=3 * n_test)
    return facts.model_copy(update={"n_classes": 3, "sizes": sizes, "per_class": {}})


def test_every_copy_in_the_catalogue_is_tried_here():
    assert {key for key, facts in published_facts().items() if facts.hub} == set(EACH)


@pytest.mark.parametrize("key", [key for key in EACH if key != "dtd"])
def test_a_copy_becomes_the_published_splits(key, tmp_path):
    facts = small_facts(key)
    raw = read_hub_copy(facts, write_copy(tmp_path, key, EACH[key]))
    assert raw.classes == NAMES
    if key == "food101":  # its test part is named validation
        assert raw.parts["test"].images.where(0).startswith("validation-00000-of-00001.parquet")
    assert set(raw.parts) == set(facts.parts)
    check_published(facts, protocol_splits(facts, raw))


def test_caltech101_is_joined_and_drawn_anew(tmp_path):
    raw = read_hub_copy(facts_of("caltech101"), write_copy(tmp_path, "caltech101", EACH["dtd"]))
    whole = raw.parts["all"]
    assert len(whole) == 18
    assert whole.images.where(11).startswith("train-")
    assert whole.images.where(12).startswith("test-")


def test_dtds_copy_has_no_validation_images_of_its_creators(tmp_path):
    raw = read_hub_copy(facts_of("dtd"), write_copy(tmp_path, "dtd", EACH["dtd"]))
    assert {part: len(split) for part, split in raw.parts.items()} == {
        "train+validation": 12,
        "test": 6,
    }
    with refused(
        "dataset.manifest",
        what="parts",
        expected="train, validation, test",
        found="train+validation, test",
    ):
        protocol_splits(facts_of("dtd"), raw)


@pytest.mark.parametrize(("key", "each", "refusal"), [
    # 7,169/1,020 in place of 1,020/1,020/6,149: most of the test images are trained on.
    ("flowers102", {"train": 5, "validation": 2},
     {"code": "dataset.split_unknown", "found": ("train", "validation")}),
    ("flowers102", {"train": 5, "validation": 1, "test": 1},
     {"code": "dataset.manifest", "what": "number of train images", "expected": 6, "found": 15}),
    # 76k/22k in place of 19,850/19,850: all images, split anew.
    ("sun397", {"train": 7, "test": 2},
     {"code": "dataset.manifest", "what": "number of train images", "expected": 9, "found": 18}),
    ("sun397", {"train": 4, "test": 1},
     {"code": "dataset.manifest", "what": "number of test images", "expected": 6, "found": 3}),
])  # fmt: skip
def test_mirrors_with_other_splits_are_refused(key, each, refusal, tmp_path):
    write_copy(tmp_path, key, each)
    facts = small_facts(key)
    with refused(**refusal):
        check_published(facts, protocol_splits(facts, read_hub_copy(facts, tmp_path)))
    with refused("dataset.missing"):  # there is no copy of it
        read_hub_copy(facts_of("birdsnap"), tmp_path)


def test_mirrors_that_count_classes_from_1_or_lack_some(tmp_path):
    facts = small_facts("flowers102")
    for split, n in EACH["flowers102"].items():
        file = tmp_path / f"data/{split}-00000-of-00001.parquet"
        write_images(file, [1, 2, 2] * n, ("unused", *NAMES))
    splits = protocol_splits(facts, read_hub_copy(facts, tmp_path))
    with refused("dataset.manifest", what="number of classes", expected=3, found=2):
        check_published(facts, splits)


# What torchvision publishes of the creators' archives.


@pytest.mark.parametrize(
    "facts",
    [f for f in published_facts().values() if f.archives or f.files],
    ids=lambda facts: facts.key,
)
def test_checksums_of_archives_are_torchvisions(facts):
    module = {
        "cifar10": "cifar", "cifar100": "cifar", "voc2007": "voc", "caltech101": "caltech",
        "oxford_pets": "oxford_iiit_pet",
    }.get(facts.key, facts.key)  # fmt: skip
    (place,) = [
        file.locate()
        for file in installed_files("torchvision")
        if str(file) == f"torchvision/datasets/{module}.py"
    ]
    source = place.read_text()
    for path, md5 in {**facts.archives, **facts.files}.items():
        name = PurePosixPath(path).name
        if facts.key in ("cifar10", "cifar100") and path in facts.files:
            continue
        # The first checksum after an archive's name is its own.
        assert re.search(r"\b[0-9a-f]{32}\b", source[source.index(name) :])[0] == md5, name


@pytest.mark.parametrize("name", ["CIFAR10", "CIFAR100"])
def test_checksums_of_batches_are_torchvisions(name):
    from torchvision import datasets

    theirs = getattr(datasets, name)
    files = dict([*theirs.train_list, *theirs.test_list])
    files[theirs.meta["filename"]] = theirs.meta["md5"]
    expected = {f"{theirs.base_folder}/{file}": md5 for file, md5 in files.items()}
    assert facts_of(name.lower()).files == expected


def test_classes_of_torchvision_are_there():
    from torchvision import datasets

    for facts in published_facts().values():
        assert not facts.torchvision or hasattr(datasets, facts.torchvision)
    dead = {key for key, facts in published_facts().items() if not facts.torchvision}
    assert dead == {"stanford_cars", "sun397", "birdsnap"}


def test_files_of_no_configuration_beside_others_are_the_default_one():
    names = ["data/train-00000-of-00001.parquet", "full/train-00000-of-00001.parquet"]
    with refused("dataset.config_unknown") as error:
        parts_of(names, Choice(), "own")
    assert sorted(error.value.values["found"]) == ["default", "full"]
    for config, file in (("default", names[0]), ("full", names[1])):
        assert parts_of(names, Choice(config=config), "own").files == {"all": [file]}
    assert parts_of(names[:1], Choice(), "own").files == {"all": [names[0]]}
