import numpy as np
import pytest
import torch

from headstart.errors import TrainingError
from headstart.training.losses import binary, check_labels, softmax

LOGITS = torch.tensor([[0.5, -1.0, 2.0], [200.0, -200.0, 0.0]], requires_grad=True)


def test_softmax_is_the_sum_of_cross_entropies():
    logits = LOGITS.detach().double().numpy()
    labels = np.array([2, 1])
    expected = np.log(np.exp(logits[0]).sum()) - logits[0, 2] + 400
    assert softmax(LOGITS, torch.from_numpy(labels)).item() == pytest.approx(expected)


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


def test_labels_that_fit():
    check_labels(np.array([0, 1, 1]), "softmax", 3, 2)
    check_labels(np.array([[0, 1], [1, -1]]), "binary", 2, 2)
