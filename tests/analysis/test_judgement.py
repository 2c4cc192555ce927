"""Predictors judged against each other, beside two baselines."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau, pearsonr, t, weightedtau

import headstart as hs
from headstart.report import write_report
from refusals import refused

DATASETS = ("d0", "d1", "d2", "d3")


def results(n_models: int = 7) -> pd.DataFrame:
    """A good score, a useless one, upstream accuracy in between."""
    random = np.random.default_rng(1)
    rows = []
    for i in range(n_models):
        for j, dataset in enumerate(DATASETS):
            score = 0.4 * i + j + random.normal(0, 0.4)
            rows.append({
                "model": f"m{i}", "dataset": dataset, "setting": "linear", "log_odds": score,
                "upstream_accuracy": 0.5 + 0.05 * i + 0.02 * (-1) ** i,
                "good": score + random.normal(0, 0.1), "useless": random.normal(),
            })  # fmt: skip
    return pd.DataFrame(rows)


def estimate(table: pd.DataFrame, score: str, statistic: str, dataset: str = "all") -> pd.Series:
    rows = table.query("score == @score and statistic == @statistic and dataset == @dataset")
    return rows.iloc[0]


def test_statistics_are_those_of_scipy_on_each_dataset():
    frame = results()
    found = hs.analyze(frame, predictors=["good", "useless"], resamples=100).predictors
    for score in ("good", "useless"):
        for dataset, of in frame.groupby("dataset"):
            x, y = of[score].to_numpy(), of["log_odds"].to_numpy()
            for statistic, expected in {
                "pearson": pearsonr(x, y).statistic,
                "kendall": kendalltau(x, y).statistic,
                "weighted_kendall": weightedtau(y, x).statistic,
            }.items():
                row = estimate(found, score, statistic, dataset)
                assert row.estimate == pytest.approx(expected)
            accuracy = 1 / (1 + np.exp(-y))
            lost = accuracy.max() - accuracy[x.argmax()]
            assert estimate(found, score, "regret", dataset).estimate == pytest.approx(lost)


def test_means_over_datasets_have_t_intervals_and_differences_are_paired():
    found = hs.analyze(results(), predictors=["good"], resamples=100).predictors
    values, others = (
        np.array([estimate(found, s, "weighted_kendall", d).estimate for d in DATASETS])
        for s in ("good", "standing")
    )
    row = estimate(found, "good", "weighted_kendall")
    half = t.ppf(0.975, 3) * values.std(ddof=1) / 2
    assert (row.estimate, row.low, row.high) == pytest.approx(
        (values.mean(), values.mean() - half, values.mean() + half)
    )
    apart = values - others
    half = t.ppf(0.975, 3) * apart.std(ddof=1) / 2
    ends = row.difference, row.difference_low, row.difference_high
    assert ends == pytest.approx((apart.mean(), apart.mean() - half, apart.mean() + half))
    assert (row.n_models, row.n_datasets) == (7, 4)


def test_both_baselines_stand_beside_any_predictor():
    frame = results()
    found = hs.analyze(frame, predictors=["useless"], resamples=100).predictors
    assert set(found[found.baseline].score) == {"standing", "upstream_accuracy"}
    wide = frame.pivot(index="model", columns="dataset", values="log_odds")
    others = wide.drop(columns="d2").mean(axis=1)
    expected = kendalltau(others, wide["d2"]).statistic
    assert estimate(found, "standing", "kendall", "d2").estimate == pytest.approx(expected)
    x = frame.groupby("model").upstream_accuracy.first()
    expected = pearsonr(np.log(x / (1 - x)), wide["d1"]).statistic
    row = estimate(found, "upstream_accuracy", "pearson", "d1")
    assert row.estimate == pytest.approx(expected)


def test_predictors_are_compared_on_the_same_models():
    frame = results()
    frame.loc[frame.model.isin(["m0", "m1"]), "useless"] = np.nan
    found = hs.analyze(frame, predictors=["good", "useless"], resamples=100).predictors
    assert set(found.n_models) == {5}


def test_a_predictor_whose_values_are_all_equal_orders_nothing():
    frame = results().assign(constant=1.0)
    found = hs.analyze(frame, predictors=["constant"], resamples=100).predictors
    assert estimate(found, "constant", "kendall").estimate == 0
    accuracy = 1 / (1 + np.exp(-frame.query("dataset == 'd0'").log_odds))
    lost = accuracy.max() - accuracy.mean()
    assert estimate(found, "constant", "regret", "d0").estimate == pytest.approx(lost)


def test_values_may_come_in_a_table_of_their_own():
    frame = results()
    scores = frame[["model", "dataset", "good"]]
    apart = hs.analyze(frame.drop(columns="good"), predictors=["good"], scores=scores,
                       resamples=100)  # fmt: skip
    inside = hs.analyze(frame, predictors=["good"], resamples=100)
    pd.testing.assert_frame_equal(apart.predictors, inside.predictors)


def test_few_datasets_have_no_interval_and_say_why():
    frame = results().query("dataset in ('d0', 'd1')")
    analysis = hs.analyze(frame, predictors=["good"], resamples=100)
    assert estimate(analysis.predictors, "good", "kendall").isna()[["low", "high"]].all()
    assert "intervals of predictors over datasets (linear)" in set(analysis.missing.what)


def test_few_models_are_left_out_with_a_reason():
    analysis = hs.analyze(results(2), predictors=["good"], resamples=100)
    assert analysis.predictors.empty
    assert "predictors (linear)" in set(analysis.missing.what)


def test_nothing_is_judged_unless_it_was_named():
    assert hs.analyze(results(), resamples=100).predictors.empty


def test_a_column_that_is_not_there_is_refused():
    with refused("table.predictor_missing", column="nothing"):
        hs.analyze(results(), predictors=["nothing"], resamples=100)


def test_page_has_the_table(tmp_path):
    analysis = hs.analyze(results(), predictors=["good"], resamples=100)
    text = write_report(analysis, tmp_path / "r.html").read_text()
    assert "Predictors of transfer, judged" in text
    assert "mean standing on other datasets (baseline)" in text


def test_published_tables():
    """Fine-tuned accuracies of 16 networks on 12 datasets (Kornblith et al. 2019, figure 2)."""
    found = hs.analyze("kornblith2019", predictors=["upstream_accuracy"], resamples=100).predictors
    rows = found.query("setting == 'fine_tuned' and dataset == 'all'")
    for score, expected in (("standing", 0.779), ("upstream_accuracy", 0.694)):
        # Computed once from the published numbers; no paper prints them.
        assert estimate(rows, score, "weighted_kendall").estimate == pytest.approx(
            expected, abs=5e-4
        )
