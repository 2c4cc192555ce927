import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.datasets import ArrayImages, SealedTest, Split
from headstart.datasets.splits import balanced_subset, hold_out, hold_out_exactly
from headstart.errors import DatasetError, SealedTestError
from headstart.spec import Selection

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


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        # Of 5, shares of 1.25, 0.75 and 3: the lacking one comes from the second.
        ([5, 3, 12], {(1, 1, 3)}),
        # Of 5, shares of 2.5, 1.5 and 1: it comes from either of the first two.
        ([5, 3, 2], {(3, 1, 1), (2, 2, 1)}),
    ],
)
def test_hold_out_exactly_rounds_by_the_largest_remainder(sizes, expected):
    labels = np.repeat([0, 1, 2], sizes)
    held = [hold_out_exactly(labels, 5, seed)[1] for seed in range(20)]
    assert {tuple(np.bincount(labels[places]).tolist()) for places in held} == expected


def test_more_than_there_is_cannot_be_held_out():
    with pytest.raises(DatasetError, match="cannot hold out 4 of 5 images: each of their 2"):
        hold_out_exactly(np.array([0, 0, 1, 1, 1]), 4, seed=0)


def sealed() -> SealedTest:
    images = ArrayImages(np.zeros((3, 8, 8), np.uint8))
    return SealedTest(Split(images, np.array([0, 1, 2]), np.arange(3)), revision="r")


def test_test_labels_are_given_once_and_for_a_selection():
    chosen = {"lambda": 1.0}
    selection = Selection(examples="r", chosen=chosen, validation_curve=(chosen,))
    test = sealed()
    assert not [name for name in vars(test) if name == "labels"]
    for other in (None, selection.model_copy(update={"examples": "other"})):
        with pytest.raises(SealedTestError, match="made on the validation set beside them"):
            test.open(other)
    np.testing.assert_array_equal(test.open(selection), [0, 1, 2])
    with pytest.raises(SealedTestError, match="once a trial"):
        test.open(selection)


def test_a_selection_has_a_curve_that_it_was_made_from():
    with pytest.raises(ValueError, match="at least 1 item"):
        Selection(examples="r", chosen={"lambda": 1.0}, validation_curve=())


def test_the_door_does_not_type_check_without_a_selection(tmp_path):
    from mypy import api

    file = tmp_path / "peek.py"
    file.write_text(
        "from headstart.datasets import SealedTest\n"
        "def peek(test: SealedTest) -> None:\n"
        "    test.labels\n"
        "    test.open(0.5)\n"
    )
    output, _, _ = api.run([str(file), "--follow-imports=silent", f"--cache-dir={tmp_path}"])
    assert '"SealedTest" has no attribute "labels"' in output
    assert 'Argument 1 to "open" of "SealedTest" has incompatible type "float"' in output
