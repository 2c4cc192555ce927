import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.labels import balanced_rows, hold_out_rows, kind_of


@st.composite
def tables(draw):
    n, k = draw(st.integers(2, 60)), draw(st.integers(2, 6))
    seed = draw(st.integers(0, 10_000))
    return np.random.RandomState(seed).choice([1, 0, -1], (n, k), p=[0.3, 0.1, 0.6])


@given(tables(), st.floats(0.1, 0.5), st.integers(0, 50))
def test_hold_out_is_complete_and_repeats_with_the_seed(labels, fraction, seed):
    kept, held = hold_out_rows(labels, fraction, seed)
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, held])), np.arange(len(labels)))
    # Each class and the images of none miss their share by one at most; an image of several classes
    # can serve one of them alone, so that nothing bounds what all of these miss.
    if ((labels == 1).sum(axis=1) <= 1).all():
        assert abs(len(held) - fraction * len(labels)) <= labels.shape[1] + 1
    again = hold_out_rows(labels, fraction, seed)
    np.testing.assert_array_equal(again[1], held)


def test_hold_out_divides_every_class_evenly_where_chance_would_not():
    random = np.random.RandomState(0)
    rates = np.array([0.5, 0.2, 0.05, 0.02])
    labels = np.where(random.rand(1000, 4) < rates, 1, -1)
    counts = (labels == 1).sum(axis=0)
    _, held = hold_out_rows(labels, 0.2, seed=1)
    given_up = (labels[held] == 1).sum(axis=0)
    assert (np.abs(given_up - 0.2 * counts) <= 1).all()
    # A draw that knows nothing of labels misses by far more.
    blind = np.random.RandomState(1).permutation(1000)[:200]
    assert (np.abs((labels[blind] == 1).sum(axis=0) - 0.2 * counts) > 1).any()


@given(tables(), st.integers(1, 80), st.integers(0, 50))
def test_a_balanced_subset_has_its_size_and_every_class_that_fits(labels, size, seed):
    rows = balanced_rows(labels, size, seed)
    assert len(rows) == min(size, len(labels))
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(rows, balanced_rows(labels, size, seed))
    shown, there = (labels[rows] == 1).any(axis=0), (labels == 1).any(axis=0)
    if size > labels.shape[1]:
        np.testing.assert_array_equal(shown, there)


def test_a_balanced_subset_evens_out_and_takes_backgrounds():
    labels = np.full((100, 3), -1)
    labels[:60, 0] = 1
    labels[60:65, 1] = 1
    labels[65:70, 2] = 1
    rows = balanced_rows(labels, 20, seed=0)
    # Three classes and the images that show none, five of each.
    assert [(labels[rows] == 1).sum(axis=0).tolist(), len(rows)] == [[5, 5, 5], 20]
    assert not np.array_equal(rows, balanced_rows(labels, 20, seed=1))


def test_an_unknown_metric_has_no_kind():
    with pytest.raises(KeyError):
        kind_of("top-5")
