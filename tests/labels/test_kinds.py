import typing

import numpy as np
import pytest

from headstart import metrics
from headstart.labels import KINDS, kind_of
from headstart.spec import Metric

CLASSES = ("cat", "dog", "person")
ONE, SEVERAL = kind_of("top-1"), kind_of("voc-map-11point")


def test_every_metric_has_one_meaning_of_labels():
    assert set(KINDS) == set(typing.get_args(Metric)) == set(metrics.SCORERS)
    assert kind_of("mean-per-class") is ONE
    assert (ONE.ndim, ONE.loss, SEVERAL.ndim, SEVERAL.loss) == (1, "softmax", 2, "binary")


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
