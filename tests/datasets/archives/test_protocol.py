"""The study's splits: official where there are any, drawn from the seed elsewhere."""

import numpy as np
import pytest

from headstart.datasets import ArrayImages, Split
from headstart.datasets.archives import (
    READERS,
    RawDataset,
    check_published,
    facts_of,
    protocol_splits,
    published_facts,
)
from refusals import refused

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


@pytest.mark.parametrize("key", READERS)
def test_every_archive_is_split_as_published(key, write, small):
    facts, raw = small(key), READERS[key](write(key))
    splits = protocol_splits(facts, raw)
    assert list(splits) == ["train", "validation", "test"]
    check_published(facts, splits)
    again = protocol_splits(facts, raw)
    for name, split in splits.items():
        np.testing.assert_array_equal(split.rows, again[name].rows)


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
