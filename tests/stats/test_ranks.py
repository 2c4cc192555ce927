"""Simultaneous comparisons of models: closed forms, invariance, and coverage by simulation."""

import numpy as np
import pytest
from scipy import stats

from headstart.stats import FEWEST_DATASETS, additive_fit, all_pairs, compare_models


def compared(scores, **options):
    return compare_models(additive_fit(scores), **options)


def noise(kind, random, n_models, n_datasets):
    """Scores over datasets: alike, in two families, or of one model that varies much more."""
    own = random.normal(size=(n_models, n_datasets))
    if kind == "families":
        profiles = random.normal(size=(2, n_datasets))
        return profiles[np.arange(n_models) % 2] + 0.3 * own
    if kind == "outlier":
        return own * np.where(np.arange(n_models) == 0, 1.5, 0.3)[:, None]
    return own


def test_two_models_are_compared_by_the_paired_t_test():
    y = np.random.default_rng(0).normal(size=(2, 12)) + np.array([[0.3], [0.0]])
    theirs = stats.ttest_rel(y[0], y[1])
    found, (pair,) = compared(y), zip(*all_pairs(additive_fit(y)), strict=True)
    worse = int(y.mean(axis=1).argmin())
    assert found.p_value[worse] == pytest.approx(theirs.pvalue)
    low, high = theirs.confidence_interval()
    assert pair[2:7] == pytest.approx((y[0].mean() - y[1].mean(), low, high, *[theirs.pvalue] * 2))
    ends = sorted(np.abs([found.low[worse], found.high[worse]]))
    assert ends == pytest.approx(sorted(np.abs([low, high])))


@pytest.mark.parametrize("n_models", [3, 4])
def test_few_models_are_compared_by_paired_t_tests_with_bonferronis_correction(n_models):
    y = np.random.default_rng(1).normal(size=(n_models, 8))
    found, m = all_pairs(additive_fit(y)), n_models * (n_models - 1) // 2
    for first, other, p, adjusted in zip(
        found.first, found.other, found.p_value, found.p_adjusted, strict=True
    ):
        theirs = stats.ttest_rel(y[first], y[other]).pvalue
        assert (p, adjusted) == pytest.approx((theirs, min(1, m * theirs)))


def test_alike_variances_make_it_the_two_way_analysis_of_variance():
    """Orthogonal residuals of one size: nothing is left for a variance of the pair's own."""
    residual = np.linalg.qr(np.column_stack([np.ones(12), np.eye(12)[:, :6]]))[0][:, 1:].T
    residual -= residual.mean(axis=0)
    y = residual + np.arange(6)[:, None] / 20
    df = 5 * 11
    spread = (residual**2).sum() / df
    found = all_pairs(additive_fit(y))
    half = stats.t.ppf(1 - 0.025 / 15, df) * np.sqrt(2 * spread / 12)
    assert (found.high - found.low) / 2 == pytest.approx(half)


def test_clear_differences_leave_one_rank_each():
    scores = 10 * np.arange(4)[:, None] + np.random.default_rng(0).normal(size=(4, 12))
    found = compared(scores)
    assert found.rank.tolist() == [4, 3, 2, 1]
    assert found.rank_low.tolist() == found.rank_high.tolist() == [4, 3, 2, 1]
    assert found.not_different() == [False, False, False, True]


def test_equal_models_are_all_best_and_may_have_any_rank():
    found = compared(np.tile(np.random.default_rng(0).normal(size=12), (3, 1)))
    assert found.rank.tolist() == [1, 1, 1]
    assert found.best.all()
    assert found.not_different() == [True] * 3
    assert (found.rank_low.tolist(), found.rank_high.tolist()) == ([1, 1, 1], [3, 3, 3])


def test_a_constant_difference_is_one():
    row = np.random.default_rng(0).normal(size=12)
    found = compared(np.stack([row, row + 1]))
    assert found.rank_low.tolist() == found.rank_high.tolist() == [2, 1]
    assert found.not_different() == [False, True]


@pytest.mark.parametrize("n_datasets", range(1, FEWEST_DATASETS))
def test_few_datasets_compare_nothing(n_datasets):
    # Near-equal differences, which a paired t-test of two datasets calls significant.
    scores = np.array([[2.0], [1.999], [0.5]]) + np.arange(n_datasets)
    found = compared(scores)
    assert found.rank.tolist() == [1, 2, 3]
    assert found.not_different() == [True, None, None]
    assert (found.rank_low == 1).all()
    assert (found.rank_high == 3).all()
    assert not np.isfinite(all_pairs(additive_fit(scores)).p_value).any()


def test_only_pairs_that_share_few_datasets_are_not_compared():
    y = np.random.default_rng(3).normal(size=(4, 8)) + 9.0 * np.arange(4)[:, None]
    y[0, :4] = np.nan
    assert compared(y).not_different() == [None, False, False, True]


@pytest.mark.parametrize("holes", [False, True])
def test_the_verdict_the_interval_and_the_ranks_are_one(holes):
    random = np.random.default_rng(5)
    for _ in range(40):
        n_models = int(random.integers(2, 12))
        y = noise("outlier", random, n_models, 9) + random.normal(0, 0.4, (n_models, 1))
        if holes:
            y[1:, 4:][random.random((n_models - 1, 5)) < 0.15] = np.nan
        found = compared(y)
        for i, same in enumerate(found.not_different()):
            assert same is None or same == (found.rank_low[i] == 1)
            assert found.best[i] or same is None or same == (found.low[i] <= 0 <= found.high[i])
        assert (found.rank_low <= found.rank).all()
        assert (found.rank <= found.rank_high).all()
        # Blocks of rows, which a large table needs, change nothing.
        order = random.permutation(n_models)
        again = compared(y[order][:, random.permutation(9)])
        assert np.allclose(again.low, found.low[order], equal_nan=True)
        assert again.not_different() == [found.not_different()[i] for i in order]
        assert (again.rank_low == found.rank_low[order]).all()
        assert (again.rank_high == found.rank_high[order]).all()


def test_blocks_of_rows_change_nothing(monkeypatch):
    y = np.random.default_rng(6).normal(size=(7, 6))
    whole = compared(y), all_pairs(additive_fit(y))
    monkeypatch.setattr("headstart.stats.two_way.BLOCK", 14)
    for one, other in zip((compared(y), all_pairs(additive_fit(y))), whole, strict=True):
        for part, expected in zip(one, other, strict=True):
            assert np.allclose(part, expected, equal_nan=True)


@pytest.mark.parametrize(("kind", "shape", "holes"), [
    *((kind, (8, 12), False) for kind in ("alike", "families", "outlier")),
    ("alike", (40, 5), False), ("outlier", (40, 5), False), ("alike", (8, 12), True),
    ("outlier", (8, 12), True),
])  # fmt: skip
def test_intervals_the_set_of_the_best_and_ranks_hold_the_truth(kind, shape, holes):
    """Simultaneous coverage in 400 tables: the Monte Carlo standard error of 95 % is 1.1 points."""
    random, repeats = np.random.default_rng(0), 400
    truth = np.resize([0, 0, 0.4, 0.4, 0.8, 1.2, 1.2, 1.2], shape[0])
    ranks = [1 + (truth > t + 1e-9).sum() for t in truth], [(truth > t - 1e-9).sum() for t in truth]
    held = np.zeros(3)
    for _ in range(repeats):
        y = truth[:, None] + noise(kind, random, *shape)
        if holes:
            y[random.random(shape) < 0.1] = np.nan
        fit = additive_fit(y)
        pairs, found = all_pairs(fit), compare_models(fit)
        true = truth[pairs.first] - truth[pairs.other]
        held[0] += np.all(~(true < pairs.low) & ~(true > pairs.high))
        same = np.array([value is not False for value in found.not_different()])
        held[1] += same[truth == truth.max()].all()
        # Tied models have no order: their interval has to hold every rank that is theirs.
        held[2] += np.all((found.rank_low <= ranks[0]) & (found.rank_high >= ranks[1]))
    lowest = 0.95 - 3 * np.sqrt(0.95 * 0.05 / repeats)
    assert held[0] / repeats > lowest
    assert held[1] / repeats > lowest
    assert held[2] / repeats > lowest
    # And not by saying nothing: of models that vary alike the worst is told from the best.
    if kind == "alike" and not holes:
        assert np.nanmedian(pairs.high - pairs.low) < 6


def test_uncorrected_intervals_are_narrower():
    y = np.random.default_rng(2).normal(size=(9, 12))
    alone, together = compared(y, corrected=False), compared(y)
    rest = ~alone.best
    assert (alone.high - alone.low < together.high - together.low)[rest].all()
    assert (alone.p_value <= together.p_value)[rest].all()
