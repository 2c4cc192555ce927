"""Predictors of transfer: columns with a scale, registered scores, those of other packages."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.stats import linregress, multivariate_normal, pearsonr

import headstart as hs
from headstart.errors import HeadstartError
from headstart.predictors import SCALES, find_predictor, transfer_score
from processes import Forked, forked_command, installed_in


def results() -> pd.DataFrame:
    """Eight models on three datasets; parameters differ by model, a score by dataset, too."""
    random = np.random.default_rng(0)
    rows = [
        {"model": f"m{i}", "family": f"f{i}", "dataset": f"d{j}", "setting": "linear",
         "log_odds": 0.4 * i + j + random.normal(0, 0.3), "Weights (M)": 2.0**i,
         "spread": i + 0.5 * j + random.normal(0, 0.2), "share": 0.1 + 0.1 * i}
        for i in range(8) for j in range(3)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_column_is_a_predictor_on_its_own_scale():
    frame = results()
    found = hs.analyze(frame, predictor="Weights (M):log", resamples=200)
    means = frame.groupby("model").log_odds.mean()
    x = np.log10(frame.groupby("model")["Weights (M)"].first())
    r = found.correlations.query("group == 'all' and statistic == 'pearson_logit'").estimate
    assert r.item() == pytest.approx(pearsonr(x, means).statistic)
    assert found.model_means["Weights (M)"].tolist() == [
        2.0 ** int(name[1:]) for name in found.model_means.model
    ]
    plain = hs.analyze(frame, predictor="Weights (M)", resamples=200).correlations
    r = plain.query("group == 'all' and statistic == 'pearson_logit'").estimate
    assert r.item() == pytest.approx(pearsonr(10**x, means).statistic)


def test_a_predictor_that_differs_by_dataset_is_averaged_over_datasets():
    frame = results()
    found = hs.analyze(frame, predictor="spread", resamples=200)
    means = frame.groupby("model")[["log_odds", "spread"]].mean()
    r = found.correlations.query("group == 'all' and statistic == 'pearson_logit'").estimate
    assert r.item() == pytest.approx(pearsonr(means.spread, means.log_odds).statistic)
    one = frame[frame.dataset == "d1"]
    r = found.correlations.query("group == 'd1' and statistic == 'pearson_logit'").estimate
    assert r.item() == pytest.approx(pearsonr(one.spread, one.log_odds).statistic)
    assert found.mixed.empty


def test_a_prediction_is_in_the_unit_of_the_predictor():
    frame = results()
    found = hs.analyze(frame, predictor="Weights (M):log", resamples=200).predict(64.0)
    one = frame[frame.dataset == "d0"]
    line = linregress(np.log10(one["Weights (M)"]), one.log_odds)
    row = found[found.dataset == "d0"].iloc[0]
    assert row.fit == "line"
    at = line.intercept + line.slope * np.log10(64.0)
    assert row.accuracy == pytest.approx(1 / (1 + np.exp(-at)))


def test_upstream_accuracy_is_one_column_among_others():
    named = results().rename(columns={"share": "upstream_accuracy"})
    ours = hs.analyze(named, resamples=200).correlations
    other = hs.analyze(results(), predictor="share:proportion", resamples=200).correlations
    pd.testing.assert_frame_equal(ours, other)


def test_values_of_a_predictor_in_a_table_of_their_own():
    frame = results()
    values = frame[["model", "dataset", "spread"]]
    joined = hs.analyze(frame.drop(columns="spread"), values, predictor="spread", resamples=200)
    ours = hs.analyze(frame, predictor="spread", resamples=200)
    pd.testing.assert_frame_equal(joined.correlations, ours.correlations)


@pytest.mark.parametrize(("predictor", "code"), [
    ("", "analysis.predictor_form"), (":log", "analysis.predictor_form"),
    ("nothing", "table.predictor_missing"), ("accuracy", "analysis.predictor_reserved"),
    ("log_odds:number", "analysis.predictor_reserved"), ("spread:log", "table.predictor_range"),
])  # fmt: skip
def test_invalid_predictors(predictor, code):
    frame = results().assign(spread=lambda rows: rows.spread - 3)
    with pytest.raises(HeadstartError) as error:
        hs.analyze(frame, predictor=predictor, resamples=200)
    assert error.value.code == code


@pytest.mark.parametrize("name", SCALES)
def test_scales_invert_their_coordinates(name):
    values = np.array([0.01, 0.5, 0.9])
    scale = SCALES[name]
    assert scale.values(scale.coordinates(values)) == pytest.approx(values)
    assert scale.allows([0.5, np.nan]).tolist() == [True, False]


def test_figures_and_page_take_any_predictor(tmp_path):
    analysis = hs.analyze(results(), predictor="Weights (M):log", resamples=200)
    for name in ("correlation", "datasets", "heatmap"):
        assert analysis.figure(name).panels
    analysis.figure("correlation").savefig(tmp_path / "correlation.svg")
    assert "Weights (M) (log scale)" in (tmp_path / "correlation.svg").read_text()
    from headstart.report import write_report

    text = write_report(analysis, tmp_path / "r.html").read_text()
    assert "log10 of Weights (M)" in text
    assert "pstream" not in text.split("</title>")[0]


def evidence(features, y):
    """log N(y | 0, I / beta + F F' / alpha), maximised numerically over both precisions."""

    def minus(logs):
        alpha, beta = np.exp(logs)
        covariance = np.eye(len(y)) / beta + features @ features.T / alpha
        return -multivariate_normal(np.zeros(len(y)), covariance).logpdf(y)

    starts = [(0.0, 0.0), (2.0, 2.0), (-2.0, 2.0)]
    return -min(minimize(minus, start, method="Nelder-Mead").fun for start in starts)


@pytest.mark.parametrize(("n", "d"), [(40, 3), (25, 30)])
def test_logme_is_the_maximum_of_the_evidence(n, d):
    random = np.random.default_rng(1)
    y = random.integers(0, 3, n)
    features = random.normal(size=(n, d)) + 0.8 * y[:, None]
    expected = np.mean([evidence(features, (y == k).astype(float)) for k in range(3)]) / n
    assert transfer_score("logme", features, y) == pytest.approx(expected, abs=1e-5)
    several = np.where(y[:, None] == np.arange(3), 1, -1)
    assert transfer_score("logme", features, several) == pytest.approx(expected, abs=1e-5)


SEPARATION = '''
import numpy as np

class Separation:
    """Distance between class means."""

    label = "class separation"
    scale = "log"

    def score(self, features, labels, source_predictions):
        means = [features[labels == k].mean(axis=0) for k in np.unique(labels)]
        return float(np.linalg.norm(np.std(means, axis=0)))
'''
PROGRAM = """
import json, numpy as np
from headstart.predictors import find_predictor, transfer_score
found = find_predictor("separation")
X = np.array([[0.0], [0.0], [2.0], [2.0]])
print(json.dumps([found.label, found.scale.name, transfer_score("separation", X, [0, 0, 1, 1])]))
"""


def test_a_score_of_an_installed_package(tmp_path):
    """Found by its entry point: by `transfer_score`, and by `--predictor` with its own scale."""
    info = tmp_path / "headstart_separation-0.1.dist-info"
    info.mkdir()
    (tmp_path / "headstart_separation.py").write_text(SEPARATION)
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: headstart-separation\nVersion: 0.1"
    )
    (info / "entry_points.txt").write_text(
        "[headstart.predictor]\nseparation = headstart_separation:Separation\n"
    )
    results().rename(columns={"spread": "separation"}).assign(
        separation=lambda rows: np.exp(rows.separation)
    ).to_csv(tmp_path / "t.csv", index=False)
    before = installed_in(tmp_path)
    out, err = Forked(before + PROGRAM).communicate()
    assert json.loads(out) == ["class separation", "log", 1.0], err
    analyzed = forked_command(
        "analyze", tmp_path / "t.csv", "--predictor", "separation", "--resamples", 200,
        "--json", tmp_path / "a.json", before=before,
    )  # fmt: skip
    assert (analyzed.communicate()[1], analyzed.returncode) == ("", 0)
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["options"][0]["predictor"] == "separation:log"
    assert content["correlations"]


def test_find_predictor_keeps_colons_of_names():
    assert find_predictor("a:b").column == "a:b"
    assert find_predictor("a:b:log").text == "a:b:log"
