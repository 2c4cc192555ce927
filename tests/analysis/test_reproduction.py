"""The published numbers of Kornblith, Shlens, Le (CVPR 2019), from the digitised table."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import headstart as hs

PUBLISHED = Path(__file__).parent / "published"


@pytest.fixture(scope="module")
def analysis():
    return hs.analyze("kornblith2019", error_bars="cousineau", resamples=1000)


@pytest.fixture(scope="module")
def means(analysis):
    """Our model means beside those digitised from Figs 1 and 2."""
    theirs = pd.read_csv(PUBLISHED / "kornblith2019_model_means_digitised.csv")
    joined = theirs.merge(analysis.model_means, on=["model", "setting"])
    assert len(joined) == len(theirs) == len(analysis.model_means) == 48
    return joined


def correlation(analysis, **which):
    rows = analysis.correlations
    for name, value in which.items():
        rows = rows[rows[name] == value]
    return rows.iloc[0] if len(rows) == 1 else pytest.fail(f"{len(rows)} rows for {which}")


@pytest.mark.parametrize(
    ("setting", "r", "printed"),
    # Figs 1 and 2 print two digits; the third is from the digitised points.
    [
        ("logistic_regression", 0.986, 0.99),
        ("fine_tuned", 0.956, 0.96),
        ("random_init", 0.551, 0.55),
    ],
)
def test_correlation_over_all_datasets(analysis, setting, r, printed):
    row = correlation(analysis, setting=setting, group="all", statistic="pearson_logit")
    assert row.estimate == pytest.approx(r, abs=0.002)
    assert round(row.estimate, 2) == printed
    assert row.low < row.estimate < row.high
    assert (row.n_models, row.n_datasets, row.n_families) == (16, 12, 5)


@pytest.mark.parametrize(
    ("group", "n_datasets", "r"),
    # Section 4.4 prints 0.29 and 0.86.
    [
        ("under 10,000 training images", 7, 0.298),
        ("10,000 training images and over", 5, 0.866),
    ],
)
def test_random_initialisation_by_dataset_size(analysis, group, n_datasets, r):
    row = correlation(analysis, setting="random_init", group=group, statistic="pearson_logit")
    assert row.n_datasets == n_datasets
    assert row.estimate == pytest.approx(r, abs=0.002)


def test_fine_tuning_beats_logistic_regression_in_178_of_192(analysis):
    # The paper counts 179 on its own numbers; one pair is a tie within the digitisation.
    rows = analysis.settings.set_index(["setting", "other"])
    row = rows.loc[("fine_tuned", "logistic_regression")]
    assert (row.wins, row.cells) == (178, 192)
    back = rows.loc[("logistic_regression", "fine_tuned")]
    assert back.wins + row.wins + row.ties == 192
    assert back.difference == pytest.approx(-row.difference)
    assert 0 < row.low < row.difference < row.high


def test_model_means(means):
    assert np.abs(means["mean_log_odds_over_12_datasets"] - means["mean"]).max() < 0.003


def test_standard_errors_are_cousineaus(means):
    drawn = means["se_error_bar_log_odds"]
    assert np.abs(drawn - means["se"]).max() < 0.002
    assert (drawn / means["se"]).mean() == pytest.approx(1, abs=0.013)
    # With Morey's factor they would not fit: sqrt(16 / 15) is 3 % more.
    morey = means["se"] * np.sqrt(16 / 15)
    assert (drawn / morey).mean() < 0.975


def test_which_models_are_not_different_from_the_best(means):
    # The paper corrects for nothing; simultaneous intervals leave more models open.
    alone = hs.analyze("kornblith2019", resamples=100, correction="none").model_means
    theirs = means.set_index(["model", "setting"])["not_sig_diff_from_best_p05"].astype(bool)
    ours = alone.set_index(["model", "setting"])["not_different"].astype(bool)[theirs.index]
    assert (ours == theirs).all()
    assert ours.sum() == 5
    corrected = means.set_index(["model", "setting"])["not_different"].astype(bool)
    assert corrected[theirs].all()
    assert corrected.sum() > theirs.sum()


def test_the_accuracies_are_marked_as_digitised(analysis, cli):
    assert analysis.sources[0]["digitised"] is True
    assert "DIGITISED" in cli("analyze", "kornblith2019", "--resamples", "200").out


def test_prediction_intervals_cover_what_they_say(analysis):
    assert analysis.prediction.cells.sum() == 576
    coverage = analysis.prediction.covered.sum() / 576
    # 576 cells are 16 models and 12 datasets: far fewer are independent.
    assert coverage == pytest.approx(0.95, abs=0.03)


def test_clip_linear_probes():
    analysis = hs.analyze("clip2021", resamples=1000)
    assert len(analysis.cells) == 66 * 12
    row = correlation(analysis, group="all", statistic="pearson_logit")
    assert (row.n_models, row.n_datasets) == (66, 12)
    cells = analysis.cells
    # Radford et al. (2021), Table 10, first row.
    food = cells[(cells.model == "LM RN50") & (cells.dataset == "Food-101")].iloc[0]
    assert food.accuracy == pytest.approx(0.813)
    # Independently: numpy on the table's own numbers.
    wide = cells.pivot(index="model", columns="dataset", values="accuracy")
    upstream = cells.groupby("model").upstream_accuracy.first()[wide.index]
    y = np.log(wide / (1 - wide)).mean(axis=1)
    expected = np.corrcoef(np.log(upstream / (1 - upstream)), y)[0, 1]
    assert row.estimate == pytest.approx(expected)
