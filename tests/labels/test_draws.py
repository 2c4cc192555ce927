import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.labels import balanced_subset, hold_out, hold_out_exactly
from refusals import refused

LABELS = st.lists(st.integers(0, 5), min_size=1, max_size=80).map(np.array)


@given(LABELS, st.integers(1, 100), st.integers(0, 1000))
def test_a_balanced_subset_is_as_even_as_the_classes_allow(labels, size, seed):
    places = balanced_subset(labels, size, seed)
    assert len(places) == min(size, len(labels))
    assert len(np.unique(places)) == len(places)
    assert (np.diff(places) > 0).all()
    available = np.bincount(labels, minlength=6)
    taken = np.bincount(labels[places], minlength=6)
    # A class has fewer than another only if it has no more, or by the one that does not divide.
    for a in range(6):
        assert taken[a] == available[a] or (taken <= taken[a] + 1).all()
    np.testing.assert_array_equal(places, balanced_subset(labels, size, seed))


def test_a_balanced_subset_depends_on_the_seed():
    labels = np.repeat(np.arange(10), 50)
    assert not np.array_equal(balanced_subset(labels, 100, 0), balanced_subset(labels, 100, 1))


@given(
    st.lists(st.integers(2, 30), min_size=1, max_size=6), st.floats(0.05, 0.6), st.integers(0, 99)
)
def test_hold_out_is_stratified_and_complete(sizes, fraction, seed):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    kept, held = hold_out(labels, fraction, seed)
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
