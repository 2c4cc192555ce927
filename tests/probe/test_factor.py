"""The Hessian written out, and the few-dimensional problems at small lambdas that need it."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from headstart.probe import Binary, Softmax, hessian, newton
from headstart.probe.axes import eigenvectors
from headstart.probe.hessian import Factors
from probes import fit, many_labels, objective, problem, some_left_out

SMALL = np.logspace(-3, -6, 7)


def deep(seed=0, n=300, d=16, k=10):
    """Features of four random layers with ReLU, in which the classes all but separate.

    On these the solver once gave up after 3,000 passes, a gap of 5 times the objective left.
    """
    random = np.random.RandomState(seed)
    labels = np.arange(n) % k
    X = random.randn(n, d) + 2 * random.randn(k, d)[labels]
    for _ in range(4):
        X = np.maximum(X @ (random.randn(d, d) * np.sqrt(2 / d)) + 0.1 * random.randn(d), 0)
    return X, labels


def dead(n=200, d=16, k=5):
    """ReLU features of many scales, some always 0, some constant, some there twice."""
    random = np.random.RandomState(0)
    labels = np.arange(n) % k
    X = np.maximum(random.randn(n, d) + 1.5 * random.randn(k, d)[labels], 0)
    X *= 10.0 ** np.linspace(1, -2, d)
    X[:, ::4], X[:, 1::4], X[:, 2::4] = 0, 3, X[:, 3::4]
    return X, labels


def few_exceptions(n=300, d=16, k=6):
    """Classes far apart, but for five examples that have twins of another class."""
    X, labels = problem(n, d, k, spread=3.0)
    X[:5] = X[5:10]
    return X, labels


def exceptions_of_labels():
    """Separable by each label but for a few examples."""
    X, Y = many_labels(200, 12)
    Y = (X[:, :3] > 0).astype(int)
    X[:4] = X[4:8]
    Y[:4] = 1 - Y[4:8]
    return X, Y


def written_out(X, p, lam):
    """The Hessian by (W, b) of the softmax losses and the penalty: a sum over examples."""
    ones = np.concatenate([X, np.ones((len(X), 1))], axis=1)
    total = sum(
        np.kron(np.diag(q) - np.outer(q, q), np.outer(x, x)) for x, q in zip(ones, p, strict=True)
    )
    penalty = np.tile(np.r_[np.full(X.shape[1], lam), 0], p.shape[1])
    return total + np.diag(penalty)


def looked_at(loss, shape, seed=0):
    A = torch.from_numpy(3 * np.random.RandomState(seed).randn(*shape))
    return loss.look(A)


def test_a_factor_solves_the_newton_system_of_a_softmax(monkeypatch):
    monkeypatch.setattr(hessian, "WEIGHTED", 99)
    X, labels = problem(40, 5, 3)
    loss = Softmax.of(torch.as_tensor(labels), 3)
    _, residual, p = looked_at(loss, (2, 3, 40))
    lam = torch.tensor([0.5, 1e-3], dtype=torch.float64)
    Z = torch.from_numpy(X)
    G, g = loss.centre(residual @ Z), residual.sum(2)
    S, s = Factors(Z).make(loss, p, lam)(G, g)
    for i in range(2):
        matrix = written_out(X, p[i].numpy().T, float(lam[i]))
        whole = np.concatenate([G[i].numpy(), g[i, :, None].numpy()], axis=1)
        # The bias that all classes share is free: its least is nothing.
        expected = np.linalg.lstsq(matrix, whole.ravel(), rcond=1e-12)[0].reshape(3, 6)
        np.testing.assert_allclose(loss.centre(S)[i], expected[:, :-1], atol=1e-7)
        np.testing.assert_allclose(loss.centre(s)[i], expected[:, -1], atol=1e-7)


def test_a_factor_solves_each_label_over_the_examples_that_count():
    X, Y = some_left_out(50, 4, 3)
    loss = Binary.of(torch.as_tensor(Y))
    _, residual, p = looked_at(loss, (3, 1, 50))
    Z, lam = torch.from_numpy(X), torch.full((3,), 0.1, dtype=torch.float64)
    S, s = Factors(Z).make(loss, p, lam)(residual @ Z, residual.sum(2))
    ones = np.concatenate([X, np.ones((50, 1))], axis=1)
    for k in range(3):
        counts = Y[:, k] != 0
        weights = p[k, 0].numpy()[counts]
        hessian = (weights[:, None] * ones[counts]).T @ ones[counts] + np.diag([0.1] * 4 + [0])
        gradient = residual[k, 0].numpy()[counts] @ ones[counts]
        expected = np.linalg.solve(hessian, gradient)
        np.testing.assert_allclose(np.r_[S[k, 0], s[k, 0]], expected, atol=1e-9)


def test_a_hessian_of_lower_rank_than_rounding_sees_still_has_a_factor():
    Z = torch.ones(30, 4, dtype=torch.float64)
    loss = Softmax.of(torch.arange(30) % 3, 3)
    _, residual, p = looked_at(loss, (1, 3, 30))
    lam = torch.tensor([1e-20], dtype=torch.float64)
    S, s = Factors(Z).make(loss, p, lam)(residual @ Z, residual.sum(2))
    assert S.isfinite().all()
    assert s.isfinite().all()


def test_the_last_factor_serves_lambdas_near_it_alone():
    loss = Softmax.of(torch.arange(20) % 2, 2)
    factors = Factors(torch.randn(20, 3, dtype=torch.float64))
    lam = torch.tensor([1.0], dtype=torch.float64)
    assert factors.recall(lam) is None
    made = factors.make(loss, looked_at(loss, (1, 2, 20))[2], lam)
    assert factors.recall(lam / 3) is made
    assert factors.recall(lam / 30) is None
    assert factors.recall(lam.repeat(2)) is None


def test_a_large_hessian_is_not_written_out():
    factors = Factors(torch.zeros(10, 2048))
    assert factors.fit(1, 1)
    assert not factors.fit(1, 10)
    assert not factors.fit(20, 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("X", "labels"), [
    pytest.param(*deep(0), id="deep"), pytest.param(*deep(1), id="deep too"),
    pytest.param(*dead(), id="dead"), pytest.param(*few_exceptions(), id="few exceptions"),
])  # fmt: skip
def test_few_dimensions_are_certified_at_small_lambdas(X, labels, dtype):
    X = X.astype(dtype)
    fits = fit(X, labels, SMALL, dtype=getattr(torch, np.dtype(dtype).name))
    assert [found.lam for found in fits if not found.converged] == []
    # Far from the limit, too: the Hessian is written out instead of hundreds of steps.
    assert max(found.passes for found in fits) < 600
    found = fits[-1]
    reference = LogisticRegression(C=1 / found.lam, solver="newton-cholesky", tol=1e-9)
    reference.fit(X.astype(np.float64), labels)
    optimum = objective(X, labels, reference.coef_, reference.intercept_, found.lam)
    assert found.objective <= optimum * (1 + 1e-4)
    assert found.objective >= optimum * (1 - 1e-4)


def test_labels_apart_are_certified_at_small_lambdas():
    X, Y = exceptions_of_labels()
    fits = fit(X, Y, SMALL)
    assert all(found.converged for found in fits)
    found = fits[-1]
    for k in range(3):
        reference = LogisticRegression(C=1 / found.lam, solver="newton-cholesky", tol=1e-9)
        reference.fit(X, Y[:, k])
        optimum = objective(X, Y[:, [k]], reference.coef_, reference.intercept_, found.lam)
        value = objective(X, Y[:, [k]], found.coef[[k]], found.bias[[k]], found.lam)
        assert value == pytest.approx(optimum, rel=1e-4)


def test_a_step_that_is_seen_to_do_harm_is_not_taken(monkeypatch):
    """Rounding once led it far astray where it promised less than float32 can see."""
    X, labels = few_exceptions()
    risen = []
    whole = newton._step

    def watched(batch, logits, point, products, system):
        after, moved, stuck, looked = whole(batch, logits, point, products, system)
        value = after.loss.look(moved)[0] + after.lam / 2 * products.penalty(after.W)
        risen.append(float((value / point.objective).max()))
        return after, moved, stuck, looked

    monkeypatch.setattr(newton, "_step", watched)
    fit(X.astype(np.float32), labels, SMALL, dtype=torch.float32)
    assert max(risen) < 1.01


def test_an_eigenproblem_that_does_not_converge_is_solved_another_way(monkeypatch):
    random = torch.Generator().manual_seed(0)
    X = torch.randn(40, 7, generator=random)
    gram = X.T @ X
    expected, axes = torch.linalg.eigh(gram)

    def fail(_):
        raise torch.linalg.LinAlgError("the algorithm failed to converge")

    monkeypatch.setattr(torch.linalg, "eigh", fail)
    values, vectors = eigenvectors(gram)
    assert values.dtype == vectors.dtype == gram.dtype
    torch.testing.assert_close(values, expected, rtol=1e-4, atol=1e-4)
    # The same directions, whatever their signs.
    torch.testing.assert_close((vectors * axes).sum(0).abs(), torch.ones(7), rtol=1e-4, atol=1e-4)
