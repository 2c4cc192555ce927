"""The axes of features, a basis of them; products in the kernels' own layout are the plain ones."""

import numpy as np
import pytest
import torch

from headstart.probe import LogisticRegressionPath, axes
from headstart.probe.axes import LARGEST_PACKED, Axes, Fast, Packed, multiply, packed
from probes import problem


def centred(X):
    X = X.astype(np.float64)
    return X - X.mean(0)


def some_twice(n=40, d=60):
    X, _ = problem(n, d, dtype=np.float32)
    X[n // 2 :] = X[: n - n // 2]
    return X


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("X", [
    pytest.param(problem(60, 20, dtype=np.float32)[0], id="tall"),
    pytest.param(problem(20, 60, dtype=np.float32)[0], id="wide"),
    pytest.param(problem(30, 30, dtype=np.float32)[0] + 100, id="square, far from zero"),
    pytest.param(some_twice(), id="examples that are there twice"),
    # One direction is too small for the products of examples, and large enough to count.
    pytest.param(problem(20, 60, dtype=np.float32)[0] * np.r_[np.full(50, 1e-7), np.ones(10)]
                 .astype(np.float32), id="scales"),
])  # fmt: skip
def test_axes_are_a_basis_of_the_features(X, dtype):
    found = Axes.of(X, torch.device("cpu"), dtype)
    eps = 1e-5 if dtype == torch.float32 else 1e-12
    Q, Z = found.axes, found.Z.double()
    torch.testing.assert_close(Q.T @ Q, torch.eye(Q.shape[1]).double(), rtol=0, atol=eps)
    whole = torch.from_numpy(centred(X))
    torch.testing.assert_close(Z @ Q.T, whole, rtol=0, atol=eps * float(whole.abs().max()))
    # What is outside their span is no feature.
    torch.testing.assert_close(whole @ Q @ Q.T, whole, rtol=0, atol=eps * float(whole.abs().max()))
    torch.testing.assert_close(found.variance, Z.square().sum(0), rtol=1e-6, atol=0)


def test_wide_features_need_a_factorization_only_where_small_directions_count(monkeypatch):
    def missing(_):
        raise AssertionError("factorized")

    monkeypatch.setattr(torch.linalg, "qr", missing)
    device, single = torch.device("cpu"), torch.float32
    for X in (problem(20, 60, dtype=np.float32)[0] + 100, some_twice()):
        assert Axes.of(X, device, single).Z.shape[1] < len(X)
    X = problem(20, 60, dtype=np.float32)[0]
    X[:, 10:] *= 1e-6
    with pytest.raises(AssertionError, match="factorized"):
        Axes.of(X, device, single)


def features(n=70, r=33, dtype=torch.float32):
    return torch.from_numpy(np.random.RandomState(0).randn(n, r)).to(dtype)


@pytest.mark.parametrize("shape", [(1, 1), (1, 10), (3, 7), (4, 64)])
@pytest.mark.parametrize("size", [(70, 33), (1, 1), (257, 768)])
def test_products_are_the_plain_ones(shape, size):
    Z = features(*size)
    here, plain = packed(Z), Fast(Z.double())
    W, residual = (torch.randn(*shape, side, generator=torch.Generator()) for side in Z.T.shape)
    for found, expected in (
        (here.forward(W), plain.forward(W)),
        (here.back(residual), plain.back(residual)),
        # Not side by side in memory, as they come.
        (here.forward(W.flip(1).mT.contiguous().mT), plain.forward(W.flip(1))),
    ):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-4)


def test_bfloat16_products_are_rounded_and_no_more():
    Z = features(dtype=torch.bfloat16)
    here, plain = packed(Z), Fast(Z)
    W = torch.randn(2, 5, 33, generator=torch.Generator())
    assert here.forward(W).dtype == torch.float32
    torch.testing.assert_close(here.forward(W), plain.forward(W), rtol=1e-2, atol=1e-1)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch was built without it")
def test_todays_torch_has_the_operators():
    assert isinstance(packed(features()), Packed)


@pytest.mark.parametrize("why", ["float64", "large"])
def test_products_are_plain_where_packing_does_not_pay(why, monkeypatch):
    if why == "large":
        monkeypatch.setattr(axes, "LARGEST_PACKED", 70 * 33 - 1)
    Z = features(dtype=torch.float64 if why == "float64" else torch.float32)
    assert type(packed(Z)) is Fast
    # One layout in float32, two in bfloat16.
    assert 4 * LARGEST_PACKED == 2 * 2 * LARGEST_PACKED == 256 << 20


@pytest.mark.parametrize("error", [RuntimeError, AttributeError])
def test_a_torch_without_the_operators_multiplies_plainly(error, monkeypatch):
    def missing(*_):
        raise error("no such operator")

    X, y = problem(1200, 400, 10)
    expected = LogisticRegressionPath(lambdas=[1, 0.1]).fit(X, y)
    monkeypatch.setattr(axes, "_linear", missing)
    assert type(packed(features())) is Fast
    found = LogisticRegressionPath(lambdas=[1, 0.1]).fit(X, y)
    assert found.converged_path_.all()
    assert expected.converged_path_.all()
    np.testing.assert_allclose(found.objective_path_, expected.objective_path_, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_product_with_a_matrix_of_any_strides_is_the_plain_one(dtype):
    A, B = features(20, 33, dtype), features(50, 40, dtype)
    for other in (B[:, :33].contiguous(), B[:, :33].T.contiguous().T, B[:, :33], B[::2, :33]):
        found = multiply(A, other)
        torch.testing.assert_close(found, A @ other.T, rtol=1e-5, atol=1e-4)
