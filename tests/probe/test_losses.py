"""Losses by finite differences and by their definition; no cancellation far out."""

import numpy as np
import pytest
import torch

from headstart.probe.axes import Fast
from headstart.probe.certificate import BALANCE, balance, imbalance
from headstart.probe.hessian import Curvature
from headstart.probe.losses import Binary, Softmax
from probes import many_labels, problem, some_left_out
from refusals import refused

LOSSES = {
    "softmax": Softmax.of(torch.tensor(problem(30, 5, 3)[1]), 3),
    "binary": Binary.of(torch.tensor(2 * many_labels(30, 5, 2)[1] - 1)),
    "some left out": Binary.of(torch.tensor(some_left_out(30, 5, 2)[1])),
}


def logits(loss, seed=1, scale=1.0):
    shape = (2, 3, 30) if isinstance(loss, Softmax) else (2, 1, 30)
    return scale * torch.from_numpy(np.random.RandomState(seed).randn(*shape))


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_residual_and_hessian_by_finite_differences(loss):
    A, D = logits(loss), logits(loss, 2)
    step = 1e-5
    _, residual, p = loss.look(A)
    slope = (loss.look(A + step * D)[0] - loss.look(A - step * D)[0]) / (2 * step)
    torch.testing.assert_close((residual * D).sum((1, 2)), slope, rtol=1e-6, atol=1e-8)
    bent = (loss.look(A + step * D)[1] - loss.look(A - step * D)[1]) / (2 * step)
    torch.testing.assert_close(loss.curve(p, D), bent, rtol=1e-6, atol=1e-8)


def test_values_are_torchs_cross_entropies():
    A, loss = logits(LOSSES["softmax"]), LOSSES["softmax"]
    for one, value in zip(A, loss.look(A)[0], strict=True):
        expected = torch.nn.functional.cross_entropy(one.T, loss.labels, reduction="sum")
        assert float(value) == pytest.approx(float(expected))
    for loss in (LOSSES["binary"], LOSSES["some left out"]):
        A, judged = logits(loss), loss.signs != 0
        for one, sign, mine, value in zip(A, loss.signs, judged, loss.look(A)[0], strict=True):
            expected = torch.nn.functional.binary_cross_entropy_with_logits(
                one[mine], (sign[mine].double() + 1) / 2, reduction="sum"
            )
            assert float(value) == pytest.approx(float(expected))


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_the_columns_curvature_is_the_sum_of_the_hessians(loss):
    A = logits(loss)
    p = loss.look(A)[2]
    columns = A.shape[1]
    for k in range(columns):
        unit = torch.zeros_like(A)
        unit[:, k] = 1
        expected = loss.curve(p, unit).sum(2)
        torch.testing.assert_close(loss.column_curvature(p)[:, :, k], expected)


def test_what_is_nearly_zero_keeps_its_digits():
    """Logits of 100 for the label: 1 - p would be 0 in float64, the residual is e^-100."""
    loss = Softmax.of(torch.tensor([0, 1]), 2)
    A = torch.tensor([[[100.0, 0.0], [0.0, 100.0]]], dtype=torch.float64)
    values, residual, _ = loss.look(A)
    assert float(values) == pytest.approx(2 * np.exp(-100), rel=1e-12)
    assert residual[0, :, 0].tolist() == pytest.approx([-np.exp(-100), np.exp(-100)], rel=1e-12)
    loss = Binary.of(torch.tensor([[1], [-1]]))
    values, residual, p = loss.look(torch.tensor([[[100.0, -100.0]]], dtype=torch.float64))
    assert float(values) == pytest.approx(2 * np.exp(-100), rel=1e-12)
    assert residual[0, 0].tolist() == pytest.approx([-np.exp(-100), np.exp(-100)], rel=1e-12)
    assert p[0, 0].tolist() == pytest.approx([np.exp(-100)] * 2, rel=1e-12)


@pytest.mark.parametrize("scale", [0.1, 3.0, 30.0])
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_a_balanced_bias_is_the_best_one(loss, scale):
    A = logits(loss, scale=scale)
    bias = balance(loss, A, torch.zeros(A.shape[:2], dtype=torch.float64))
    _, residual, _ = loss.look(A + bias[:, :, None])
    assert (imbalance(residual)[1] <= BALANCE).all()
    best = loss.look(A + bias[:, :, None])[0]
    assert (best <= loss.look(A)[0]).all()
    for other in torch.from_numpy(np.random.RandomState(0).randn(20, *bias.shape)):
        shifted = loss.look(A + (bias + 0.1 * other)[:, :, None])[0]
        assert (best <= shifted * (1 + 1e-12)).all()


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_hessian_vector_products_by_finite_differences(loss):
    """Of the objective with the best bias for each W: the bias follows, its gradient stays."""
    random = np.random.RandomState(3)
    Z = torch.from_numpy(random.randn(30, 5))
    columns = logits(loss).shape[1]
    W, D = (torch.from_numpy(random.randn(2, columns, 5)) for _ in range(2))
    lam = torch.tensor([0.7, 3.0], dtype=torch.float64)
    p = loss.look(W @ Z.T)[2]
    curvature = Curvature(Fast(Z), Z.square().sum(0))
    found, d = curvature(loss, p, lam, D, curvature.inverse(loss, p, lam))

    def gradient(step):
        A = (W + step * D) @ Z.T + (step * d)[:, :, None]
        residual = loss.look(A)[1]
        return residual @ Z + lam[:, None, None] * (W + step * D), residual.sum(2)

    by_W, by_bias = (
        (high - low) / 2e-5 for high, low in zip(gradient(1e-5), gradient(-1e-5), strict=True)
    )
    torch.testing.assert_close(found, by_W, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(by_bias, torch.zeros_like(d), rtol=0, atol=1e-7)


def test_the_preconditioner_inverts_the_hessian_of_even_probabilities():
    """Where all examples have the same probabilities it is the inverse itself."""
    Z = torch.from_numpy(np.linalg.qr(np.random.RandomState(0).randn(30, 6))[0][:, 1:])
    Z = torch.linalg.qr(torch.cat([torch.ones(30, 1).double(), Z], dim=1))[0][:, 1:] * 3
    loss = Softmax.of(torch.arange(30) % 3, 3)
    p = loss.look(torch.zeros(1, 3, 30, dtype=torch.float64))[2]
    lam = torch.tensor([0.5], dtype=torch.float64)
    curvature = Curvature(Fast(Z), Z.square().sum(0))
    D = loss.centre(torch.from_numpy(np.random.RandomState(1).randn(1, 3, 5)))
    d = loss.centre(torch.from_numpy(np.random.RandomState(2).randn(1, 3)))
    mean = curvature.inverse(loss, p, lam)
    torch.testing.assert_close(mean.by_W(curvature(loss, p, lam, D, mean)[0]), D)
    by_bias = (loss.column_curvature(p) @ d[:, :, None])[:, :, 0]
    torch.testing.assert_close(mean.by_bias(by_bias), d)


@pytest.mark.parametrize(("labels", "n_classes", "empty"), [
    ([0, 2, 2], 3, [1]), ([0, 1, 2], 2, []),
])  # fmt: skip
def test_a_class_without_examples_is_refused(labels, n_classes, empty):
    with refused("probe.classes_invalid", empty=empty):
        Softmax.of(torch.tensor(labels), n_classes)


NAN = float("nan")


@pytest.mark.parametrize(("labels", "code", "values"), [
    ([[-1, -1], [1, -1]], "label_constant", {"column": 1, "present": "no"}),
    ([[1, -1], [1, 1]], "label_constant", {"column": 0, "present": "every"}),
    # Examples that are left out do not count.
    ([[1, 0], [-1, 0], [1, 0]], "label_constant", {"column": 1, "present": "no"}),
    ([[1, -1], [-1, 0], [1, -1]], "label_constant", {"column": 1, "present": "no"}),
    ([[1, 0], [-1, 1], [1, 1]], "label_constant", {"column": 1, "present": "every"}),
    ([[1, 1], [-1, -1], [1, 2]], "labels_invalid", {"row": 2, "column": 1}),
    ([[1, 1], [-1, NAN], [1, -1]], "labels_invalid", {"row": 1, "column": 1}),
])  # fmt: skip
def test_labels_that_cannot_be_fitted(labels, code, values):
    with refused(f"probe.{code}", **values):
        Binary.of(torch.tensor(labels))


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.float32])
def test_an_example_that_is_left_out_counts_for_nothing(dtype):
    loss = Binary.of(torch.tensor([[1, -1], [0, 1], [-1, 0], [-1, 1]], dtype=dtype))
    assert loss.counts[:, 0].tolist() == [[2, 1], [1, 2]]
    A = torch.tensor([[[3.0, 1e30, 2.0, -1.0]], [[0.5, -2.0, -1e30, 40.0]]])
    values, residual, p = loss.look(A)
    left_out = loss.signs == 0
    assert residual[left_out].tolist() == p[left_out].tolist() == [0, 0]
    A[left_out] = 0
    assert loss.look(A)[0].tolist() == values.tolist()
