"""Metrics against scikit-learn, scipy and a transcription of the development kit's loop."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, softmax
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, recall_score
from sklearn.metrics import confusion_matrix as sklearn_matrix
from sklearn.metrics import log_loss as sklearn_log_loss

import headstart as hs
from headstart import metrics
from headstart.metrics import (
    at_chance,
    beats_chance,
    calibration_bins,
    confusion_matrix,
    expected_calibration_error,
    log_loss,
    voc_map_11point,
)
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


def drawn(n: int = 400, n_classes: int = 5):
    random = np.random.RandomState(0)
    labels = random.randint(0, n_classes, n)
    scores = random.randn(n, n_classes) + 2 * np.eye(n_classes)[labels]
    return labels, scores


def test_the_matrix_is_scikit_learns():
    labels, scores = drawn()
    predicted = scores.argmax(axis=1)
    expected = sklearn_matrix(labels, predicted, labels=range(7))
    # Two classes without an image.
    np.testing.assert_array_equal(confusion_matrix(labels, predicted, 7), expected)


def test_bins_are_scikit_learns_and_add_up_to_the_error():
    labels, scores = drawn()
    bins = calibration_bins(labels, scores)
    shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    right = scores.argmax(axis=1) == labels
    accuracy, confidence = calibration_curve(right, shares.max(axis=1), n_bins=15)
    np.testing.assert_allclose([one.accuracy for one in bins], accuracy)
    np.testing.assert_allclose([one.confidence for one in bins], confidence)
    error = sum(one.n * abs(one.confidence - one.accuracy) for one in bins) / len(labels)
    assert error == pytest.approx(expected_calibration_error(labels, scores))
    assert all(one.low < one.confidence <= one.high for one in bins)


def test_of_several_labels_each_is_a_prediction():
    labels = np.array([[1, -1, 0], [1, 1, -1]])
    scores = np.array([[3.0, -3.0, 9.0], [-3.0, 3.0, -3.0]])
    (one,) = calibration_bins(labels, scores)
    assert (one.n, one.accuracy) == (5, 0.8)


@pytest.mark.parametrize("n", [3, 7, 60, 359, 10_000])
@pytest.mark.parametrize("chance", [0.01, 0.1, 0.5])
def test_the_rule_is_the_exact_binomial_test(n, chance):
    for right in sorted(
        {0, 1, round(n * chance), round(1.3 * n * chance) + 3, n} & {*range(n + 1)}
    ):
        p_value = binomtest(right, n, chance, alternative="greater").pvalue
        assert beats_chance(right / n, n, chance) == (p_value <= 0.01)


def one_hot(classes, n_classes):
    return np.eye(n_classes, dtype=np.float32)[classes]


def test_always_the_most_frequent_class_is_at_chance():
    labels = np.repeat([0, 1, 2], [70, 20, 10])
    found = at_chance("mean-per-class", labels, one_hot(np.zeros(100, int), 3))
    assert (found.metric, found.accuracy, found.chance, found.n) == ("top-1", 0.7, 0.7, 100)
    for part in ("70.00 %", "n = 100", "0.01"):
        assert part in found.text
    # 90 % is clearly more, though it would not be of ten images.
    right = one_hot(np.where(np.arange(100) < 90, labels, 0), 3)
    assert at_chance("top-1", labels, right) is None
    assert at_chance("top-1", labels[::10], right[::10]).n == 10


def test_several_labels_are_compared_with_scores_of_other_images():
    random = np.random.RandomState(0)
    labels = np.where(random.rand(300, 4) < 0.2, 1, -1)
    blind, knowing = random.rand(300, 4), labels + random.rand(300, 4)
    found = at_chance("voc-map-11point", labels, blind)
    assert found.n == 300
    # The average precision of scores that know nothing is about the share of positives.
    assert found.chance == pytest.approx((labels == 1).mean(), abs=0.08)
    assert at_chance("voc-map-11point", labels, knowing) is None


RANDOM = np.random.RandomState(0)
SCORES = RANDOM.normal(0, 3, (200, 4))
LABELS = RANDOM.randint(0, 4, 200)
SEVERAL = RANDOM.choice([1, 0, -1], (200, 4))


def test_log_loss_equals_scikit_learn():
    probabilities = softmax(SCORES, axis=1)
    expected = sklearn_log_loss(LABELS, probabilities, labels=range(4))
    assert log_loss(LABELS, SCORES) == pytest.approx(expected)
    judged = SEVERAL != 0
    expected = sklearn_log_loss(SEVERAL[judged] == 1, expit(SCORES[judged]))
    assert log_loss(SEVERAL, SCORES) == pytest.approx(expected)


def test_log_loss_of_a_wrong_certainty_is_large_and_finite():
    assert log_loss(np.array([1]), np.array([[1000.0, 0.0]])) == pytest.approx(1000)


def by_hand(confidence, right):
    """Go through the bins one by one, as the formula is written."""
    total = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15 + 1e-12)
        if inside.any():
            total += inside.sum() * abs(right[inside].mean() - confidence[inside].mean())
    return total / len(confidence)


def test_calibration_error_is_the_formula():
    probabilities = softmax(SCORES, axis=1)
    expected = by_hand(probabilities.max(axis=1), probabilities.argmax(axis=1) == LABELS)
    assert expected_calibration_error(LABELS, SCORES) == pytest.approx(expected)
    judged = SEVERAL != 0
    p = expit(SCORES[judged])
    expected = by_hand(np.maximum(p, 1 - p), (p > 0.5) == (SEVERAL[judged] == 1))
    assert expected_calibration_error(SEVERAL, SCORES) == pytest.approx(expected)


def test_who_is_right_as_often_as_it_says_is_calibrated():
    # 0.75 sure, and right three times of four.
    scores = np.log(np.tile([0.75, 0.25], (8, 1)))
    assert expected_calibration_error(np.array([0, 0, 0, 1] * 2), scores) == pytest.approx(0)
    assert expected_calibration_error(np.array([1] * 8), scores) == pytest.approx(0.75)


def matlab_loop(start, step, stop):
    """Give the values of t in MATLAB's ``for t = start:step:stop``.

    E. I. on the list of Octave's maintainers, "for loop implementation", at the time of Octave 3.0:
    in MATLAB a loop from 0 to 5.8 by 0.1 differs from ``first + n * step`` by nothing, the vector
    ``[0:0.1:5.8]`` by up to four units of the last place. That the two differ is also found in
    possiblywrong.wordpress.com/2020/08/02/matlabs-colon-operator-and-for-loops.
    """
    return [start + k * step for k in range(round((stop - start) / step) + 1)]


def vocevalcls(out, gt):
    """VOCevalcls.m of the VOC 2007 development kit, line by line, for one class.

    ``sort`` of MATLAB keeps the order of ties; ``max`` leaves out NaN, which a precision is before
    any image counts.
    """
    si = sorted(range(len(out)), key=lambda i: -out[i])
    tp = np.cumsum([gt[i] > 0 for i in si])
    fp = np.cumsum([gt[i] < 0 for i in si])
    npos = sum(label > 0 for label in gt)
    rec = [float(t) / float(npos) for t in tp]
    prec = [float(t) / float(f + t) if f + t else np.nan for f, t in zip(fp, tp, strict=True)]
    ap = 0.0
    for t in matlab_loop(0, 0.1, 1):
        p = [at for at, r in zip(prec, rec, strict=True) if r >= t and not np.isnan(at)]
        ap = ap + (max(p) if p else 0) / 11
    return ap


def same(scores, labels):
    present = [k for k in range(labels.shape[1]) if (labels[:, k] == 1).any()]
    kit = np.mean([vocevalcls(scores[:, k], labels[:, k]) for k in present])
    return voc_map_11point(scores, labels) == pytest.approx(kit, rel=1e-12)


@pytest.mark.parametrize(("loop", "value", "met"), [
    # imathworks.com/matlab/matlab-if-statement-inside-a-for-loop-not-working
    ((0.1, 0.1, 5), 3, False),
    # "Software problem": of 0.05:0.05:15 the loop meets 8 and never 10
    ((0.05, 0.05, 15), 8, True),
    ((0.05, 0.05, 15), 10, False),
    # stackoverflow.com/questions/15514343
    ((-1, 0.01, 1), 0.2, False),
    ((0, 0.01, 1), 0.2, True),
    # "Problem with equating for loop index to a variable": neither 0.6 nor 1.4
    ((0.2, 0.2, 1.6), 0.6, False),
    ((0.2, 0.2, 1.6), 1.4, False),
])  # fmt: skip
def test_loops_meet_the_values_that_users_of_matlab_report(loop, value, met):
    """Neither repeated addition nor a vector built from both ends meets just these."""
    assert (value in matlab_loop(*loop)) == met


@given(st.integers(0, 10_000), st.integers(1, 40), st.booleans())
def test_it_is_the_development_kits(seed, n, ties):
    random = np.random.default_rng(seed)
    labels = random.choice([-1, 0, 1], size=(n + 2, 3))
    labels[:2] = [[1], [-1]]
    scores = random.normal(size=labels.shape)
    assert same(np.round(scores) if ties else scores, labels)


@pytest.mark.parametrize("n_present", [*range(1, 61), 70, 80, 90, 100, 190, 200, 235, 1000])
def test_it_is_the_development_kits_for_every_number_of_present_images(n_present):
    random = np.random.default_rng(n_present)
    labels = np.repeat([1, -1, 0], [n_present, 2 * n_present, 5])[:, None]
    labels = np.repeat(labels, 5, axis=1)
    scores = labels + random.normal(size=labels.shape)
    assert same(random.permuted(scores), labels)
    assert same(np.round(scores), labels)


@pytest.mark.parametrize(
    ("found_first", "recalls_of_1"), [(3, 3), (4, 5), (5, 6), (6, 6), (7, 7), (8, 9)]
)
def test_recalls_of_a_whole_number_of_present_images(found_first, recalls_of_1):
    """Ten present: 3 of them reach 0, 0.1 and 0.2, not the 0.30000000000000004 of the loop."""
    labels = np.array([1] * found_first + [-1] * 10 + [1] * (10 - found_first))[:, None]
    expected = (recalls_of_1 + (11 - recalls_of_1) * 10 / 20) / 11
    assert voc_map_11point(-np.arange(20)[:, None], labels) == pytest.approx(expected, rel=1e-12)


def test_a_difficult_image_changes_nothing_wherever_it_stands():
    random = np.random.default_rng(0)
    labels = random.choice([-1, 1], size=(30, 4))
    scores = np.round(random.normal(size=labels.shape), 1)
    expected = voc_map_11point(scores, labels)
    for place in (0, 7, 30):
        for score in (-np.inf, 0.0, 9.0):
            more = np.insert(scores, place, score, axis=0), np.insert(labels, place, 0, axis=0)
            assert voc_map_11point(*more) == expected
            assert same(*more)


def test_a_perfect_order_is_one():
    labels = np.array([[1, -1], [-1, 1], [0, -1]])
    assert voc_map_11point(labels, labels) == 1.0


def test_classes_that_are_nowhere_are_left_out_of_the_mean():
    labels = np.array([[1, -1], [-1, 0], [1, -1]])
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.3]])
    assert voc_map_11point(scores, labels) == voc_map_11point(scores[:, :1], labels[:, :1])


def test_the_metrics_are_public():
    assert hs.metrics.voc_map_11point is voc_map_11point
    assert "metrics" in dir(hs)


@pytest.mark.parametrize(("scores", "labels", "code", "values"), [
    ([[0], [0]], [[1, -1]], "shapes_differ", {"found": ((2, 1), (1, 2))}),
    ([0, 0], [1, -1], "shapes_differ", {"found": ((2,), (2,))}),
    ([[0], [0]], [[1], [2]], "label_invalid", {"found": 2, "place": (1, 0)}),
    ([[0], [0]], [[1], [0]], "none_absent", {}),
    ([[0], [np.nan]], [[1], [-1]], "score_missing", {"place": (1, 0)}),
    ([[0], [0]], [[-1], [0]], "none_present", {}),
])  # fmt: skip
def test_what_cannot_be_is_refused(scores, labels, code, values):
    with refused(f"metric.{code}", **values):
        voc_map_11point(np.array(scores), np.array(labels))
