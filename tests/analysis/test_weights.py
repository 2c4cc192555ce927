"""Datasets weighted by the number of their test images."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats
from scipy.special import logit

import headstart as hs
from headstart.errors import AnalysisError
from headstart.stats import additive_fit, all_pairs, within_means

SIZES = {"set0": 100, "set1": 400, "set2": 3000, "set3": 500}


@pytest.fixture
def sized(table):
    return table.assign(n_test=table.dataset.map(SIZES))


def weighted(table, **options) -> hs.Analysis:
    return hs.analyze(table, resamples=200, weights="n_test", **options)


def test_means_and_correlations_are_of_weighted_means(sized):
    analysis = weighted(sized)
    linear = sized[sized.setting == "linear"]
    wide = linear.pivot(index="model", columns="dataset", values="accuracy")
    w = np.array([SIZES[name] for name in wide.columns])
    expected = pd.Series(logit(wide) @ w / w.sum(), wide.index)
    means = analysis.model_means.query("setting == 'linear'").set_index("model")
    assert means["mean"].to_dict() == pytest.approx(expected.to_dict())
    assert means["accuracy"].to_dict() == pytest.approx((wide @ w / w.sum()).to_dict())
    upstream = linear.groupby("model").upstream_accuracy.first()
    r = stats.pearsonr(logit(upstream.loc[expected.index]), expected)[0]
    found = analysis.correlations.query("setting == 'linear' and group == 'all'")
    assert found.set_index("statistic").estimate["pearson_logit"] == pytest.approx(r)
    # One dataset has no weights.
    plain = hs.analyze(sized, resamples=200).correlations.query("n_datasets == 1")
    one = analysis.correlations.query("n_datasets == 1")
    assert one.estimate.to_numpy() == pytest.approx(plain.estimate.to_numpy(), nan_ok=True)


def test_it_is_said_and_equal_sizes_change_nothing(sized):
    (about, note), *_ = weighted(sized).notes.itertuples(index=False)
    assert "weighted by the number of test images" in about
    assert note.startswith("set2 75.0 %, set3 12.5 %, set1 10.0 %, set0 2.5 %")
    same, plain = weighted(sized.assign(n_test=50)), hs.analyze(sized, resamples=200)
    for column in ("mean", "se", "low", "difference_low", "p_adjusted"):
        theirs = plain.model_means[column].to_numpy(dtype=float)
        ours = same.model_means[column].to_numpy(dtype=float)
        assert ours == pytest.approx(theirs, nan_ok=True), column


@pytest.mark.parametrize("holes", [0, 4])
def test_the_fit_is_weighted_least_squares(holes):
    random = np.random.default_rng(holes)
    scores, w = random.normal(size=(6, 5)), np.array([1.0, 2, 3, 4, 10])
    scores.ravel()[random.choice(30, size=holes, replace=False)] = np.nan
    rows, columns = np.nonzero(np.isfinite(scores))
    X = np.zeros((len(rows), 11))
    X[np.arange(len(rows)), rows] = 1
    X[np.arange(len(rows)), 6 + columns] = 1
    X = X[:, :10]  # The last dataset is the reference.
    theirs = sm.WLS(scores[rows, columns], X, weights=w[columns] / w.mean()).fit()
    fit = additive_fit(scores, w)
    contrasts = np.hstack([np.eye(6), np.tile(w[:4] / w.sum(), (6, 1))])
    assert fit.mean == pytest.approx(contrasts @ theirs.params)
    assert fit.variance == pytest.approx(theirs.scale)
    expected = np.diag(contrasts @ theirs.normalized_cov_params @ contrasts.T)
    assert fit.unscaled_variance() == pytest.approx(expected)
    scaled = np.sqrt(w[columns] / w.mean())[:, None] * X
    leverage = np.diag(scaled @ np.linalg.pinv(scaled))
    assert fit.leverage[rows, columns] == pytest.approx(leverage)


def test_two_models_are_a_weighted_paired_t_test():
    """Against weighted least squares of the differences on a constant."""
    random = np.random.default_rng(1)
    scores, w = random.normal(size=(2, 9)), random.uniform(1, 9, size=9)
    theirs = sm.WLS(scores[0] - scores[1], np.ones(9), weights=w).fit()
    pairs = all_pairs(additive_fit(scores, w))
    assert pairs.difference[0] == pytest.approx(theirs.params[0])
    assert (pairs.low[0], pairs.high[0]) == pytest.approx(tuple(theirs.conf_int()[0]))
    assert pairs.p_value[0] == pytest.approx(theirs.pvalues[0])
    assert within_means(scores, weight=w).mean == pytest.approx(
        np.average(scores, axis=1, weights=w)
    )


def test_sizes_that_are_missing_are_named(sized, cli, tmp_path):
    holed = sized.assign(n_test=sized.n_test.where(sized.dataset != "set1"))
    with pytest.raises(AnalysisError) as error:
        weighted(holed)
    assert error.value.code == "analysis.weights_unknown"
    assert error.value.values["datasets"] == ["set1"]
    sized.to_csv(tmp_path / "t.csv", index=False)
    outcome = cli("analyze", tmp_path / "t.csv", "--resamples", 200, "--weights", "n_test")
    assert "weighted by the number of test images" in " ".join(outcome.out.split())
