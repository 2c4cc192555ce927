"""The certificate against the dual written out, and against far tighter solutions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import entr, expit, softmax

from headstart.probe import Binary, Softmax, certify
from headstart.probe import certificate as module
from probes import fit, many_labels, objective, problem


def judge(X, y, coef, bias, lam):
    """Certify one solution: objective, gap, and the bias that goes with them."""
    y = torch.from_numpy(y)
    binary = y.ndim == 2
    loss = Binary.of(2 * y - 1) if binary else Softmax.of(y, int(y.max()) + 1)
    shape = (len(coef), 1) if binary else (1, len(coef))
    found = certify(
        X,
        torch.from_numpy(X.mean(0, dtype=np.float64)),
        loss,
        torch.full(shape[:1], lam, dtype=torch.float64),
        torch.from_numpy(coef).view(*shape, -1),
        torch.from_numpy(bias).view(shape),
    )
    return float(found.objective.sum()), float(found.gap.sum()), found.bias.flatten().numpy()


@pytest.mark.parametrize("apart", [False, True])
def test_the_gap_is_primal_minus_dual(apart):
    """The closed form against the dual written out: entropies less the squared norm."""
    X, y = many_labels(24, 10, 3) if apart else problem(24, 10, 3)
    lam, coef = 0.7, np.random.RandomState(1).randn(3, 10)
    primal, gap, bias = judge(X, y, coef, np.zeros(3), lam)
    assert primal == pytest.approx(objective(X, y, coef, bias, lam))
    logits = X @ coef.T + bias
    p = expit(logits) if apart else softmax(logits, axis=1)
    residual = (y if apart else np.eye(3)[y]) - p
    np.testing.assert_allclose(residual.sum(0), 0, atol=1e-6)
    entropy = entr(p).sum() + (entr(1 - p).sum() if apart else 0)
    dual = entropy - np.square(residual.T @ X).sum() / (2 * lam)
    assert gap == pytest.approx(primal - dual, rel=1e-6)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from([1e3, 1.0, 1e-2, 1e-5]),
    st.sampled_from([0.0, 1.0, 5.0]),
    st.sampled_from([(24, 10, 3), (12, 30, 4), (40, 3, 2)]),
    st.sampled_from([1e-1, 1e-2, 1e-4]),
    st.booleans(),
)
def test_the_gap_bounds_the_true_distance_to_the_optimum(seed, lam, spread, size, tol, apart):
    """On separable problems too: with d > n, or classes 5 standard deviations apart, all are."""
    n, d, k = size
    X, y = many_labels(n, d, k, seed) if apart else problem(n, d, k, seed, spread)
    (optimum,) = fit(X, y, [lam], 1e-11)
    assert optimum.converged
    (loose,) = fit(X, y, [lam], tol)
    random = np.random.RandomState(seed)
    for coef in (loose.coef, random.randn(*loose.coef.shape) * 0.1, 0 * loose.coef):
        value, gap, bias = judge(X, y, coef, loose.bias, lam)
        assert np.isfinite(gap)
        assert value - gap <= optimum.objective * (1 + 1e-12)
        assert value >= optimum.objective * (1 - 1e-10)
        assert objective(X, y, coef, bias, lam) == pytest.approx(value, rel=1e-6, abs=1e-10)
    assert loose.relative_gap <= tol


def test_without_balanced_residuals_nothing_is_certified(monkeypatch):
    monkeypatch.setattr(module, "NEWTON_STEPS", 0)
    X, labels = problem(24, 10, 3)
    _, gap, _ = judge(X, labels, np.zeros((3, 10)), np.array([3.0, 0, 0]), 1.0)
    assert gap == np.inf


def test_it_judges_anyones_solution():
    """scikit-learn's at a tolerance of 1e-2: far off, and said so."""
    from sklearn.linear_model import LogisticRegression

    X, labels = problem(60, 20, 4, spread=0.3)
    loose = LogisticRegression(C=10, tol=1e-2, max_iter=3).set_params(max_iter=3)
    with pytest.warns(Warning, match="converge"):
        loose.fit(X, labels)
    tight = LogisticRegression(C=10, tol=1e-10, max_iter=10_000).fit(X, labels)
    gaps = []
    for found in (loose, tight):
        value, gap, _ = judge(X, labels, found.coef_, found.intercept_, 0.1)
        gaps.append(gap / value)
    assert gaps[0] > 1e-2
    assert gaps[1] < 1e-8
