"""Factors of the Hessian, and the problems at small lambdas that need them."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from headstart.probe import Binary, Softmax, hessian, newton
from headstart.probe.axes import eigenvectors
from headstart.probe.hessian import CholeskyFactor, Factors, LowRankFactor
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


def optimum(X, labels, lam):
    """The least objective, by scikit-learn."""
    reference = LogisticRegression(C=1 / lam, solver="newton-cholesky", tol=1e-9)
    reference.fit(X.astype(np.float64), labels.ravel())
    return objective(X, labels, reference.coef_, reference.intercept_, lam)


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


def factors_of(Z):
    return Factors(Z, Z.double().square().sum(0))


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
    S, s = factors_of(Z).make(loss, p, lam)(G, g)
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
    S, s = factors_of(Z).make(loss, p, lam)(residual @ Z, residual.sum(2))
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
    S, s = factors_of(Z).make(loss, p, lam)(residual @ Z, residual.sum(2))
    assert S.isfinite().all()
    assert s.isfinite().all()


def test_the_last_factor_serves_lambdas_near_it_alone():
    loss = Softmax.of(torch.arange(20) % 2, 2)
    own = factors_of(torch.randn(20, 3, dtype=torch.float64))
    lam = torch.tensor([1.0], dtype=torch.float64)
    assert own.recall(lam) is None
    made = own.make(loss, looked_at(loss, (1, 2, 20))[2], lam)
    assert own.recall(lam / 30) is made
    assert own.recall(lam / 40) is None
    assert own.recall(lam.repeat(2)) is None


def test_a_large_hessian_is_not_written_out():
    own = factors_of(torch.zeros(10, 2048))
    assert own.whole(1, 1)
    assert not own.whole(1, 10)
    assert not own.whole(20, 1)


def test_factors_of_many_problems_keep_fewer_parts():
    own = factors_of(torch.zeros(10, 1280))
    assert own.n_parts(1) == hessian.MOST_PARTS
    for n_problems in (11, 100, 10_000):
        m = own.n_parts(n_problems)
        assert 1 <= m < hessian.MOST_PARTS
        assert m == 1 or n_problems * m * (m + 1280) <= hessian.LARGEST


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_the_parts_of_a_softmax_add_up_to_its_hessians(n_classes):
    loss = Softmax.of(torch.arange(20) % n_classes, n_classes)
    _, _, p = looked_at(loss, (2, n_classes, 20))
    rows, vectors = loss.largest_parts(p, torch.ones(20), 10**6)
    for i in range(2):
        found = torch.zeros(20, n_classes, n_classes, dtype=torch.float64)
        found.index_add_(0, rows[i], vectors[i, :, :, None] * vectors[i, :, None])
        q = p[i].T
        expected = torch.diag_embed(q) - q[:, :, None] * q[:, None]
        torch.testing.assert_close(found, expected)


def test_the_largest_parts_come_first_and_weigh_as_much_as_their_examples():
    loss = Softmax.of(torch.arange(30) % 6, 6)
    _, _, p = looked_at(loss, (1, 6, 30))
    weights = torch.linspace(1, 100, 30, dtype=torch.float64)
    rows, vectors = loss.largest_parts(p, weights, 7)
    sizes = vectors.square().sum(2)[0] * weights[rows[0]]
    pairs = p[0][:, None] * p[0][None]
    every = torch.cat([2 * pairs[j, k] * weights for j in range(6) for k in range(j)])
    torch.testing.assert_close(sizes, every.sort(descending=True).values[:7])


def test_the_parts_of_a_label_leave_out_examples_that_do_not_count():
    _, Y = some_left_out(50, 4, 3)
    loss = Binary.of(torch.as_tensor(Y))
    _, _, p = looked_at(loss, (3, 1, 50))
    rows, vectors = loss.largest_parts(p, torch.ones(50), 50)
    for k in range(3):
        found = torch.zeros(50, dtype=torch.float64)
        found.index_add_(0, rows[k], vectors[k, :, 0] ** 2)
        torch.testing.assert_close(found, p[k, 0])
        assert not found[torch.as_tensor(Y[:, k] == 0)].any()


@pytest.mark.parametrize("kind", ["softmax", "labels"])
def test_a_factor_that_keeps_all_parts_solves_the_newton_system(monkeypatch, kind):
    if kind == "softmax":
        X, labels = problem(40, 5, 3)
        loss, shape = Softmax.of(torch.as_tensor(labels), 3), (2, 3, 40)
    else:
        X, Y = some_left_out(40, 5, 2)
        loss, shape = Binary.of(torch.as_tensor(Y)), (2, 1, 40)
    _, residual, p = looked_at(loss, shape)
    lam = torch.tensor([0.5, 1e-3], dtype=torch.float64)
    Z = torch.from_numpy(X)
    G, g = loss.centre(residual @ Z), loss.centre(residual.sum(2))
    whole = factors_of(Z).make(loss, p, lam)
    monkeypatch.setattr(Factors, "whole", lambda *_: False)
    low_rank = factors_of(Z).make(loss, p, lam)
    assert (type(whole), type(low_rank)) == (CholeskyFactor, LowRankFactor)
    for found, expected in zip(low_rank(G, g), whole(G, g), strict=True):
        np.testing.assert_allclose(loss.centre(found), loss.centre(expected), atol=1e-5)
    np.testing.assert_allclose(low_rank.take(torch.tensor([1])).by_W(G[1:]), low_rank.by_W(G)[1:])


def test_a_factor_of_few_parts_helps_where_these_are_most_of_the_curvature(monkeypatch):
    monkeypatch.setattr(Factors, "whole", lambda *_: False)
    monkeypatch.setattr(hessian, "MOST_PARTS", 10)
    loss = Softmax.of(torch.arange(60) % 2, 2)
    own = factors_of(torch.randn(60, 4, dtype=torch.float64))
    p = torch.full((1, 2, 60), 0.5, dtype=torch.float64)
    assert not own.help(loss, p)
    p[:, 0, 10:], p[:, 1, 10:] = 1e-9, 1 - 1e-9
    assert own.help(loss, p)


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
    assert found.objective == pytest.approx(optimum(X, labels, found.lam), rel=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_twins_of_another_class_are_certified_at_small_lambdas(dtype):
    """On folders with copies in two classes the solver once gave up after 3,000 passes."""
    random = np.random.RandomState(0)
    X = np.maximum(random.randn(1100, 64) @ random.randn(64, 256) / 8, 0)
    labels = np.r_[np.arange(20), random.randint(0, 20, 1080)]
    X[1000:] = X[:100]
    lambdas = np.logspace(0, -6, 13)
    fits = fit(X.astype(dtype), labels, lambdas, dtype=getattr(torch, np.dtype(dtype).name))
    assert [found.lam for found in fits if not found.converged] == []
    # 560 to 580; with the mean Hessian alone 3,200 in float32 and 960 in float64.
    assert sum(found.passes for found in fits) < 800


def test_few_parts_lead_to_the_same_optimum_as_the_whole(monkeypatch):
    X, labels = few_exceptions()
    monkeypatch.setattr(Factors, "whole", lambda *_: False)
    found = fit(X, labels, SMALL)[-1]
    assert found.converged
    assert found.objective == pytest.approx(optimum(X, labels, found.lam), rel=1e-4)


def test_labels_apart_are_certified_at_small_lambdas():
    X, Y = exceptions_of_labels()
    fits = fit(X, Y, SMALL)
    assert all(found.converged for found in fits)
    found = fits[-1]
    for k in range(3):
        value = objective(X, Y[:, [k]], found.coef[[k]], found.bias[[k]], found.lam)
        assert value == pytest.approx(optimum(X, Y[:, [k]], found.lam), rel=1e-4)


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
