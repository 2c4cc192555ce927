"""What public copies and tools get wrong is caught: each known trap, and what it says."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headstart.datasets import ArrayImages, FileImages, Split
from headstart.datasets.archives import READERS, RawDataset, check_published, protocol_splits
from headstart.datasets.file_index import FileIndex
from headstart.datasets.manifest import make_manifest
from headstart.labels import kind_of
from refusals import refused


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
