import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from headstart.stats import additive_fit, components, within_means
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
