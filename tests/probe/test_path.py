"""The path against scikit-learn, against itself in other clothes, and at its hard ends."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from headstart.devices import BFLOAT16
from headstart.probe import axes, losses, newton, path
from headstart.probe.axes import Exact
from headstart.probe.hessian import Curvature, Factors
from probes import fit, many_labels, objective, problem
from refusals import refused

PAPERS = np.logspace(5, -6, 45)


@pytest.fixture
def watch(monkeypatch):
    """Show each call's first argument to a function, before the call."""

    def begin(place, name, see):
        whole = getattr(place, name)

        def watched(first, *rest, **options):
            see(first)
            return whole(first, *rest, **options)

        monkeypatch.setattr(place, name, watched)

    return begin


@pytest.mark.parametrize(("n", "d"), [(60, 20), (30, 30), (25, 80), (300, 8)])
def test_coefficients_equal_scikit_learns(n, d):
    X, labels = problem(n, d)
    for found in fit(X, labels, [10.0, 1.0, 0.1], 1e-13):
        reference = LogisticRegression(C=1 / found.lam, tol=1e-10, max_iter=100_000).fit(X, labels)
        np.testing.assert_allclose(found.coef, reference.coef_, atol=1e-5)
        # Biases are determined up to a constant that all classes share.
        difference = found.bias - reference.intercept_
        np.testing.assert_allclose(difference, difference.mean(), atol=1e-4)


@pytest.mark.parametrize("kind", ["softmax", "labels"])
@pytest.mark.parametrize("lambdas", [[1e5], [1e5, 1e4, 1e3]])
@pytest.mark.parametrize("tolerance", [1e-4, 1e-2])
def test_a_fit_of_few_examples_tells_classes_apart_at_large_lambdas(kind, lambdas, tolerance):
    """Weights of zero are within the tolerance there; accuracy was once that of one class."""
    X, y = problem(30, 64, 3, spread=0.5) if kind == "softmax" else many_labels(30, 64)
    for found in fit(0.3 * X, y, lambdas, tolerance):
        assert found.converged
        chosen = [y] if kind == "softmax" else y.T
        rows = [found.coef] if kind == "softmax" else found.coef[:, None]
        for labels, coef in zip(chosen, rows, strict=True):
            reference = LogisticRegression(C=1 / found.lam, tol=1e-10).fit(0.3 * X, labels)
            cosine = (coef * reference.coef_).sum() / np.linalg.norm(reference.coef_)
            assert cosine / np.linalg.norm(coef) > 0.99


def test_weights_of_zero_are_right_where_features_are_constant():
    X, labels = np.ones((30, 4)), np.arange(30) % 3
    for found in fit(X, labels, [1e5, 1.0, 1e-6]):
        assert found.converged
        assert found.passes < 30
        assert not found.coef.any()


def test_two_classes_equal_scikit_learns_binary_fit():
    X, labels = problem(k=2)
    (found,) = fit(X, labels, [1.0], 1e-13)
    # Two opposite rows share the penalty: as one row, half of it.
    reference = LogisticRegression(C=2.0, tol=1e-10, max_iter=100_000).fit(X, labels)
    np.testing.assert_allclose(found.coef[1] - found.coef[0], reference.coef_[0], atol=1e-5)


@pytest.mark.parametrize("n_labels", [1, 3])
def test_labels_apart_equal_scikit_learns_binary_fits(n_labels):
    X, Y = many_labels(k=n_labels)
    for found in fit(X, Y, [3.0, 0.3], 1e-13):
        for k in range(n_labels):
            reference = LogisticRegression(C=1 / found.lam, tol=1e-10, max_iter=100_000)
            reference.fit(X, Y[:, k])
            np.testing.assert_allclose(found.coef[k], reference.coef_[0], atol=1e-5)
            assert found.bias[k] == pytest.approx(reference.intercept_[0], abs=1e-4)
        assert found.objective == pytest.approx(objective(X, Y, found.coef, found.bias, found.lam))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "d"), [(80, 200), (400, 30)])
def test_the_whole_path_is_certified(n, d, dtype):
    X, labels = problem(n, d, 5, spread=0.3, dtype=dtype)
    fits = fit(X, labels, PAPERS)
    assert [found.lam for found in fits] == PAPERS.tolist()
    for found in fits:
        assert found.converged
        assert 0 <= found.relative_gap <= 1e-4
        value = objective(X, labels, found.coef, found.bias, found.lam)
        assert found.objective == pytest.approx(value, rel=1e-6)
    # Less penalty, smaller optimum.
    assert (np.diff([found.objective for found in fits]) < 0).all()


def test_the_separable_end_goes_where_scikit_learns_default_stops_short():
    X, labels = problem(80, 200, 5, spread=0.3)
    *_, found = fit(X, labels, PAPERS)
    default = LogisticRegression(C=1e6, warm_start=True).fit(X, labels)
    assert found.objective < objective(X, labels, default.coef_, default.intercept_, 1e-6)


def test_a_path_reaches_what_single_fits_reach():
    X, labels = problem(200, 30, 5, spread=0.5)
    together = fit(X, labels, [100.0, 10.0, 3.0, 1.0, 0.1], 1e-10)
    for found in together:
        (alone,) = fit(X, labels, [found.lam], 1e-10)
        np.testing.assert_allclose(found.coef, alone.coef, atol=1e-5)


@pytest.mark.parametrize("lambdas", [[10.0, 0.1, 1.0], [1.0], [2.0, 1.0], [1e2, 99.0, 1e-5]])
def test_each_wanted_lambda_comes_once(lambdas):
    """Also one that a waypoint falls on: 1 lies halfway from 10 to 0.1."""
    X, labels = problem()
    assert [f.lam for f in fit(X, labels, [*lambdas, lambdas[0]])] == sorted(lambdas, reverse=True)


@pytest.mark.parametrize("max_passes", [1, 10])
def test_the_limit_on_passes_holds_for_the_way_to_a_lambda_too(max_passes, watch):
    X, labels = problem(300, 20, 5, spread=0.2, dtype=np.float32)
    begun = []
    watch(newton, "_newton_step", begun.append)
    (found,) = fit(X, labels, [1e-6], 1e-9, max_passes=max_passes)
    assert not found.converged
    # The waypoints are counted; after the limit one look and one certificate are left.
    assert len(begun) < found.passes


def solver(X, labels, tolerance=1e-8):
    labels = torch.as_tensor(labels)
    if labels.ndim == 2:
        loss = losses.Binary.of(2 * labels - 1)
    else:
        loss = losses.Softmax.of(labels, int(labels.max()) + 1)
    return path._Solver(X, loss, newton.Goal(tolerance, 1000), None, torch.float64)


def test_the_line_search_takes_the_full_step_where_the_penalty_dominates(monkeypatch):
    """The objective is almost quadratic there: one step leaves the error of its solution alone."""
    X, labels = problem(60, 5, 3)
    found = solver(X, labels)
    left = []
    whole = newton._step

    def watched(batch, logits, point, products, system):
        after = whole(batch, logits, point, products, system)
        left.append(float(products.penalty(after[0].W) / products.penalty(batch.W)))
        return after

    monkeypatch.setattr(newton, "_step", watched)
    lam = 1e5
    far = torch.zeros_like(found._nothing.W)
    # Over classes the weights sum to 0, as those of every optimum do.
    far[:, 0], far[:, 1] = 1, -1
    found._solved[lam] = replace(found._nothing, W=far)
    found._descend([lam], found._goal)
    # Squared: conjugate gradients end at this fraction of the gradient. Half a step leaves 1/4.
    assert left[0] <= newton.FORCING**2


@pytest.mark.parametrize(("solved", "exponent", "expected"), [
    # A line through the two nearest of the larger, (3, 27) and (2, 8),
    ([4, 3, 2], 1, -11),
    # to twice the last step at most: to 0, and to 1 from (2.5, 15.625) and (2, 8).
    ([4, 3, 2], -1, -30), ([2.5, 2], 0, -7.25),
    ([2], -1, 8),
    # Between solutions the polynomial through three larger and two smaller: a cubic is exact.
    ([5, 4, 3, 1, 0, -1], 2, 8), ([3, 1], 2, 14),
])  # fmt: skip
def test_a_start_is_the_polynomial_in_log_lambda(solved, exponent, expected):
    """Solutions are the cube of log10(lambda)."""
    found = solver(*problem(60, 5, 3))
    nothing = found._nothing
    for e in solved:
        W, bias = torch.full_like(nothing.W, e**3), torch.full_like(nothing.bias, -(e**3))
        found._solved[10.0**e] = replace(nothing, W=W, bias=bias)
    start = found._predict(10.0**exponent)
    assert start.W.numpy() == pytest.approx(expected, abs=1e-9)
    assert start.bias.numpy() == pytest.approx(-expected, abs=1e-9)


@pytest.mark.parametrize("n", [10, 60])
def test_passes_are_counted(n, watch):
    """One per look, per step of conjugate gradients, and per class for a factor."""
    X, labels = problem(n, 5, 3)
    counted = []
    for place, name, passes in (
        (newton, "_look", 1),
        (Curvature, "__call__", 1),
        (Factors, "make", 3),
    ):
        watch(place, name, lambda _, passes=passes: counted.append(passes))
    (found,) = fit(X, labels, [0.1])
    # And the certificate.
    assert found.passes == sum(counted) + 1


@pytest.mark.parametrize(("before", "lam"), [(4.0, 1.0), (100.0, 30.0), (0.04, 0.01)])
def test_a_start_is_the_better_of_two(before, lam):
    X, labels = problem(60, 5, 3)
    found = solver(X, labels)
    found.descend_to(before)
    last = found._solved[before]
    best = solver(X, labels)
    best.descend_to(lam)
    best = best._solved[lam]

    def value(W, bias):
        coef, bias = (part.numpy() for part in found._axes.to_features(W, bias))
        return objective(X, labels, coef[0], bias[0], lam)

    values = []
    # From the optimum at `lam` to far behind the previous solution.
    for part in np.linspace(0, 3, 31):
        W, bias = (b + part * (a - b) for a, b in ((last.W, best.W), (last.bias, best.bias)))
        found._solved[lam] = replace(found._nothing, W=W, bias=bias)
        batch, _ = found._start([lam])
        started = value(batch.W, batch.bias)
        expected = min(value(W, bias), value(last.W, last.bias))
        assert started == pytest.approx(expected, rel=1e-6)
        values.append(started)
    assert values[0] < values[9] < values[-1]


def rare_label():
    """A rare label beside a common one, whose objective is a hundred times larger."""
    random = np.random.RandomState(0)
    X = random.randn(1000, 30)
    return X, np.stack([X[:, 0] + random.randn(1000) > 0, np.arange(1000) < 3], axis=1).astype(int)


def test_every_label_apart_is_within_the_tolerance():
    X, Y = rare_label()
    for found in fit(X, Y, PAPERS[8:32]):
        assert found.converged
        (alone,) = fit(X, Y[:, 1:], [found.lam], 1e-10)
        value = objective(X, Y[:, 1:], found.coef[1:], found.bias[1:], found.lam)
        assert value <= alone.objective * (1 + 1e-4)


def test_a_label_that_is_done_waits_for_no_other(watch):
    found, active = solver(*rare_label()), []
    watch(newton, "_look", lambda batch: active.append(len(batch.lam)))
    found._descend([1.0], found._goal)
    assert (active[0], active[-1]) == (2, 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(300, 40), (60, 80)])
def test_a_small_feature_beside_large_ones_is_not_lost(shape, dtype):
    """All that tells the classes apart is in the one of scale 1e-4; the others are noise of 1e4."""
    n, d = shape
    random = np.random.RandomState(0)
    signal = random.randn(n)
    labels = (signal + 0.5 * random.randn(n) > 0).astype(int)
    X = np.concatenate([1e4 * random.randn(n, 1), 1e-4 * signal[:, None]], axis=1)
    X = np.concatenate([X, np.zeros((n, d - 2))], axis=1).astype(dtype)
    for found in fit(X, labels, [1e-6, 1e-9]):
        assert found.converged
    assert (found.scores(X).argmax(1) == labels).mean() > 0.8


def test_one_direction_that_dominates_hides_no_other(monkeypatch):
    """Above `SMALL` features float32 finds the axes, and nothing of the small ones but noise."""
    monkeypatch.setattr("headstart.probe.axes.SMALL", 0)
    random = np.random.RandomState(0)
    noise = random.randn(400, 100)
    labels = (noise[:, 0] + noise[:, 1] > 0).astype(int)
    for small in (1e-2, 1e-3):
        X = (random.randn(400, 1) + small * noise).astype(np.float32)
        fits = fit(X, labels, np.logspace(0, -6, 7))
        assert [found.lam for found in fits if not found.converged] == []


def test_blocks_of_rows_and_parts_of_examples_change_nothing(monkeypatch):
    X, labels = problem(100, 30, 4, spread=0.3)
    whole = fit(X, labels, PAPERS[::8], 1e-10)
    monkeypatch.setitem(axes.BLOCK, "cpu", 777)
    monkeypatch.setitem(losses.PART, "cpu", 99)
    for one, other in zip(fit(X, labels, PAPERS[::8], 1e-10), whole, strict=True):
        np.testing.assert_allclose(one.coef, other.coef, atol=1e-6)
        np.testing.assert_allclose(one.scores(X), other.scores(X), atol=1e-5)
    X[61, 3] = np.nan
    with refused("probe.features_not_finite", row=61, column=3):
        fit(X, labels, [1.0])


def test_bad_input_is_told_here_too():
    X, labels = problem()
    with refused("probe.labels_count", labels=60, examples=59):
        fit(X[:59], labels, [1.0])
    with refused("probe.lambdas_invalid", lambdas=[0.0]):
        fit(X, labels, [0.0])


def test_a_fit_that_runs_out_of_passes_is_not_called_converged():
    X, labels = problem(80, 200, 5)
    (found,) = fit(X, labels, [1e-6], 1e-8, max_passes=1)
    assert not found.converged
    assert found.relative_gap > 1e-4
    value = objective(X, labels, found.coef, found.bias, found.lam)
    assert found.objective == pytest.approx(value)


def hard_problems():
    random = np.random.RandomState(0)
    # One example far out: its logits saturate.
    outlier = np.zeros((31, 1))
    outlier[-1] = 1e4
    yield "far out", outlier, np.arange(31) % 3
    outliers = np.concatenate([random.randn(30, 5), np.full((1, 5), 1e4)])
    yield "far out of five", outliers, np.arange(31) % 3
    for scale in (1e-4, 1, 1e4):
        yield f"scale {scale:g}", scale * random.randn(60, 100), np.arange(60) % 4
    X, labels = problem(200, 40, 5)
    yield "mixed scales, tall", X * 10 ** np.linspace(-4, 4, 40), labels
    X, labels = problem(60, 90, 5)
    yield "mixed scales, wide", X * 10 ** np.linspace(-4, 4, 90), labels
    yield "no signal", random.randn(1000, 8), np.arange(1000) % 3
    yield "rare classes", random.randn(500, 20), np.r_[np.zeros(497, int), 1, 2, 1]
    yield "nothing but constants", np.ones((30, 2)), np.arange(30) % 3
    yield "one image a class", random.randn(10, 50), np.arange(10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("X", "labels"), [
    pytest.param(X, labels, id=name) for name, X, labels in hard_problems()
])  # fmt: skip
def test_hard_problems_are_certified(X, labels, dtype):
    fits = fit(X.astype(dtype), labels, np.logspace(5, -6, 12))
    assert [found.lam for found in fits if not found.converged] == []
    for found in fits:
        value = objective(X.astype(dtype), labels, found.coef, found.bias, found.lam)
        # The sum of rounded terms bounds what can be compared.
        assert found.objective == pytest.approx(value, rel=1e-5, abs=1e-10 * len(X))


def test_float64_mends_what_float32_cannot_resolve(monkeypatch):
    """Without the products in float64 the smallest lambdas stay short of the tolerance."""
    random = np.random.RandomState(0)
    X = random.randn(2000, 20).astype(np.float32)
    labels = np.arange(2000) % 7
    single = {"dtype": torch.float32}
    assert all(found.converged for found in fit(X, labels, [1e-3, 1e-6], 1e-8, **single))
    monkeypatch.setattr(Exact, "gradient", lambda *_: pytest.fail("mended"))
    # So small a problem is computed in float64 unless someone wants float32.
    assert all(found.converged for found in fit(X, labels, [1e-3, 1e-6], 1e-8))
    with pytest.raises(pytest.fail.Exception, match="mended"):
        fit(X, labels, [1e-3, 1e-6], 1e-8, **single)


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_units_of_the_features_do_not_matter(scale):
    X, labels = problem()
    X = np.concatenate([X, X[:, :3], np.full((len(X), 1), 7.0)], axis=1)
    (found,) = fit(X * scale, labels, [scale**2], 1e-12)
    (plain,) = fit(X, labels, [1.0], 1e-12)
    # Features times s and lambda times s^2 is the same problem in other units.
    np.testing.assert_allclose(found.coef * scale, plain.coef, atol=1e-5)
    np.testing.assert_allclose(found.coef[:, -1] * scale, 0, atol=1e-9)


@pytest.mark.parametrize(("dtype", "atol"), [(np.float64, 1e-5), (np.float32, 3e-3)])
def test_features_far_from_zero_mean(dtype, atol):
    X, labels = problem()
    far = (X + 1e4).astype(dtype)
    (near,) = fit(far.astype(np.float64) - 1e4, labels, [1.0], 1e-12)
    (found,) = fit(far, labels, [1.0], 1e-6 if dtype == np.float32 else 1e-12)
    assert found.converged
    np.testing.assert_allclose(found.coef, near.coef, atol=atol)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_invariances(seed):
    X, labels = problem(30, 8, 3, seed)
    random = np.random.RandomState(seed)
    order, names = random.permutation(30), random.permutation(3)
    rotation = np.linalg.qr(random.randn(8, 8))[0]
    (plain,) = fit(X, labels, [0.5], 1e-12)
    (changed,) = fit((X @ rotation)[order], names[labels][order], [0.5], 1e-12)
    np.testing.assert_allclose(changed.coef[names], plain.coef @ rotation, atol=1e-5)
    (doubled,) = fit(np.concatenate([X, X]), np.concatenate([labels, labels]), [1.0], 1e-12)
    np.testing.assert_allclose(doubled.coef, plain.coef, atol=1e-5)
    (repeated,) = fit(np.concatenate([X, X], axis=1), labels, [1.0], 1e-12)
    # Two copies of a feature do with half the weight each what one does at half the penalty.
    np.testing.assert_allclose(2 * repeated.coef[:, :8], plain.coef, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_same_bits_again(dtype):
    X, labels = problem(300, 40, 5, dtype=dtype)
    for one, other in zip(fit(X, labels, PAPERS), fit(X, labels, PAPERS), strict=True):
        np.testing.assert_array_equal(one.coef, other.coef)
        assert one.relative_gap == other.relative_gap


@pytest.mark.parametrize("native", [True, False])
def test_bfloat16_in_the_curvature_changes_no_certificate(monkeypatch, native):
    """On every machine, also on one that computes it slowly."""
    X, labels = problem(300, 40, 5, spread=0.5, dtype=np.float32)
    monkeypatch.setattr("headstart.probe.path.fast_bfloat16", lambda _: native)
    fits = fit(X, labels, PAPERS[::4], dtype=torch.float32)
    assert all(found.converged for found in fits)


@pytest.mark.parametrize("bfloat16", ["on", "off"])
@pytest.mark.parametrize("seed", [0, 2, 8, 22])
def test_rounding_keeps_no_problem_from_its_end(monkeypatch, seed, bfloat16):
    """Draws of the hardest problem, where float32 once left weights that all classes share.

    Those change no probability but the penalty does see them; and a line through two solutions
    may lead to where the outlier's loss is ten thousand times what it was.
    """
    monkeypatch.setenv(BFLOAT16, bfloat16)
    random = np.random.RandomState(seed)
    X = np.concatenate([random.randn(30, 5), np.full((1, 5), 1e4)]).astype(np.float32)
    fits = fit(X, np.arange(31) % 3, np.logspace(5, -6, 12), dtype=torch.float32)
    assert [found.lam for found in fits if not found.converged] == []


def test_tensors_and_memory_mapped_arrays_give_what_arrays_give(tmp_path):
    X, labels = problem(100, 30, dtype=np.float32)
    np.save(tmp_path / "X.npy", X)
    (plain,) = fit(X, labels, [1.0])
    for other in (torch.from_numpy(X), np.load(tmp_path / "X.npy", mmap_mode="r"), X[::-1][::-1]):
        (found,) = fit(other, labels, [1.0])
        np.testing.assert_array_equal(found.coef, plain.coef)
        np.testing.assert_array_equal(found.scores(other), plain.scores(X))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_gpu_gives_what_the_processor_gives(dtype):
    X, labels = problem(300, 40, 5, spread=0.5, dtype=dtype)
    for on_cpu, on_gpu in zip(
        fit(X, labels, PAPERS[::4], 1e-6),
        fit(torch.from_numpy(X).cuda(), labels, PAPERS[::4], 1e-6, device=torch.device("cuda")),
        strict=True,
    ):
        assert on_gpu.converged
        assert on_gpu.objective == pytest.approx(on_cpu.objective, rel=2e-6)


def test_scores_are_the_logits():
    X, labels = problem()
    (found,) = fit(X, labels, [1.0])
    np.testing.assert_allclose(found.scores(X), X @ found.coef.T + found.bias, rtol=1e-4, atol=1e-4)
    assert found.scores(X[:0]).shape == (0, 4)
    assert (found.scores(X).argmax(axis=1) == labels).mean() > 0.9


def test_a_long_path_is_certified_in_parts_and_solved_side_by_side(watch):
    """Where logits are small beside the features, many lambdas share a product."""
    X, labels = problem(50, 400, 3, spread=0.3)
    widths = []
    watch(newton, "_newton_step", lambda batch: widths.append(len(batch.lam)))
    assert all(found.converged for found in fit(X, labels, PAPERS, 1e-7))
    assert max(widths) > 1


def test_the_path_stops_where_nobody_wants_more():
    X, labels = problem()
    seen = []

    def go_on(coef, bias):
        assert coef.shape == (4, 20)
        assert bias.shape == (4,)
        seen.append(coef)
        return len(seen) < 3

    fits = fit(X, labels, PAPERS, go_on=go_on)
    assert [found.lam for found in fits] == PAPERS[:5].tolist()
