"""What an analysis gives, and what it says where it cannot."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import logit

import headstart as hs
from headstart.analysis.cells import AnalysisOptions, Matrix
from headstart.analysis.comparisons import compare_settings
from headstart.predictors import UPSTREAM_ACCURACY
from refusals import refused
from tables import make_table, quick, reasons


def test_the_correlation_is_scipys(analysis, table):
    linear = table[table.setting == "linear"].assign(y=lambda t: logit(t.accuracy))
    means = linear.groupby("model").agg(
        {"y": "mean", "accuracy": "mean", "upstream_accuracy": "first"}
    )
    x = logit(means.upstream_accuracy)
    expected = {
        "pearson_logit": stats.pearsonr(x, means.y)[0],
        "pearson_plain": stats.pearsonr(means.upstream_accuracy, means.accuracy)[0],
        "spearman": stats.spearmanr(x, means.y)[0],
        "kendall": stats.kendalltau(x, means.y)[0],
    }
    found = analysis.correlations.query("setting == 'linear' and group == 'all'")
    assert found.set_index("statistic").estimate.to_dict() == pytest.approx(expected)


def test_each_dataset_has_its_own(analysis, table):
    found = analysis.correlations.query("setting == 'finetune' and group == 'set2'")
    rows = table.query("setting == 'finetune' and dataset == 'set2'")
    expected = stats.pearsonr(logit(rows.upstream_accuracy), logit(rows.accuracy))[0]
    assert found.set_index("statistic").estimate["pearson_logit"] == pytest.approx(expected)
    assert (found.n_datasets == 1).all()


def test_the_line_is_least_squares(analysis, table):
    line = analysis.lines.query("setting == 'linear' and group == 'set1'")
    rows = table.query("setting == 'linear' and dataset == 'set1'")
    slope, intercept = np.polyfit(logit(rows.upstream_accuracy), logit(rows.accuracy), 1)
    assert np.allclose(line.log_odds, intercept + slope * logit(line.upstream_accuracy))
    assert (line.low < line.log_odds).all()
    assert (line.log_odds < line.high).all()


def test_the_mixed_model_is_beside(analysis):
    means = analysis.model_means.query("setting == 'linear'")
    slope = np.polyfit(logit(means.upstream_accuracy), means["mean"], 1)[0]
    row = analysis.mixed.query("setting == 'linear'").iloc[0]
    # In a complete table it is the slope of the means.
    assert row.slope == pytest.approx(slope, rel=1e-5)
    assert row.low < row.slope < row.high


def test_error_bars_are_named(table):
    morey, cousineau = quick(table), quick(table, error_bars="cousineau")
    assert set(morey.model_means.error_bars) == {"morey"}
    assert set(cousineau.model_means.error_bars) == {"cousineau"}
    assert np.allclose(morey.model_means.se / cousineau.model_means.se, np.sqrt(6 / 5))


def test_settings_both_ways(analysis, table):
    wide = table.pivot(index=["model", "dataset"], columns="setting", values="accuracy")
    rows = analysis.settings.set_index(["setting", "other"])
    row = rows.loc[("finetune", "linear")]
    assert row.wins == (wide.finetune > wide.linear).sum()
    assert row.cells == 24
    assert row.difference == pytest.approx((logit(wide.finetune) - logit(wide.linear)).mean())
    assert row.low < row.difference < row.high
    (alone,) = (
        quick(table.query("model == 'net0'"))
        .settings.query("setting == 'finetune'")
        .to_dict("records")
    )
    difference = logit(wide.finetune["net0"]) - logit(wide.linear["net0"])
    # Of one model: Student's over datasets.
    students = stats.ttest_1samp(difference, 0).confidence_interval()
    assert (alone["low"], alone["high"]) == pytest.approx(tuple(students))


def test_intervals_of_settings_hold_the_difference_of_other_models():
    """Few models that vary, where a bootstrap of models holds it in 82 % of tables."""
    random, held = np.random.default_rng(0), 0
    for _ in range(300):
        scores = random.normal(0, 2, (5, 1)) + random.normal(size=(5, 12))
        names = tuple("abcde"), tuple(map(str, range(12)))
        blank = np.zeros_like(scores)
        none = np.full((5, 12), np.nan), UPSTREAM_ACCURACY.scale, np.arange(5)
        first, second = (Matrix(*names, one, one, *none) for one in (scores, blank))
        (_, found), _ = compare_settings({"first": first, "second": second}, AnalysisOptions())
        held += found["low"] <= 0 <= found["high"]
    assert 0.91 <= held / 300 <= 0.985


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, 77.0])
def test_a_prediction_needs_a_proportion(analysis, value):
    with refused("analysis.predictor_range", value=value):
        analysis.predict(value)


def test_seeds_are_averaged_on_the_log_odds_scale(table):
    other = table.assign(seed=1, accuracy=table.accuracy - 0.02)
    analysis = quick(pd.concat([table.assign(seed=0), other]))
    first, cell = table.iloc[0], analysis.cells.iloc[0]
    both = logit([first.accuracy, first.accuracy - 0.02])
    assert cell.log_odds == pytest.approx(both.mean())
    assert cell.seed_sd == pytest.approx(both.std(ddof=1))
    assert cell.n_seeds == 2
    assert cell.accuracy == pytest.approx(1 / (1 + np.exp(-both.mean())))


def test_the_spread_of_seeds_is_shown(cli, tmp_path, table):
    other = table.assign(seed=1, accuracy=table.accuracy - 0.02)
    pd.concat([table.assign(seed=0), other]).to_csv(tmp_path / "t.csv", index=False)
    out = cli("analyze", tmp_path / "t.csv", "--resamples", "200").out
    spread = (logit(table.accuracy) - logit(table.accuracy - 0.02)).abs() / np.sqrt(2)
    said = " ".join(out.split())
    assert (
        "2 seeds per cell, averaged in log odds; their standard deviation within a cell: " in said
    )
    assert f"median {spread.median():.3f}, largest {spread.max():.3f}" in said


def test_models_that_differ_alone_in_upstream_accuracy():
    table = make_table(4, 3)
    table["upstream_accuracy"] = np.where(table.model == "net3", 0.8, 0.7)
    rows = quick(table).prediction
    assert set(rows.cells) == {3}
    assert set(rows.n_models) == {4}


def test_a_model_for_each_dataset_is_no_mixed_model():
    rows = [("m1", "d0", 0.35, 0.39), ("m2", "d4", 0.49, 0.33), ("m3", "d2", 0.64, 0.11)]
    table = pd.DataFrame(rows, columns=["model", "dataset", "upstream_accuracy", "accuracy"])
    analysis = quick(table.assign(setting="linear"))
    assert analysis.mixed.empty


def test_each_model_its_own_family_has_no_family_interval(table):
    analysis = quick(table.assign(family=table.model))
    assert analysis.correlations.low_family.isna().all()
    why = reasons(analysis)["family-clustered intervals (linear)"]
    assert why == "each model is a family of its own"


def test_an_interval_that_cannot_be_had_is_explained(table):
    table["accuracy"] = table.upstream_accuracy
    analysis = quick(table)
    found = analysis.correlations.set_index("statistic").loc[["pearson_logit", "pearson_plain"]]
    assert found.estimate.tolist() == pytest.approx([1] * len(found))
    assert found.low.isna().all()
    what = "interval of pearson_logit (linear): all, set0, set1, set2, set3"
    assert "exact" in reasons(analysis)[what]
    # Of a perfect order six models leave open how many pairs of others are out of order.
    ranks = analysis.correlations.query("statistic == 'kendall'")
    assert (ranks.low < 0.9).all()
    assert (ranks.high == 1).all()


def test_the_same_seed_gives_the_same(table):
    assert quick(table).lines.equals(quick(table).lines)
    other = quick(table, seed=1)
    assert not other.lines.low.equals(quick(table).lines.low)
    assert other.lines.log_odds.equals(quick(table).lines.log_odds)
    # Nothing in these is drawn.
    assert other.correlations.equals(quick(table).correlations)


def test_one_model(table):
    analysis = quick(table[table.model == "net0"])
    assert len(analysis.model_means) == 2
    assert analysis.model_means.se.isna().all()
    assert analysis.correlations.empty
    assert "only one model" in reasons(analysis)["comparisons of models (linear)"]
    assert "at least 3 are needed" in reasons(analysis)["correlations (linear)"]
    with refused("analysis.no_prediction"):
        analysis.predict(0.7)


def test_one_dataset(table):
    analysis = quick(table[table.dataset == "set0"])
    assert analysis.model_means.se.isna().all()
    assert analysis.mixed.empty
    assert "only one dataset" in reasons(analysis)["error bars over datasets (linear)"]
    assert not analysis.correlations.empty
    assert (analysis.ranks.high == 6).all()


def test_no_upstream_accuracy(table):
    analysis = quick(table.drop(columns="upstream_accuracy"))
    for name in ("correlations", "lines", "mixed", "prediction"):
        assert getattr(analysis, name).empty, name
    for what in ("correlations", "mixed model", "prediction"):
        assert "add a column upstream_accuracy" in reasons(analysis)[what]
    for name in ("cells", "model_means", "ranks", "settings"):
        assert not getattr(analysis, name).empty, name


def test_upstream_accuracy_of_some(table):
    table.loc[table.model == "net2", "upstream_accuracy"] = np.nan
    analysis = quick(table)
    assert (analysis.correlations.n_models == 5).all()
    assert "no upstream accuracy is known for: net2" in set(analysis.missing.why)
    assert "net2" in set(analysis.model_means.model)


@pytest.mark.parametrize("n", [3, 4])
def test_few_models_have_no_interval(n):
    analysis = quick(make_table(n))
    assert analysis.correlations.estimate.notna().all()
    assert analysis.correlations.low.isna().all()
    assert reasons(analysis)["intervals of correlations (linear)"].startswith(f"{n} models;")


def test_a_constant_upstream_accuracy(table):
    analysis = quick(table.assign(upstream_accuracy=0.7))
    assert analysis.correlations.empty
    assert reasons(analysis)["correlations (linear)"].startswith("upstream accuracy is the same")


def test_constant_accuracies(table):
    table.loc[table.dataset == "set1", "accuracy"] = 0.5
    analysis = quick(table)
    constant = analysis.correlations.query("group == 'set1'")
    assert constant.estimate.isna().all()
    assert constant.low.isna().all()
    assert reasons(analysis)["correlation on set1 (linear)"] == "all models have the same accuracy"
    assert analysis.correlations.query("group == 'all'").estimate.notna().all()


def test_residuals_are_from_the_line_of_the_dataset(analysis):
    of = analysis.cells.groupby(["setting", "dataset"]).residual
    assert np.allclose(of.sum(), 0)
    assert (of.std() > 0).all()


def test_intervals_of_cells(table):
    from headstart.stats import wilson_interval

    cell = quick(table).cells.iloc[0]
    wilson = wilson_interval(table.accuracy[0], 1000)
    assert (cell.low, cell.high) == (wilson.low, wilson.high)
    by_se = quick(table.drop(columns="n_test").assign(se=0.01)).cells.iloc[0]
    assert by_se.high - by_se.low == pytest.approx(4 * 0.98 * 0.01, rel=0.05)
    unknown = quick(table.assign(metric="mean per-class")).cells.iloc[0]
    assert np.isnan(unknown.low)


@pytest.mark.parametrize(("options", "code", "value"), [
    ({"error_bars": "sd"}, "analysis.option", "sd"),
    ({"correction": "holm"}, "analysis.option", "holm"),
    ({"weights": "size"}, "analysis.option", "size"), ({"resamples": 10}, "analysis.option", 10),
    ({"seed": -1}, "analysis.option", -1), ({"seed": 1.5}, "analysis.option", 1.5),
    ({"unit": "parts"}, "table.option", "parts"),
])  # fmt: skip
def test_invalid_options(table, options, code, value):
    with refused(code, found=value):
        hs.analyze(table, **options)


def test_json_has_every_table(cli, tmp_path, table):
    table.to_csv(tmp_path / "t.csv", index=False)
    file = tmp_path / "out.json"
    outcome = cli("analyze", tmp_path / "t.csv", "--json", file, "--resamples", "200")
    assert outcome.code == 0, outcome.err
    content = json.loads(file.read_text())
    analysis = quick(tmp_path / "t.csv")
    for name, frame in analysis.tables().items():
        assert len(content[name]) == len(frame), name
    found = content["correlations"][0]["estimate"]
    assert found == pytest.approx(analysis.correlations.estimate[0], abs=1e-12)
    assert content["model_means"][0]["best"] in (True, False)
    assert content["options"][0]["resamples"] == 200


def test_json_says_null_for_what_is_unknown(cli, tmp_path, table):
    table[table.model == "net0"].to_csv(tmp_path / "t.csv", index=False)
    file = tmp_path / "out.json"
    assert cli("analyze", tmp_path / "t.csv", "--json", file, "--resamples", "200").code == 0
    assert "NaN" not in file.read_text()
    assert json.loads(file.read_text())["model_means"][0]["se"] is None


@pytest.mark.parametrize("given", ["150", "0", "-3"])
def test_predict_needs_an_accuracy(cli, given):
    outcome = cli("analyze", "kornblith2019", f"--predict={given}", "--resamples", "200")
    assert (outcome.code, outcome.error.code) == (2, "command.value")
    assert outcome.error.values == {"name": "--predict", "value": float(given)}


@pytest.mark.parametrize("given", ["0.77", "77"])
def test_predict_on_the_command_line(cli, given):
    outcome = cli("analyze", "kornblith2019", "--predict", given, "--resamples", "200")
    assert "Predicted from ImageNet top-1 accuracy 77.00 %" in outcome.out
    assert "contained 554 of 576 (96.2 %) accuracies" in " ".join(outcome.out.split())
