import typing

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from headstart.datasets import SealedTest
from headstart.datasets.splits import RawDataset, draw_splits, hold_out_groups
from headstart.errors import DatasetError
from headstart.labels import kind_of
from headstart.spec import Selection
from own_datasets import split_of
from refusals import invalid, refused

CHOSEN = {"lambda": 1.0}
SELECTION = Selection(examples="r", chosen=CHOSEN, validation_curve=(CHOSEN,))


def sealed() -> SealedTest:
    return SealedTest(split_of(labels=[0, 1, 2]), revision="r")


def test_test_labels_are_given_once_and_for_a_selection():
    test = sealed()
    for other in (None, SELECTION.model_copy(update={"examples": "other"})):
        with refused("test.sealed"):
            test.open(other)
    np.testing.assert_array_equal(test.open(SELECTION), [0, 1, 2])
    with refused("test.sealed"):
        test.open(SELECTION)


def test_a_selection_has_a_curve_that_it_was_made_from():
    with invalid("too_short", "validation_curve"):
        Selection(examples="r", chosen=CHOSEN, validation_curve=())


def test_the_door_opens_for_a_selection_alone():
    """mypy refuses what else would reach the labels; this holds what it refuses by."""
    assert not hasattr(sealed(), "labels")
    hints = typing.get_type_hints(SealedTest.open)
    assert [kind for name, kind in hints.items() if name != "return"] == [Selection]


SINGLE_LABEL, MULTI_LABEL = kind_of("top-1"), kind_of("voc-map-11point")


def archive(groups=None, **labels):
    groups = groups or {}
    parts = {
        name: split_of(labels=values, groups=groups.get(name)) for name, values in labels.items()
    }
    n_classes = 1 + max(int(np.max(values)) for values in labels.values())
    return RawDataset(tuple(f"c{i}" for i in range(n_classes)), parts)


def rows(splits):
    return {name: part.rows.tolist() for name, part in splits.items()}


FOUR = np.repeat(np.arange(4), [50, 30, 15, 5])


def test_three_parts_are_taken_as_they_are():
    given_ = archive(test=[0, 1], train=[0, 1, 1], validation=[1, 0])
    splits, rule = draw_splits(given_, 0)
    assert rule == "as given"
    assert list(splits) == ["train", "validation", "test"]
    assert all(splits[name] is part for name, part in given_.parts.items())


def test_validation_is_drawn_from_train():
    given_ = archive(train=FOUR, test=[0, 1, 2, 3])
    splits, rule = draw_splits(given_, 3)
    assert rule == "test as given; 20 % of train drawn for validation, stratified, seed 3"
    assert splits["test"] is given_.parts["test"]
    assert np.bincount(splits["validation"].labels).tolist() == [10, 6, 3, 1]
    assert sorted(rows(splits)["train"] + rows(splits)["validation"]) == list(range(100))


def test_what_was_chosen_on_is_no_test_set_unless_there_is_none():
    given_ = archive(train=FOUR, validation=[0, 1, 2, 3])
    splits, rule = draw_splits(given_, 0)
    assert rule == (
        "what is named validation is the test set, as none is named test; 20 % of train drawn for "
        "validation, stratified, seed 0"
    )
    assert splits["test"] is given_.parts["validation"]
    assert (len(splits["train"]), len(splits["validation"])) == (80, 20)
    # It does not matter what the test set is called.
    other, _ = draw_splits(archive(train=FOUR, test=[0, 1, 2, 3]), 0)
    assert rows(other) == rows(splits)


def test_everything_is_drawn():
    splits, rule = draw_splits(archive(all=FOUR), 0)
    assert rule == "drawn: 60 % train, 20 % validation, 20 % test, stratified, seed 0"
    counts = {name: np.bincount(part.labels).tolist() for name, part in splits.items()}
    assert counts == {
        "train": [30, 18, 9, 3], "validation": [10, 6, 3, 1], "test": [10, 6, 3, 1],
    }  # fmt: skip


def test_several_labels_an_image():
    random = np.random.RandomState(0)
    labels = np.where(random.rand(200, 3) < [0.5, 0.2, 0.05], 1, -1)
    splits, rule = draw_splits(archive(all=labels), 0, kind=MULTI_LABEL)
    assert rule == "drawn: 60 % train, 20 % validation, 20 % test, stratified, seed 0"
    total = (labels == 1).sum(axis=0)
    for name, share in (("train", 0.6), ("validation", 0.2), ("test", 0.2)):
        counts = (splits[name].labels == 1).sum(axis=0)
        assert np.abs(counts - share * total).max() <= 2
    groups = {"all": random.randint(0, 40, 200)}
    splits, _ = draw_splits(archive(groups, all=labels), 0)
    held = (splits["test"].labels == 1).sum(axis=0) / total
    assert np.abs(held - 0.2).max() < 0.1
    assert_whole(splits, groups["all"])


def test_groups_stay_together_in_train_alone_too():
    groups = {"train": np.repeat(np.arange(20), 5), "test": [99, 99]}
    splits, rule = draw_splits(archive(groups, train=np.tile([0, 1], 50), test=[0, 1]), 0)
    assert rule.endswith(
        "20 % of train drawn for validation, stratified, seed 0, groups kept together"
    )
    assert_whole({name: splits[name] for name in ("train", "validation")}, groups["train"])
    assert len(splits["validation"]) == 20


def test_a_class_of_one_image_or_one_group_is_trained_on():
    splits, rule = draw_splits(archive(all=[0] * 10 + [1] * 10 + [2]), 0)
    assert 20 in rows(splits)["train"]
    assert rule.endswith("seed 0")
    labels = np.array([0, 1] * 20 + [2] * 4)
    groups = np.array([*np.repeat(np.arange(10), 4), 50, 50, 50, 50])
    for seed in range(20):
        splits, rule = draw_splits(archive({"all": groups}, all=labels), seed)
        assert set(rows(splits)["train"]) >= {40, 41, 42, 43}
        assert rule.endswith("groups kept together")


def test_a_large_group_is_held_out_only_where_there_is_no_other():
    labels = np.tile([0, 1], 50)
    groups = np.where(np.arange(100) < 60, 0, np.arange(100) // 10)
    for seed in range(20):
        splits, _ = draw_splits(archive({"all": groups}, all=labels), seed)
        assert (len(splits["test"]), len(splits["validation"])) in ((20, 20), (20, 10))
        assert set(rows(splits)["train"]) >= set(range(60))
    kept, held = hold_out_groups(np.array([0, 1] * 4), np.repeat([3, 9], 4), 0.2, 0)
    assert (len(kept), len(held)) == (4, 4)


def test_groups_of_fewer_images_than_labels():
    labels = np.full((4, 6), -1)
    labels[:, 5] = 1
    kept, held = hold_out_groups(labels, np.arange(4), 0.25, 0)
    assert (len(kept), len(held)) == (3, 1)


SIX = [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(("given_", "code", "values"), [
    (archive(all=[0, 1]), "split_impossible", {"split": "test"}),
    (archive(all=[0, 0, 1]), "split_impossible", {"split": "validation"}),
    (RawDataset(("a", "b"), {"all": split_of(labels=[])}), "split_empty", {"split": "test"}),
    # Classes that each belong to one group alone.
    (archive({"all": [5, 5, 6, 6, 7, 7]}, all=SIX), "split_impossible", {"split": "test"}),
    (archive({"train": [1] * 6, "test": [2]}, train=SIX, test=[0]), "split_impossible",
     {"split": "validation"}),
    *((archive(**{part: [0, 1] for part in parts}), "split_missing", {})
      for parts in (["test"], ["train"], ["validation", "test"], ["all", "test"])),
])  # fmt: skip
def test_what_no_splits_can_be_drawn_from(given_, code, values):
    with refused(f"dataset.{code}", **values):
        draw_splits(given_, 0)


def assert_whole(splits, groups):
    sides = [set(groups[part.rows].tolist()) for part in splits.values()]
    assert sum(map(len, sides)) == len(set().union(*sides))


def drawn_or_not(given_, seed, kind=SINGLE_LABEL):
    """Draw; an example that cannot be drawn from says nothing."""
    try:
        return draw_splits(given_, seed, kind=kind)[0]
    except DatasetError as error:
        assume(error.code != "dataset.split_impossible")
        raise


SINGLE = st.lists(st.integers(0, 4), min_size=1, max_size=60)
SEVERAL = st.lists(st.lists(st.sampled_from([-1, 0, 1]), min_size=3, max_size=3), min_size=20)
SEEDS = st.integers(0, 2**31)


@given(st.one_of(SINGLE, SEVERAL), SEEDS, st.booleans())
def test_splits_are_a_partition_and_follow_the_seed(labels, seed, whole):
    given_ = archive(**({"all": labels} if whole else {"train": labels, "test": labels}))
    kind = MULTI_LABEL if isinstance(labels[0], list) else SINGLE_LABEL
    splits = drawn_or_not(given_, seed, kind)
    drawn = rows(splits)
    if not whole:
        assert drawn.pop("test") == list(range(len(labels)))
    assert sorted(row for part in drawn.values() for row in part) == list(range(len(labels)))
    assert all(part == sorted(part) for part in drawn.values())
    for part in splits.values():
        np.testing.assert_array_equal(part.labels, np.asarray(labels)[part.rows])
    assert rows(draw_splits(given_, seed, kind=kind)[0]) == rows(splits)


@given(
    st.one_of(SINGLE, SEVERAL),
    st.lists(st.integers(0, 9), min_size=60, max_size=60),
    SEEDS,
)
def test_groups_are_whole_and_train_has_every_class(labels, groups, seed):
    labels = labels[:60]
    groups = np.array(groups[: len(labels)])
    given_ = archive({"all": groups}, all=labels)
    splits = drawn_or_not(given_, seed)
    assert_whole(splits, groups)
    assert sorted(row for part in rows(splits).values() for row in part) == list(range(len(labels)))
    assert rows(draw_splits(given_, seed)[0]) == rows(splits)
    if isinstance(labels[0], int):
        assert set(splits["train"].labels.tolist()) == set(labels)
    else:
        shown = (np.array(labels) == 1).any(axis=0)
        assert ((splits["train"].labels == 1).any(axis=0) == shown).all()


@given(SEEDS, st.integers(1, 1000), st.booleans())
def test_another_seed_draws_other_splits(seed, step, grouped):
    groups = {"all": np.arange(100) // 2} if grouped else None
    given_ = archive(groups, all=FOUR)
    first, second = (rows(draw_splits(given_, s)[0]) for s in (seed, seed + step))
    assert first["test"] != second["test"]
    assert first["validation"] != second["validation"]


def test_groups_are_as_well_stratified_as_by_scikit_learn():
    """Patients of several images, mostly of one class: shares of the classes held out."""
    random = np.random.RandomState(0)
    ours, theirs = [], []
    for seed in range(30):
        sizes = random.randint(1, 12, 80)
        groups = np.repeat(np.arange(80), sizes)
        mostly = np.repeat(random.choice(4, 80, p=[0.4, 0.3, 0.2, 0.1]), sizes)
        labels = np.where(random.rand(len(groups)) < 0.8, mostly, random.randint(0, 4, len(groups)))
        _, held = hold_out_groups(labels, groups, 0.2, seed)
        folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
        _, fold = next(folds.split(labels, labels, groups))
        total = np.bincount(labels)
        for found, shares in ((held, ours), (fold, theirs)):
            shares.append(np.abs(np.bincount(labels[found], minlength=4) / total - 0.2).max())
    assert np.mean(ours) < 1.5 * np.mean(theirs)
    assert np.mean(ours) < 0.1
