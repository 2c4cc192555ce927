"""The axes of features: a basis of them, in which they are the same features."""

import numpy as np
import pytest
import torch

from headstart.probe.axes import Axes
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
