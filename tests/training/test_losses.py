import numpy as np
import pytest
import torch

from headstart.spec import TrainingConfig
from headstart.training.loop import binary, check_labels, loss_of, softmax
from refusals import refused

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
    made = TrainingConfig(steps=1, learning_rate=1, label_smoothing=smoothing)
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


@pytest.mark.parametrize(("loss", "labels", "code", "found"), [
    ("softmax", [0, 1], "training.labels_shape", "(2,)"),
    ("softmax", [[0], [1], [1]], "training.labels_shape", "(3, 1)"),
    ("binary", [0, 1, 1], "training.labels_shape", "(3,)"),
    ("binary", [[1, -1, 0]] * 3, "training.labels_shape", "(3, 3)"),
    ("softmax", [0, 1, 2], "training.labels_range", 2),
    ("softmax", [0, -1, 1], "training.labels_range", -1),
    ("binary", [[1, 0], [1, -1], [2, 1]], "training.labels_range", 2),
])  # fmt: skip
def test_labels_that_do_not_fit_the_head(loss, labels, code, found):
    with refused(code, found=found):
        check_labels(np.array(labels), loss, 3, 2)


def test_labels_that_fit():
    check_labels(np.array([0, 1, 1]), "softmax", 3, 2)
    check_labels(np.array([[0, 1], [1, -1]]), "binary", 2, 2)
