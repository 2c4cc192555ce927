import typing

import numpy as np

from headstart.datasets import ArrayImages, SealedTest, Split
from headstart.spec import Selection
from refusals import invalid, refused

CHOSEN = {"lambda": 1.0}
SELECTION = Selection(examples="r", chosen=CHOSEN, validation_curve=(CHOSEN,))


def sealed(**options) -> SealedTest:
    images = ArrayImages(np.zeros((3, 8, 8), np.uint8))
    split = Split(images, np.array([0, 1, 2]), np.arange(3))
    return SealedTest(split, revision="r", **options)


def test_test_labels_are_given_once_and_for_a_selection():
    test = sealed()
    for other in (None, SELECTION.model_copy(update={"examples": "other"})):
        with refused("test.sealed"):
            test.open(other)
    np.testing.assert_array_equal(test.open(SELECTION), [0, 1, 2])
    with refused("test.sealed"):
        test.open(SELECTION)


def test_who_has_no_business_with_test_labels_gets_none():
    with refused("test.sealed"):
        sealed(blind=True).open(SELECTION)


def test_a_selection_has_a_curve_that_it_was_made_from():
    with invalid("too_short", "validation_curve"):
        Selection(examples="r", chosen=CHOSEN, validation_curve=())


def test_the_door_opens_for_a_selection_alone():
    """mypy refuses what else would reach the labels; this holds what it refuses by."""
    assert not hasattr(sealed(), "labels")
    hints = typing.get_type_hints(SealedTest.open)
    assert [kind for name, kind in hints.items() if name != "return"] == [Selection]
