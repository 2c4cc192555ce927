import typing

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart import metrics
from headstart.labels import KINDS, hold_out_exactly, kind_of
from headstart.spec import Metric
from refusals import refused

CLASSES = ("cat", "dog", "person")
ONE, SEVERAL = kind_of("top-1"), kind_of("voc-map-11point")


def test_every_metric_has_one_meaning_of_labels():
    assert set(KINDS) == set(typing.get_args(Metric)) == set(metrics.SCORERS)
    assert kind_of("mean-per-class") is ONE
    assert (ONE.ndim, ONE.loss, SEVERAL.ndim, SEVERAL.loss) == (1, "softmax", 2, "binary")
    with pytest.raises(KeyError):
        kind_of("top-5")


@pytest.mark.parametrize(("label", "names"), [
    ([1, -1, -1], ["cat"]),
    ([-1, 1, 1], ["dog", "person"]),
    ([0, -1, 1], ["(cat)", "person"]),
    ([0, 0, 0], ["(cat)", "(dog)", "(person)"]),
    ([-1, -1, -1], []),
])  # fmt: skip
def test_names_of_several_classes_in_their_order(label, names):
    assert SEVERAL.names(np.array(label), CLASSES) == names


def test_the_name_of_one_class():
    labels = np.array([2, 0])
    assert [ONE.names(label, CLASSES) for label in labels] == [["person"], ["cat"]]


def test_labels_for_other_classes_are_not_named():
    with pytest.raises(ValueError, match="argument 2"):
        SEVERAL.names(np.array([1, 1]), CLASSES)


def test_counts_are_of_images_that_show_a_class():
    assert ONE.counts(np.array([0, 2, 2]), 3).tolist() == [1, 0, 2]
    labels = np.array([[1, 0, -1], [1, 1, -1]])
    assert SEVERAL.counts(labels, 3).tolist() == [2, 1, 0]


def test_the_first_strange_label_is_told():
    assert ONE.find_invalid(np.array([0, 2]), 3) is None
    assert ONE.find_invalid(np.array([0, 3, 9]), 3) == (1, "label 3, classes are 0 to 2")
    assert ONE.find_invalid(np.array([-1]), 3) == (0, "label -1, classes are 0 to 2")
    assert SEVERAL.find_invalid(np.array([[1, 0, -1]]), 3) is None
    place, words = SEVERAL.find_invalid(np.array([[1, 0, -1], [1, 0, 7]]), 3)
    assert (place, words.startswith("label 7, 1 (present)")) == (1, True)
    assert SEVERAL.find_invalid(np.array([[1, 0, -1], [5, 0, 7], [8, 0, 1]]), 3)[0] == 1
    assert SEVERAL.find_invalid(np.array([[1, 0]]), 3)[1].startswith("2 labels, one for each of 3")


def test_how_few_images_can_show_all_classes():
    assert (ONE.min_images(20), SEVERAL.min_images(20)) == (20, 2)


LABELS = st.lists(st.integers(0, 5), min_size=1, max_size=80).map(np.array)


@given(LABELS, st.integers(1, 100), st.integers(0, 1000))
def test_a_balanced_subset_is_as_even_as_the_classes_allow(labels, size, seed):
    places = ONE.subset(labels, size, seed)
    assert len(places) == min(size, len(labels))
    assert len(np.unique(places)) == len(places)
    assert (np.diff(places) > 0).all()
    available = np.bincount(labels, minlength=6)
    taken = np.bincount(labels[places], minlength=6)
    # A class has fewer than another only if it has no more, or by the one that does not divide.
    for a in range(6):
        assert taken[a] == available[a] or (taken <= taken[a] + 1).all()
    np.testing.assert_array_equal(places, ONE.subset(labels, size, seed))


def test_which_classes_give_one_more_depends_on_the_seed():
    labels = np.repeat(np.arange(10), 50)
    counts = {tuple(np.bincount(labels[ONE.subset(labels, 105, seed)])) for seed in range(3)}
    assert len(counts) > 1


@given(
    st.lists(st.integers(2, 30), min_size=1, max_size=6), st.floats(0.05, 0.6), st.integers(0, 99)
)
def test_hold_out_is_stratified_and_complete(sizes, fraction, seed):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    kept, held = ONE.hold_out(labels, fraction, seed)
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, held])), np.arange(len(labels)))
    for label, size in enumerate(sizes):
        count = int((labels[held] == label).sum())
        assert 1 <= count < size
        assert abs(count - fraction * size) <= 1


@given(LABELS, st.floats(0, 1), st.integers(0, 99))
def test_hold_out_exactly_is_exact_and_as_stratified_as_can_be(labels, share, seed):
    available = np.bincount(labels, minlength=6)
    room = np.maximum(available - 1, 0)
    size = int(share * room.sum())
    kept, held = hold_out_exactly(labels, size, seed)
    assert len(held) == size
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, held])), np.arange(len(labels)))
    np.testing.assert_array_equal(held, hold_out_exactly(labels, size, seed)[1])
    given_up = np.bincount(labels[held], minlength=6)
    exact = size * available / len(labels)
    # Every class keeps one; short of that each gives its share, up to one image more or less.
    assert (given_up <= room).all()
    assert (given_up >= np.minimum(np.floor(exact), room)).all()
    if (np.ceil(exact) <= room)[available > 0].all():
        assert (given_up <= np.ceil(exact)).all()


@pytest.mark.parametrize(("sizes", "expected"), [
    # Of 5, shares of 1.25, 0.75 and 3: the lacking one comes from the second.
    ([5, 3, 12], {(1, 1, 3)}),
    # Of 5, shares of 2.5, 1.5 and 1: it comes from either of the first two.
    ([5, 3, 2], {(3, 1, 1), (2, 2, 1)}),
])  # fmt: skip
def test_hold_out_exactly_rounds_by_the_largest_remainder(sizes, expected):
    labels = np.repeat([0, 1, 2], sizes)
    held = [hold_out_exactly(labels, 5, seed)[1] for seed in range(20)]
    assert {tuple(np.bincount(labels[places]).tolist()) for places in held} == expected


def test_more_than_there_is_cannot_be_held_out():
    with refused("dataset.split_impossible", found=4):
        hold_out_exactly(np.array([0, 0, 1, 1, 1]), 4, seed=0)


@st.composite
def tables(draw):
    n, k = draw(st.integers(2, 60)), draw(st.integers(2, 6))
    seed = draw(st.integers(0, 10_000))
    return np.random.RandomState(seed).choice([1, 0, -1], (n, k), p=[0.3, 0.1, 0.6])


@given(tables(), st.floats(0.1, 0.5), st.integers(0, 50))
def test_hold_out_of_several_labels_is_complete_and_repeats_with_the_seed(labels, fraction, seed):
    kept, held = SEVERAL.hold_out(labels, fraction, seed)
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, held])), np.arange(len(labels)))
    # Each class and the images of none miss their share by one at most; an image of several classes
    # can serve one of them alone, so that nothing bounds what all of these miss.
    if ((labels == 1).sum(axis=1) <= 1).all():
        assert abs(len(held) - fraction * len(labels)) <= labels.shape[1] + 1
    again = SEVERAL.hold_out(labels, fraction, seed)
    np.testing.assert_array_equal(again[1], held)


def test_hold_out_divides_every_class_evenly_where_chance_would_not():
    random = np.random.RandomState(0)
    rates = np.array([0.5, 0.2, 0.05, 0.02])
    labels = np.where(random.rand(1000, 4) < rates, 1, -1)
    counts = (labels == 1).sum(axis=0)
    _, held = SEVERAL.hold_out(labels, 0.2, seed=1)
    given_up = (labels[held] == 1).sum(axis=0)
    assert (np.abs(given_up - 0.2 * counts) <= 1).all()
    # A draw that knows nothing of labels misses by far more.
    blind = np.random.RandomState(1).permutation(1000)[:200]
    assert (np.abs((labels[blind] == 1).sum(axis=0) - 0.2 * counts) > 1).any()


@given(tables(), st.integers(1, 80), st.integers(0, 50))
def test_a_balanced_subset_of_several_labels_has_its_size_and_every_class_that_fits(
    labels, size, seed
):
    rows = SEVERAL.subset(labels, size, seed)
    assert len(rows) == min(size, len(labels))
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(rows, SEVERAL.subset(labels, size, seed))
    shown, there = (labels[rows] == 1).any(axis=0), (labels == 1).any(axis=0)
    if size > labels.shape[1]:
        np.testing.assert_array_equal(shown, there)


def test_a_balanced_subset_evens_out_and_takes_backgrounds():
    labels = np.full((100, 3), -1)
    labels[:60, 0] = 1
    labels[60:65, 1] = 1
    labels[65:70, 2] = 1
    rows = SEVERAL.subset(labels, 20, seed=0)
    # Three classes and the images that show none, five of each.
    assert [(labels[rows] == 1).sum(axis=0).tolist(), len(rows)] == [[5, 5, 5], 20]
    assert not np.array_equal(rows, SEVERAL.subset(labels, 20, seed=1))
