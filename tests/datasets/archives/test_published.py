"""What is published of the twelve: facts, the splits of the study, and what copies get wrong."""

import csv
import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from headstart.datasets import ArrayImages, FileImages, Split
from headstart.datasets.archives import (
    READERS,
    RawDataset,
    check_published,
    facts_of,
    protocol_splits,
    published_facts,
)
from headstart.datasets.file_index import FileIndex
from headstart.datasets.manifest import make_manifest
from headstart.labels import kind_of
from headstart.spec import plain_name
from refusals import refused


def test_sizes_are_those_of_the_papers_table_1():
    text = files("headstart.analysis").joinpath("published", "datasets.csv").read_text()
    printed = {}
    for row in csv.DictReader(text.splitlines()):
        printed[plain_name(row["dataset"])] = (int(row["n_train"]), int(row["n_test"]))
    for facts in published_facts().values():
        sizes = facts.sizes
        (name,) = printed.keys() & {plain_name(n) for n in (facts.key, facts.title, *facts.aliases)}
        assert (sizes.train + sizes.validation, sizes.test) == printed[name], facts.key


def test_classes_and_validation_sizes_are_those_published():
    # Kornblith et al. (2019), Table 1 (CIFAR-100 as it is, not as misprinted), in its order; and
    # Grill et al. (BYOL, 2020), Table 10.
    assert {f.key: (f.n_classes, f.sizes.validation) for f in published_facts().values()} == {
        "food101": (101, 7575), "cifar10": (10, 5000), "cifar100": (100, 5067),
        "birdsnap": (500, 4981), "sun397": (397, 3970), "stanford_cars": (196, 1650),
        "fgvc_aircraft": (100, 3333), "voc2007": (20, 2510), "dtd": (47, 1880),
        "oxford_pets": (37, 740), "caltech101": (102, 510), "flowers102": (102, 1020),
    }  # fmt: skip


def test_metrics_are_the_papers():
    metrics = {f.key: f.metric for f in published_facts().values()}
    per_class = {"fgvc_aircraft", "oxford_pets", "caltech101", "flowers102"}
    assert {key for key, metric in metrics.items() if metric == "mean-per-class"} == per_class
    assert {key for key, metric in metrics.items() if metric == "voc-map-11point"} == {"voc2007"}
    assert [facts.key for facts in published_facts().values() if facts.multilabel] == ["voc2007"]


@pytest.mark.parametrize("facts", published_facts().values(), ids=published_facts())
def test_what_holds_for_every_class_adds_up(facts):
    sizes = dict(facts.sizes)
    for names, count in facts.per_class.items():
        assert sum(sizes[name] for name in names.split("+")) == count * facts.n_classes
    assert facts.layout
    assert facts.sources
    assert facts.split_rule


def test_an_unknown_key_tells_the_nearest():
    with refused("name.unknown", kind="dataset", name="sun", near=["sun397"]):
        facts_of("sun")


SAMPLED = [key for key, facts in published_facts().items() if facts.parts == ("train", "test")]
OFFICIAL = [key for key, facts in published_facts().items() if "validation" in facts.parts]


def archive_of(classes, **labels) -> RawDataset:
    """Make an archive of blank images with these labels."""
    parts = {}
    for name, values in labels.items():
        values = np.asarray(values, dtype=np.int64)
        blank = np.broadcast_to(np.zeros(1, np.uint8), (len(values), 1, 1))
        parts[name] = Split(ArrayImages(blank), values, np.arange(len(values)))
    return RawDataset(tuple(map(str, range(classes))), parts)


def test_which_datasets_have_a_validation_set_of_their_own():
    # PROTOCOL: Aircraft, VOC, DTD, Flowers.
    assert OFFICIAL == ["fgvc_aircraft", "voc2007", "dtd", "flowers102"]
    assert set(published_facts()) == {*SAMPLED, *OFFICIAL, "caltech101"}


@pytest.mark.parametrize("key", OFFICIAL)
def test_official_parts_are_kept_whatever_the_seed(key, write, small):
    raw = READERS[key](write(key))
    assert protocol_splits(small(key), raw, seed=3) == raw.parts


@pytest.mark.parametrize("key", SAMPLED)
def test_validation_is_drawn_from_train_by_the_seed(key, write, small):
    facts, raw = small(key), READERS[key](write(key))
    splits = protocol_splits(facts, raw)
    assert splits["test"] is raw.parts["test"]
    both = np.concatenate([splits["train"].rows, splits["validation"].rows])
    np.testing.assert_array_equal(np.sort(both), np.arange(len(raw.parts["train"])))
    for name in ("train", "validation"):
        rows = splits[name].rows
        np.testing.assert_array_equal(splits[name].labels, raw.parts["train"].labels[rows])
    drawn = {tuple(protocol_splits(facts, raw, s)["validation"].rows) for s in range(8)}
    assert len(drawn) > 1


@pytest.mark.parametrize("key", ["food101", "cifar10", "cifar100", "sun397"])
def test_the_published_sizes_come_out_of_balanced_classes(key):
    facts = facts_of(key)
    n_train = facts.sizes.train + facts.sizes.validation
    labels = np.arange(n_train) % facts.n_classes
    test = np.arange(facts.sizes.test) % facts.n_classes
    splits = protocol_splits(facts, archive_of(facts.n_classes, train=labels, test=test))
    check_published(facts, splits)
    counts = np.bincount(splits["validation"].labels)
    assert counts.max() - counts.min() <= 1


def test_the_published_size_comes_out_of_uneven_classes():
    facts = facts_of("oxford_pets")
    # Pets' classes have 93 to 100 training images.
    labels = np.repeat(np.arange(37), [100] * 36 + [80])
    splits = protocol_splits(facts, archive_of(37, train=labels, test=np.arange(3669) % 37), seed=5)
    check_published(facts, splits)
    assert np.bincount(splits["validation"].labels)[-1] == 16


def caltech(each) -> RawDataset:
    return archive_of(102, all=np.repeat(np.arange(102), each))


def test_caltech101_draws_25_and_5_of_every_class():
    # 9,144 images in 102 classes, the smallest of 31.
    each = [31] * 60 + [172] * 41 + [232]
    facts, raw = facts_of("caltech101"), caltech(each)
    splits = protocol_splits(facts, raw)
    check_published(facts, splits)
    assert np.bincount(splits["train"].labels).tolist() == [25] * 102
    assert np.bincount(splits["validation"].labels).tolist() == [5] * 102
    together = np.concatenate([split.rows for split in splits.values()])
    np.testing.assert_array_equal(np.sort(together), np.arange(9144))
    for split in splits.values():
        np.testing.assert_array_equal(split.labels, raw.parts["all"].labels[split.rows])
    other = protocol_splits(facts, raw, seed=1)
    assert set(other["test"].rows) != set(splits["test"].rows)


def test_a_class_too_small_to_draw_from():
    what = "number of images of class '7'"
    with refused("dataset.manifest", what=what, expected="more than 30", found=30):
        protocol_splits(facts_of("caltech101"), caltech([90] * 7 + [30] + [90] * 94))


@pytest.mark.parametrize("key", READERS)
def test_other_parts_than_the_creators(key):
    raw = archive_of(2, train=[0, 1], validation=[0, 1], extra=[0])
    with refused("dataset.manifest", what="parts", found="train, validation, extra"):
        protocol_splits(facts_of(key), raw)


def test_a_training_part_too_small_for_validation():
    raw = archive_of(37, train=np.arange(700) % 37, test=np.arange(70) % 37)
    with refused("dataset.manifest", expected=3680, found=700):
        protocol_splits(facts_of("oxford_pets"), raw)


@pytest.fixture
def splits_of(write, small):
    def splits(key: str) -> dict[str, Split]:
        return protocol_splits(small(key), READERS[key](write(key)))

    return splits


def relabelled(change):
    """Change the labels of every split."""
    return lambda splits: {
        name: replace(split, labels=change(split.labels)) for name, split in splits.items()
    }


def in_train(choose):
    """Take other images for training: by their places, from labels."""
    return lambda splits: {
        **splits, "train": splits["train"].take(np.asarray(choose(splits["train"].labels)))
    }  # fmt: skip


def joined(*splits: Split) -> Split:
    """Put splits of the same files behind one another."""
    paths = [Path(split.images.where(row)) for split in splits for row in range(len(split))]
    labels = np.concatenate([split.labels for split in splits])
    return Split(FileImages(paths), labels, np.arange(len(labels)))


def first_files(splits):
    """Give the first two of the five files of a class to train, and so on."""
    whole = joined(*splits.values())
    order = np.argsort([whole.images.where(row) for row in range(20)])
    whole = replace(whole.take(order), rows=np.arange(20))
    places = np.split(np.arange(20).reshape(4, 5), [2, 3], axis=1)
    return {name: whole.take(rows.ravel()) for name, rows in zip(splits, places, strict=True)}


def unequal(splits):
    """Put one image of another class into train, and one back: the sizes stay."""
    train, test = splits["train"], splits["test"]
    here, there = int(np.argmax(train.labels == 0)), int(np.argmax(test.labels == 1))
    whole, order = joined(train, test), np.arange(len(train) + len(test))
    order[[here, len(train) + there]] = order[[len(train) + there, here]]
    cut = len(train)
    return {**splits, "train": whole.take(order[:cut]), "test": whole.take(order[cut:])}


def leaking(splits):
    """As many of each class to train on as there should be, but one of them validates."""
    train, validation = splits["train"], splits["validation"]
    kept = np.delete(np.arange(len(train)), np.argmax(train.labels == validation.labels[0]))
    if isinstance(train.images, FileImages):
        return {**splits, "train": joined(train.take(kept), validation.take(np.array([0])))}
    # Arrays: the images of both come from the same part.
    places = np.append(train.rows[kept], validation.rows[0])
    labels = np.append(train.labels[kept], validation.labels[0])
    images = ArrayImages(train.images._pixels).take(places)
    return {**splits, "train": Split(images, labels, places)}


def absent(labels):
    labels = labels.copy()
    labels[:, 3] = -1
    return labels


TRAINED = "number of classes with training images"
TRAPS = [
    # /c/church/indoor and /s/swimming_pool/indoor both become `indoor`.
    ("sun397", relabelled(lambda labels: np.minimum(labels, 1)), "number of classes", 3, 2),
    ("voc2007", relabelled(lambda labels: labels[:, :19]), "number of classes", 20, 19),
    ("voc2007", relabelled(absent), TRAINED, 20, 19),
    ("dtd", in_train(lambda labels: np.flatnonzero(labels < 2)), TRAINED, 3, 2),
    ("food101", in_train(lambda labels: kind_of("top-1").subset(labels, 6, seed=0)),
     "number of train images", 9, 6),
    ("flowers102", lambda splits: {**splits, "train": splits["test"], "test": splits["train"]},
     "number of train images", 6, 9),
    ("caltech101", unequal, "number of train images of the class with label 0", 2, 1),
    ("caltech101", first_files, "images of train and validation", None,
     "the first files of every class"),
    ("caltech101", in_train(lambda _: [0, 0, 2, 3, 4, 5, 6, 7]), "image .*image_0.*jpg", None,
     "it in train and train"),
    ("food101", leaking, "image .*", None, "it in train and validation"),
    ("cifar10", leaking, "image .*", None, "it in train and validation"),
    ("dtd", lambda splits: {**splits, "test": splits["train"]}, "image .*", None,
     "it in train and test"),
    ("flowers102", relabelled(lambda labels: labels + 1), "labels", "0 to 2", "1 to 3"),
    # One class an image: each crop shows one object.
    ("voc2007", relabelled(lambda labels: labels.argmax(axis=1)), "train labels", None,
     "one class per image"),
    ("dtd", relabelled(lambda labels: 2 * np.eye(3, dtype=int)[labels] - 1), "train labels", None,
     "several classes per image"),
    ("voc2007", relabelled(lambda labels: labels + 1), "train labels", "1, 0 or -1", 2),
]  # fmt: skip


@pytest.mark.parametrize(("key", "change", "what", "expected", "found"), TRAPS)
def test_what_is_not_as_published_is_found(key, change, what, expected, found, splits_of, small):
    values = {"found": found} if expected is None else {"found": found, "expected": expected}
    with refused("dataset.manifest", **values) as error:
        check_published(small(key), change(splits_of(key)))
    assert re.fullmatch(what, error.value.values["what"])


def test_oxford_pets_split_again_in_the_published_sizes(write, small):
    """No count tells this: what does is the digest, by which two people compare their copies."""
    raw = READERS["oxford_pets"](write("oxford_pets"))
    whole = joined(raw.parts["train"], raw.parts["test"])
    order = np.argsort(whole.labels, kind="stable")
    test = order.reshape(3, 6)[:, :2].ravel()
    parts = {"train": whole.take(np.setdiff1d(order, test)), "test": whole.take(test)}
    facts, revisions = small("oxford_pets"), set()
    for copy in (raw, RawDataset(raw.classes, parts)):
        splits = protocol_splits(facts, copy)
        check_published(facts, splits)
        made = make_manifest(copy.classes, splits, kind_of(facts.metric), FileIndex(None))
        revisions.add(made.revision)
    assert len(revisions) == 2


def test_flowers102_of_two_parts(write, small):
    # A mirror has 7,169 images to train on (train and test together) and 1,020 to validate on.
    raw = READERS["flowers102"](write("flowers102"))
    parts = {"train": joined(raw.parts["train"], raw.parts["test"])}
    parts["validation"] = raw.parts["validation"]
    with refused("dataset.manifest", what="parts", found="train, validation"):
        protocol_splits(small("flowers102"), RawDataset(raw.classes, parts))
