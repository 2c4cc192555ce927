"""What upstream accuracy predicts: fits, checks on models left out, and what is said of them."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.special import expit, logit

from headstart.stats import lack_of_fit, leave_one_out_ratio, polynomial_fit
from tables import make_table, quick


def one_dataset(x, y, **columns) -> pd.DataFrame:
    """A model for each log odds of upstream accuracy x, of transfer y."""
    models = [f"m{i:03}" for i in range(len(x))]
    names = {"model": models, "dataset": "a", "setting": "linear", "family": models}
    return pd.DataFrame({**names, "upstream_accuracy": expit(x), "accuracy": expit(y), **columns})


def test_prediction_is_the_textbooks(analysis, table):
    rows = table.query("setting == 'linear' and dataset == 'set0'")
    fit = sm.OLS(logit(rows.accuracy), sm.add_constant(logit(rows.upstream_accuracy))).fit()
    theirs = fit.get_prediction([[1, logit(0.77)]]).summary_frame(alpha=0.05)
    ours = analysis.predict(0.77).query("setting == 'linear' and dataset == 'set0'").iloc[0]
    assert logit([ours.accuracy, ours.low, ours.high]) == pytest.approx(
        theirs[["mean", "obs_ci_lower", "obs_ci_upper"]].iloc[0].to_numpy()
    )


def test_coverage_is_by_refitting_without_each_model(analysis, table):
    covered, table = 0, table[table.setting == "linear"]
    for _, rows in table.groupby("dataset"):
        for left_out in rows.model:
            others = quick(rows[rows.model != left_out])
            one = rows[rows.model == left_out].iloc[0]
            predicted = others.predict(one.upstream_accuracy).iloc[0]
            covered += predicted.low <= one.accuracy <= predicted.high
    assert analysis.prediction.query("setting == 'linear'").covered.sum() == covered
    assert analysis.prediction.cells.sum() == 48


@pytest.mark.parametrize("degree", [1, 2])
def test_fits_intervals_and_curvature_are_statsmodels(degree):
    random = np.random.default_rng(degree)
    x = random.normal(1.2, 0.3, size=20)
    y = 0.4 * x + 0.5 * x**2 + random.normal(0, 0.1, size=20)
    A = np.vander(x, degree + 1, increasing=True)
    theirs = sm.OLS(y, A).fit()
    fit = polynomial_fit(x, y, degree)
    new = np.array([0.8, 1.1, 2.5])
    frame = theirs.get_prediction(np.vander(new, degree + 1, increasing=True)).summary_frame(0.1)
    assert fit.mean(new) == pytest.approx(frame["mean"].to_numpy())
    expected = (frame["obs_ci_upper"] - frame["obs_ci_lower"]).to_numpy() / 2
    assert fit.half_width(new, 0.9) == pytest.approx(expected, rel=1e-6)
    curved = sm.OLS(y, np.vander(x, 3, increasing=True)).fit()
    f, p, _ = curved.compare_f_test(sm.OLS(y, np.vander(x, 2, increasing=True)).fit())
    assert lack_of_fit(x, y) == pytest.approx((f, p), rel=1e-6)
    for i, ratio in enumerate(leave_one_out_ratio(x, y, degree, 0.9)):
        kept = np.arange(20) != i
        other = polynomial_fit(x[kept], y[kept], degree)
        half = other.half_width(x[i : i + 1], 0.9)
        assert ratio == pytest.approx((abs(y[i] - other.mean(x[i])) / half)[0], rel=1e-6)


@pytest.mark.parametrize("scale", [1.0, 1e6])
def test_rounding_bends_no_line_and_leaves_no_interval(scale):
    x = np.linspace(0.7, 1.9, 20)
    y = scale * (0.3 + 0.1 * x)
    assert lack_of_fit(x, y) == (0.0, 1.0)
    assert polynomial_fit(x, y, 1).half_width([1.0], 0.9) == pytest.approx(
        1.2e-10 * scale, rel=1e-3
    )
    assert (leave_one_out_ratio(x, y, 1, 0.9) < 1e-3).all()


def test_a_curve_is_found_and_followed():
    """A convex curve: the line holds 95 % of all, and one in ten of the best third."""
    random = np.random.default_rng(1)
    x = np.linspace(0, 2.2, 60)
    y = -1.5 + 0.1 * x + 0.6 * x**2 + random.normal(0, 0.08, size=60)
    (row,) = quick(one_dataset(x, y)).prediction.to_dict("records")
    assert row["fit"] == "quadratic"
    assert row["quadratic"] == pytest.approx(0.6, abs=0.06)
    assert row["curvature_p"] < 1e-6
    assert (row["n_low"], row["n_middle"], row["n_high"], row["n_top"]) == (20, 20, 20, 20)
    assert row["covered_top"] >= 17
    # By a line from the forty others: counted apart.
    line = polynomial_fit(x[:40], y[:40], 1)
    held = np.abs(y[40:] - line.mean(x[40:])) <= line.half_width(x[40:], 0.95)
    assert held.sum() <= 4


def test_a_straight_line_stays_one():
    """The F test at 5 % over the datasets: in 200 tables of one, 10 are expected, sd 3."""
    random, curved = np.random.default_rng(0), 0
    for _ in range(200):
        x = random.normal(size=30)
        curved += lack_of_fit(x, x + random.normal(size=30))[1] < 0.05
    assert 2 <= curved <= 20


def test_intervals_widen_where_too_few_of_the_best_were_held():
    """The best third leaves the line: it is predicted from the rest, and the miss is measured."""
    random = np.random.default_rng(2)
    x = np.sort(random.normal(1, 0.5, size=90))
    y = x + random.normal(0, 0.1, size=90)
    y[60:] += random.normal(0, 0.8, size=30)
    analysis = quick(one_dataset(x, y))
    (row,) = analysis.prediction.to_dict("records")
    line = polynomial_fit(x[:60], y[:60], 1)
    ratio = np.abs(y[60:] - line.mean(x[60:])) / line.half_width(x[60:], 0.95)
    assert row["fit"] == "line"
    assert row["covered_top"] == (ratio <= 1).sum()
    # Of 30 the quantile that would have held the next one in 95 %: the largest.
    assert row["widened_high"] == pytest.approx(ratio.max())
    assert row["widened_low"] == 1
    plain = polynomial_fit(x, y, 1)
    for at, factor in ((3.0, row["widened_high"]), (x[0], row["widened_low"])):
        (found,) = analysis.predict(expit(at)).to_dict("records")
        half = factor * plain.half_width(at, 0.95)[0]
        assert logit(found["high"]) == pytest.approx(plain.mean(at)[0] + half)
        assert found["widened"] == factor
    assert analysis.predict(expit(5.0)).extrapolated.all()


def test_a_family_is_left_out_whole():
    """Two families, apart: each is predicted by the other alone."""
    x = np.linspace(0, 1, 12)
    family = np.repeat(["a", "b"], 6)
    y = 0.1 * np.sin(20 * x) + np.where(family == "a", 0.0, 5.0)
    (row,) = quick(one_dataset(x, y).assign(family=family)).prediction.to_dict("records")
    held = 0
    for out in (np.arange(12) < 6, np.arange(12) >= 6):
        fit = polynomial_fit(x[~out], y[~out], 1)
        held += (np.abs(y[out] - fit.mean(x[out])) <= fit.half_width(x[out], 0.95)).sum()
    assert (row["covered_family"], row["n_family"]) == (held, 12)


def test_equal_accuracies_predict_nothing(table):
    constant = quick(table.assign(accuracy=0.9))
    assert constant.prediction.empty
    assert constant.correlations.estimate.isna().all()
    some = quick(table.assign(accuracy=table.accuracy.where(table.dataset != "set1", 0.9)))
    assert set(some.prediction.dataset) == {"set0", "set2", "set3"}


def test_what_is_on_the_line_is_held():
    table = make_table(10, 2)
    analysis = quick(table.assign(accuracy=table.upstream_accuracy))
    assert (analysis.prediction.covered == analysis.prediction.cells).all()
    assert set(analysis.prediction.fit) == {"line"}


def test_it_is_said_in_thirds_and_for_the_best(cli, tmp_path):
    x = np.linspace(0, 2.2, 60)
    y = -1.5 + 0.6 * x**2 + np.random.default_rng(1).normal(0, 0.08, size=60)
    one_dataset(x, y).to_csv(tmp_path / "t.csv", index=False)
    out = " ".join(cli("analyze", tmp_path / "t.csv", "--resamples", 200).out.split())
    row = quick(tmp_path / "t.csv").prediction.iloc[0]
    assert f"low third {row.covered_low} of 20 (" in out
    assert f"best third, predicted from the rest, {row.covered_top} of 20 (" in out
    assert "a quadratic is fitted instead on a." in out
