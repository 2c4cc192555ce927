import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.metrics import log_loss as sklearn_log_loss

from headstart.metrics import expected_calibration_error, log_loss

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
