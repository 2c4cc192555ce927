"""Confusions and calibration against scikit-learn."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix as sklearn_matrix

from headstart.metrics import calibration_bins, confusion_matrix, expected_calibration_error


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
