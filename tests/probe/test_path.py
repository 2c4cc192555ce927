import numpy as np
import pytest
from headstart.probe.basis import principal_basis
from headstart.probe.objective import certify, objective_and_gradient
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import check_grad
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression

from headstart.probe import fit_path, path


def problem(n=60, d=20, k=4, seed=0, spread=1.0):
    random = np.random.RandomState(seed)
    labels = np.arange(n) % k
    X = random.randn(n, d) + spread * random.randn(k, d)[labels]
    return X.astype(np.float32), labels


def objective(X, labels, coef, bias, lam):
    """The objective as the issue writes it, in a line."""
    logits = X.astype(np.float64) @ coef.T + bias
    losses = logsumexp(logits, axis=1) - logits[np.arange(len(labels)), labels]
    return losses.sum() + lam / 2 * (coef**2).sum()


@pytest.mark.parametrize(("n", "d"), [(60, 20), (30, 30), (25, 80), (300, 8)])
def test_coefficients_equal_scikit_learns(n, d):
    X, labels = problem(n, d)
    for fit in fit_path(X, labels, 4, [10.0, 1.0, 0.1], tolerance=1e-12):
        reference = LogisticRegression(C=1 / fit.lam, tol=1e-12, max_iter=100_000)
        reference.fit(X.astype(np.float64), labels)
        np.testing.assert_allclose(fit.coef, reference.coef_, atol=1e-5)
        # Biases are determined up to a constant that all classes share.
        difference = fit.bias - reference.intercept_
        np.testing.assert_allclose(difference, difference.mean(), atol=1e-4)


def test_two_classes_equal_scikit_learns_binary_fit():
    X, labels = problem(k=2)
    (fit,) = fit_path(X, labels, 2, [1.0], tolerance=1e-10)
    # Two opposite columns share the penalty: as one column, half of it.
    reference = LogisticRegression(C=2.0, tol=1e-12, max_iter=100_000)
    reference.fit(X.astype(np.float64), labels)
    np.testing.assert_allclose(fit.coef[1] - fit.coef[0], reference.coef_[0], atol=1e-5)


def test_gradient_by_finite_differences():
    X, labels = problem(30, 5, 3)
    Z = X.astype(np.float64)

    def parts(vector):
        return objective_and_gradient(Z, labels, vector[:15].reshape(5, 3), vector[15:], 0.7)

    start = np.random.RandomState(1).randn(18)
    error = check_grad(
        lambda v: parts(v)[0], lambda v: np.concatenate([p.ravel() for p in parts(v)[1:]]), start
    )
    assert error < 1e-4


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1e2, 1.0, 1e-2]), st.floats(0.0, 3.0))
def test_the_gap_bounds_the_true_distance_to_the_optimum(seed, lam, spread):
    X, labels = problem(24, 10, 3, seed, spread)
    Z = principal_basis(X).Z
    (optimum,) = fit_path(X, labels, 3, [lam], tolerance=1e-9)
    random = np.random.RandomState(seed)
    W = random.randn(Z.shape[1], 3) * 0.1
    certificate = certify(Z, labels, W, np.zeros(3), lam)
    assert certificate.objective - certificate.gap <= optimum.objective * (1 + 1e-9)
    assert certificate.objective >= optimum.objective * (1 - 1e-9)


def test_the_whole_path_converges_and_says_so():
    X, labels = problem(80, 200, 5, spread=0.3)
    lambdas = np.logspace(5, -6, 45)
    fits = list(fit_path(X, labels, 5, lambdas))
    assert [fit.lam for fit in fits] == lambdas.tolist()
    for fit in fits:
        assert fit.converged
        assert -1e-9 <= fit.relative_gap <= 1e-4
        found = objective(X, labels, fit.coef, fit.bias, fit.lam)
        assert fit.objective == pytest.approx(found, rel=1e-6)
    # Less penalty, smaller optimum.
    assert (np.diff([fit.objective for fit in fits]) < 0).all()


def test_the_separable_end_goes_where_scikit_learns_default_stops_short():
    X, labels = problem(80, 200, 5, spread=0.3)
    *_, fit = fit_path(X, labels, 5, np.logspace(5, -6, 45))
    default = LogisticRegression(C=1e6, warm_start=True).fit(X, labels)
    stopped = objective(X, labels, default.coef_, default.intercept_, 1e-6)
    assert fit.objective < stopped


def test_a_fit_that_runs_out_of_evaluations_is_not_called_converged(monkeypatch):
    monkeypatch.setattr(path, "MAX_EVALUATIONS", 3)
    X, labels = problem(80, 200, 5)
    (fit,) = fit_path(X, labels, 5, [1e-6])
    assert not fit.converged
    assert fit.relative_gap > 1e-4


def hard_problems():
    random = np.random.RandomState(0)
    # One example far out: its logits saturate.
    outlier = np.zeros((31, 1))
    outlier[-1] = 1e4
    yield outlier, np.arange(31) % 3
    yield np.concatenate([random.randn(30, 5), np.full((1, 5), 1e4)]), np.arange(31) % 3
    for scale in (1e-4, 1e-2, 1, 30, 1000, 1e4):
        yield scale * random.randn(60, 100), np.arange(60) % 4


@pytest.mark.parametrize("case", range(8))
def test_a_certificate_holds_on_problems_that_float64_hardly_resolves(case):
    X, labels = list(hard_problems())[case]
    n_classes = labels.max() + 1
    fits = list(fit_path(X, labels, n_classes, np.logspace(5, -6, 12)))
    assert sum(fit.converged for fit in fits) >= 10
    for fit in fits:
        assert fit.converged == (0 <= fit.relative_gap <= 1e-4)
    # A far tighter solution lies within the gap of the loose one.
    for fit in fits[:9]:
        (tight,) = fit_path(X, labels, n_classes, [fit.lam], tolerance=1e-8)
        if tight.converged and fit.converged:
            assert fit.objective * (1 - fit.relative_gap) <= tight.objective * (1 + 1e-12)


def test_without_balanced_residuals_nothing_is_certified(monkeypatch):
    from headstart.probe import objective as module

    monkeypatch.setattr(module, "NEWTON_STEPS", 0)
    X, labels = problem(24, 10, 3)
    certificate = certify(X.astype(float), labels, np.zeros((10, 3)), np.array([3.0, 0, 0]), 1.0)
    assert certificate.gap == np.inf


def test_the_gap_is_primal_minus_dual():
    """The closed form against the dual written out: entropies less the squared norm."""
    from scipy.special import entr, softmax

    X, labels = problem(24, 10, 3)
    Z, lam = X.astype(np.float64), 0.7
    W = np.random.RandomState(1).randn(10, 3)
    certificate = certify(Z, labels, W, np.zeros(3), lam)
    probabilities = softmax(Z @ W + certificate.bias, axis=1)
    residual = np.eye(3)[labels] - probabilities
    dual = entr(probabilities).sum() - np.square(Z.T @ residual).sum() / (2 * lam)
    primal = objective(X, labels, W.T, certificate.bias, lam)
    assert certificate.objective == pytest.approx(primal)
    assert certificate.gap == pytest.approx(primal - dual, rel=1e-6)


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_constant_duplicated_and_badly_scaled_features(scale):
    X, labels = problem()
    X = np.concatenate([X, X[:, :3], np.full((len(X), 1), 7.0)], axis=1).astype(np.float64)
    lam = scale**2
    (fit,) = fit_path(X * scale, labels, 4, [lam], tolerance=1e-9)
    (plain,) = fit_path(X, labels, 4, [1.0], tolerance=1e-9)
    # Features times s and lambda times s^2 is the same problem in other units.
    np.testing.assert_allclose(fit.coef * scale, plain.coef, atol=1e-5)
    np.testing.assert_allclose(fit.coef[:, -1], 0, atol=1e-9 / scale)


def test_features_far_from_zero_mean():
    X, labels = problem()
    (near,) = fit_path(X.astype(np.float64), labels, 4, [1.0], tolerance=1e-9)
    (far,) = fit_path(X.astype(np.float64) + 1e4, labels, 4, [1.0], tolerance=1e-9)
    np.testing.assert_allclose(far.coef, near.coef, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_invariances(seed):
    X, labels = problem(30, 8, 3, seed)
    random = np.random.RandomState(seed)
    order, names = random.permutation(30), random.permutation(3)
    rotation = np.linalg.qr(random.randn(8, 8))[0]
    (plain,) = fit_path(X, labels, 3, [0.5], tolerance=1e-9)
    (changed,) = fit_path((X @ rotation)[order], names[labels][order], 3, [0.5], tolerance=1e-9)
    np.testing.assert_allclose(changed.coef[names], plain.coef @ rotation, atol=1e-4)
    (doubled,) = fit_path(
        np.concatenate([X, X]), np.concatenate([labels, labels]), 3, [1.0], tolerance=1e-9
    )
    np.testing.assert_allclose(doubled.coef, plain.coef, atol=1e-4)


def test_scores_are_the_logits():
    X, labels = problem()
    (fit,) = fit_path(X, labels, 4, [1.0])
    np.testing.assert_allclose(fit.scores(X), X @ fit.coef.T + fit.bias, rtol=1e-4, atol=1e-4)
    assert fit.scores(X[:0]).shape == (0, 4)
    assert (fit.scores(X).argmax(axis=1) == labels).mean() > 0.9
