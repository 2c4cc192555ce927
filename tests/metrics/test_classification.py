import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, recall_score

from headstart import metrics
from refusals import refused


@st.composite
def labels_and_predictions(draw):
    n = draw(st.integers(1, 60))
    k = draw(st.integers(1, 8))
    vector = st.lists(st.integers(0, k - 1), min_size=n, max_size=n)
    return np.array(draw(vector)), np.array(draw(vector))


@given(labels_and_predictions())
def test_metrics_equal_scikit_learn(pair):
    label, predicted = pair
    assert metrics.top1(label, predicted) == pytest.approx(accuracy_score(label, predicted))
    present = np.unique(label)
    recall = recall_score(label, predicted, labels=present, average="macro", zero_division=0)
    assert metrics.mean_per_class(label, predicted) == pytest.approx(recall)


@given(labels_and_predictions(), st.randoms())
def test_metrics_do_not_depend_on_the_order_of_rows_or_class_names(pair, random):
    label, predicted = pair
    order = list(range(len(label)))
    random.shuffle(order)
    names = list(range(8))
    random.shuffle(names)
    renamed = np.array(names)[label][order], np.array(names)[predicted][order]
    for metric in ("top-1", "mean-per-class"):
        before, after = (
            metrics.score(metric, labels, np.eye(8)[choice]) for labels, choice in (pair, renamed)
        )
        assert after == pytest.approx(before)


def test_a_metric_by_name_scores_decision_values():
    scores = np.array([[0.9, 0.1], [0.2, 0.3], [0.6, 0.4]])
    assert metrics.score("top-1", np.array([0, 1, 1]), scores) == pytest.approx(2 / 3)
    assert metrics.score("mean-per-class", np.array([0, 1, 1]), scores) == pytest.approx(3 / 4)
    several = np.array([[1, -1], [-1, 1], [1, 0]])
    expected = metrics.voc_map_11point(scores, several)
    assert metrics.score("voc-map-11point", several, scores) == expected


def test_lengths_that_differ_are_refused():
    with refused("metric.shapes_differ", found=((2,), (1,))):
        metrics.top1(np.array([0, 1]), np.array([0]))
    with refused("metric.shapes_differ"):
        metrics.mean_per_class(np.array([], dtype=int), np.array([], dtype=int))
