"""Labels apart that each leave out examples of their own: as if these were not there."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from headstart.probe import Binary, certify
from headstart.probe.estimator import lbfgs_path
from probes import fit, fit_loss, objective, some_left_out

PAPERS = np.logspace(5, -6, 45)


def far_out(X, signs):
    """Put what the first label leaves out far from all else; no label counts it."""
    X, signs, out = X.copy(), signs.copy(), signs[:, 0] == 0
    X[out], signs[out] = 30 * X[out] + 100, 0
    return X, signs


@pytest.mark.parametrize("far", [False, True])
@pytest.mark.parametrize(("n", "d"), [(60, 20), (30, 30), (25, 80), (300, 8)])
def test_each_label_equals_scikit_learns_fit_of_its_own_examples(n, d, far):
    X, signs = some_left_out(n, d)
    if far:
        X, signs = far_out(X, signs)
    for found in fit_loss(X, Binary.of(torch.from_numpy(signs)), [100.0, 3.0, 0.1], 1e-13):
        assert found.converged
        for k, sign in enumerate(signs.T):
            own = sign != 0
            reference = LogisticRegression(C=1 / found.lam, tol=1e-12, solver="newton-cholesky")
            reference.fit(X[own], sign[own])
            np.testing.assert_allclose(found.coef[k], reference.coef_[0], atol=2e-6)
            assert found.bias[k] == pytest.approx(reference.intercept_[0], abs=2e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_whole_path_is_certified(dtype):
    X, signs = some_left_out(80, 30, dtype=dtype)
    fits = fit_loss(X, Binary.of(torch.from_numpy(signs)), PAPERS[::4])
    for found in fits:
        assert found.converged
        value = optimum = 0.0
        for k, sign in enumerate(signs.T):
            mine, y = X[sign != 0], (sign[sign != 0, None] + 1) // 2
            value += objective(mine, y, found.coef[[k]], found.bias[[k]], found.lam)
            optimum += fit(mine.astype(float), y, [found.lam], 1e-9)[0].objective
        assert found.objective == pytest.approx(value, rel=1e-6)
        assert value <= optimum * (1 + 1e-4)


def test_a_certificate_is_that_of_the_examples_that_count():
    """Of any weights; with the sum of squares that is written out in test_certificate."""
    X, signs = some_left_out(40, 10)
    random = np.random.RandomState(2)
    coef, bias = torch.from_numpy(random.randn(3, 1, 10)), torch.zeros(3, 1).double()
    lam, mean = torch.tensor([0.5, 1.0, 7.0]).double(), torch.from_numpy(X.mean(0))
    found = certify(X, mean, Binary.of(torch.from_numpy(signs)), lam, coef, bias)
    for k, sign in enumerate(signs.T):
        own = sign != 0
        alone = Binary.of(torch.from_numpy(sign[own, None]))
        one = slice(k, k + 1)
        mine = certify(
            X[own], torch.from_numpy(X[own].mean(0)), alone, lam[one], coef[one], bias[one]
        )
        torch.testing.assert_close(found.objective[one], mine.objective)
        torch.testing.assert_close(found.gap[one], mine.gap, rtol=1e-5, atol=0)
        torch.testing.assert_close(found.bias[one], mine.bias, rtol=0, atol=1e-6)


def test_the_reference_leaves_them_out_too():
    X, signs = some_left_out()
    loss = Binary.of(torch.from_numpy(signs))
    reference = lbfgs_path(X, loss, [30.0, 0.3], 1e-12, max_passes=100_000)
    for found, other in zip(fit_loss(X, loss, [30.0, 0.3], 1e-12), reference, strict=True):
        np.testing.assert_allclose(found.coef, other.coef, atol=1e-5)
        np.testing.assert_allclose(found.bias, other.bias, atol=1e-4)
