"""Models over datasets: additive fits, means, simultaneous comparisons, coverage."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from headstart.stats import (
    FEWEST_DATASETS,
    additive_fit,
    all_pairs,
    compare_models,
    components,
    within_means,
)
from refusals import refused

# Loftus and Masson (1994), Psychonomic Bulletin & Review 1, Table 2: words recalled by 10 subjects
# after exposures of 1, 2 and 5 seconds; the data that Cousineau (2005) and Morey (2008) discuss.
RECALL = np.array(
    [
        [10, 6, 11, 22, 16, 15, 1, 12, 9, 8],
        [13, 8, 14, 23, 18, 17, 1, 15, 12, 9],
        [13, 8, 14, 25, 20, 17, 4, 17, 12, 12],
    ]
)


def test_the_worked_example_of_the_literature():
    means = within_means(RECALL, "morey")
    assert np.allclose(means.mean, [11.0, 13.0, 14.2])
    # Their within-subject mean squared error is 0.61 (F = 42.5): averaged over conditions, Morey's
    # variances are that, exactly; its root over n is their standard error.
    mse = np.mean(means.se**2) * RECALL.shape[1]
    assert mse == pytest.approx(0.61, abs=0.005)
    f = RECALL.shape[1] * RECALL.mean(axis=1).var(ddof=1) / mse
    assert f == pytest.approx(42.5, abs=0.1)


def test_cousineau_lacks_moreys_factor():
    factor = within_means(RECALL, "morey").se / within_means(RECALL, "cousineau").se
    assert np.allclose(factor, np.sqrt(3 / 2))


def test_the_interval_is_students():
    means = within_means(RECALL)
    half = stats.t.ppf(0.975, 9) * means.se
    assert np.allclose(means.high - means.mean, half)
    assert np.allclose(means.mean - means.low, half)


def test_easy_and_hard_datasets_do_not_matter():
    shifted = RECALL + np.arange(10) * 100
    assert np.allclose(within_means(shifted).se, within_means(RECALL).se)


@pytest.mark.parametrize("shape", [(1, 5), (5, 1)])
def test_one_model_or_dataset_has_no_error(shape):
    means = within_means(np.arange(5.0).reshape(shape))
    assert np.isfinite(means.mean).all()
    assert np.isnan(means.se).all()


def holed(seed, n_models=6, n_datasets=5, share=0.3):
    """Random scores with missing cells that leave models and datasets connected."""
    random = np.random.default_rng(seed)
    while True:
        y = random.normal(size=(n_models, n_datasets)) + random.normal(size=n_datasets)
        y[random.random(y.shape) < share] = np.nan
        there = np.isfinite(y)
        if there.any(axis=0).all() and not components(there).any():
            return y


@pytest.mark.parametrize("seed", range(4))
def test_the_additive_fit_is_statsmodels(seed):
    y = holed(seed)
    model, dataset = np.nonzero(np.isfinite(y))
    frame = pd.DataFrame({"y": y[model, dataset], "m": model, "d": dataset})
    theirs = smf.ols("y ~ 0 + C(m) + C(d, Sum)", frame).fit()
    ours = additive_fit(y)
    assert ours.mean == pytest.approx(theirs.params[:6].to_numpy())
    assert ours.variance == pytest.approx(theirs.mse_resid)
    assert ours.df == theirs.df_resid
    assert ours.residual[model, dataset] == pytest.approx(theirs.resid.to_numpy())
    assert ours.leverage[model, dataset] == pytest.approx(theirs.get_influence().hat_matrix_diag)
    covariance = theirs.cov_params().iloc[:6, :6].to_numpy() / theirs.mse_resid
    assert ours.unscaled_variance() == pytest.approx(np.diag(covariance))
    assert ours.unscaled_variance_of_mean() == pytest.approx(covariance.mean())


def test_of_a_complete_table_means_are_plain():
    y = np.random.default_rng(0).normal(size=(5, 7))
    assert np.array_equal(additive_fit(y).mean, y.mean(axis=1))


def test_a_model_gains_nothing_by_skipping_hard_datasets():
    """Exactly additive scores, a third of them missing: the means are those of the whole table."""
    whole = np.arange(8)[:, None] / 4 + np.array([-2.0, -1, 0, 1, 2, 5])
    y = np.where(np.isfinite(holed(1, 8, 6)), whole, np.nan)
    assert additive_fit(y).mean == pytest.approx(whole.mean(axis=1))


def test_standard_errors_hold_also_where_cells_are_missing():
    """Intervals of one model's mean in 400 tables; the Monte Carlo standard error is 1.1 points."""
    random, held = np.random.default_rng(0), 0
    there = np.isfinite(holed(3, 8, 10, 0.25))
    for _ in range(400):
        y = np.where(there, random.normal(size=there.shape), np.nan)
        # Easy and hard datasets are taken out; they are no error of a model's.
        means = within_means(y + 5 * random.normal(size=10))
        centre = means.mean.mean()
        held += means.low[0] <= centre <= means.high[0]
    assert 0.90 <= held / 400 <= 0.99


def test_one_cell_has_no_error():
    y = holed(0, share=0.0)
    y[0, 1:] = np.nan
    se = within_means(y).se
    assert np.isnan(se[0])
    assert np.isfinite(se[1:]).all()


@given(st.integers(0, 10_000), st.integers(1, 7), st.integers(1, 7))
def test_components_are_those_of_the_graph(seed, n_models, n_datasets):
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    there = np.random.default_rng(seed).random((n_models, n_datasets)) < 0.25
    graph = np.zeros((n_models + n_datasets,) * 2)
    graph[:n_models, n_models:] = there
    theirs = connected_components(csr_matrix(graph), directed=False)[1][:n_models]
    ours = components(there)
    same = theirs[:, None] == theirs
    assert np.array_equal(ours[:, None] == ours, same)
    assert set(ours) == set(range(ours.max() + 1))


def test_what_is_not_connected_is_refused():
    with refused("statistics.not_connected"):
        additive_fit([[1.0, np.nan], [np.nan, 2.0]])
    with refused("statistics.cells_none"):
        additive_fit([[1.0, 2.0], [np.nan, np.nan]])


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
