import numpy as np
import pytest
import torch

from headstart.errors import TrainingError
from headstart.training.hyperparameters import Hyperparameters
from headstart.training.losses import binary, check_labels, loss_of, softmax

LOGITS = torch.tensor([[0.5, -1.0, 2.0], [200.0, -200.0, 0.0]], requires_grad=True)


def test_softmax_is_the_sum_of_cross_entropies():
    logits = LOGITS.detach().double().numpy()
    labels = np.array([2, 1])
    expected = np.log(np.exp(logits[0]).sum()) - logits[0, 2] + 400
    assert softmax(LOGITS, torch.from_numpy(labels)).item() == pytest.approx(expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_smoothed_targets_are_spread_over_all_classes(smoothing):
    logits = LOGITS.detach().double().numpy()
    labels = np.array([2, 1])
    # Szegedy et al. 2016, equation 7: q'(k) = (1 - e) [k = y] + e / K.
    target = (1 - smoothing) * np.eye(3)[labels] + smoothing / 3
    log_p = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    made = Hyperparameters(steps=1, learning_rate=1, label_smoothing=smoothing)
    found = loss_of(made)(LOGITS, torch.from_numpy(labels))
    assert found.item() == pytest.approx(-(target * log_p).sum())
    (gradient,) = torch.autograd.grad(found, LOGITS)
    np.testing.assert_allclose(gradient, np.exp(log_p) - target, atol=1e-6)


def test_binary_is_the_sum_of_logistic_losses_of_what_counts():
    labels = np.array([[1, -1, 0], [-1, 0, 1]])
    logits = LOGITS.detach().double().numpy()
    losses = np.logaddexp(0, -labels * logits) * (labels != 0)
    found = binary(LOGITS, torch.from_numpy(labels))
    assert found.item() == pytest.approx(losses.sum())
    (gradient,) = torch.autograd.grad(found, LOGITS)
    by_hand = -labels / (1 + np.exp(np.clip(labels * logits, -700, 700)))
    np.testing.assert_allclose(gradient, by_hand, atol=1e-6)
    # Left out, whatever the network says.
    assert gradient[0, 2] == 0
    assert gradient[1, 1] == 0


@pytest.mark.parametrize(
    ("loss", "labels", "message"),
    [
        ("softmax", [0, 1], "labels: expected shape (3,) for softmax loss, 3 images"),
        ("softmax", [[0], [1], [1]], "head of 2 outputs, found (3, 1)"),
        (
            "softmax",
            [0, 1, 2],
            "labels: expected 0 to 1 for a head of 2 outputs, found 2 at image 2",
        ),
        ("softmax", [0, -1, 1], "found -1 at image 1"),
        ("binary", [0, 1, 1], "labels: expected shape (3, 2) for binary loss"),
        ("binary", [[1, 1, 1]] * 3, "found (3, 3)"),
        (
            "binary",
            [[1, 0], [1, -1], [2, 1]],
            "labels: expected 1, 0 (left out) or -1 for a head of 2 outputs, found 2 at image 2",
        ),
    ],
)
def test_labels_that_do_not_fit_the_head(loss, labels, message):
    with pytest.raises(TrainingError) as error:
        check_labels(np.array(labels), loss, 3, 2)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"label_smoothing": 1.0}, "label_smoothing: expected 0 or more and less than 1, found 1"),
        ({"label_smoothing": -0.1}, "label_smoothing: expected 0 or more and less than 1, found"),
        (
            {"label_smoothing": 0.1, "loss": "binary"},
            "label_smoothing: expected 0 for binary loss, which has no distribution over classes "
            "to smooth, found 0.1",
        ),
        ({"auxiliary_weight": -1.0}, "auxiliary_weight: expected 0 or more, found -1"),
        ({"auxiliary_weight": float("nan")}, "auxiliary_weight: expected 0 or more, found nan"),
    ],
)
def test_what_cannot_be_minimised(fields, message):
    with pytest.raises(TrainingError) as error:
        Hyperparameters(steps=1, learning_rate=1, **fields)
    assert str(error.value).startswith(message)


def test_labels_that_fit():
    check_labels(np.array([0, 1, 1]), "softmax", 3, 2)
    check_labels(np.array([[0, 1], [1, -1]]), "binary", 2, 2)
