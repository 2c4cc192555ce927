import numpy as np
import pytest

from headstart.datasets import ArrayImages, SealedTest, Split
from headstart.spec import Selection
from refusals import refused


def sealed() -> SealedTest:
    images = ArrayImages(np.zeros((3, 8, 8), np.uint8))
    return SealedTest(Split(images, np.array([0, 1, 2]), np.arange(3)), revision="r")


def test_test_labels_are_given_once_and_for_a_selection():
    chosen = {"lambda": 1.0}
    selection = Selection(examples="r", chosen=chosen, validation_curve=(chosen,))
    test = sealed()
    assert not [name for name in vars(test) if name == "labels"]
    for other in (None, selection.model_copy(update={"examples": "other"})):
        with refused("test.sealed"):
            test.open(other)
    np.testing.assert_array_equal(test.open(selection), [0, 1, 2])
    with refused("test.sealed"):
        test.open(selection)


def test_who_has_no_business_with_test_labels_gets_none():
    chosen = {"lambda": 1.0}
    selection = Selection(examples="r", chosen=chosen, validation_curve=(chosen,))
    images = ArrayImages(np.zeros((3, 8, 8), np.uint8))
    split = Split(images, np.array([0, 1, 2]), np.arange(3))
    with refused("test.sealed"):
        SealedTest(split, "r", blind=True).open(selection)


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
