"""Own models beside published ones: how far from the line, by the textbook's formula."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import expit, logit

import headstart as hs

DATASETS = ("Food-101", "CIFAR-10", "DTD")


def own(upstream: float | None = 0.8, log_odds: float = 3.0) -> pd.DataFrame:
    frame = pd.DataFrame({"model": "mine", "dataset": DATASETS, "setting": "linear_probe_lbfgs"})
    return frame.assign(accuracy=expit(log_odds), upstream_accuracy=upstream)


def test_the_interval_is_that_of_a_new_observation():
    (row,) = hs.analyze("clip2021", own(), resamples=100).above_line.to_dict("records")
    cells = hs.analyze("clip2021", resamples=100).cells
    table = cells[cells.dataset.isin(DATASETS)].groupby("model")
    y = table.log_odds.mean()
    x = logit(table.upstream_accuracy.first())
    n, at = len(x), logit(0.8)
    line = stats.linregress(x, y)
    rest = y - line.intercept - line.slope * x
    spread = np.sqrt((rest**2).sum() / (n - 2))
    spread *= np.sqrt(1 + 1 / n + (at - x.mean()) ** 2 / ((x - x.mean()) ** 2).sum())
    half = stats.t.ppf(0.975, n - 2) * spread
    difference = 3.0 - line.intercept - line.slope * at
    assert row["n_models"] == n
    assert row["n_datasets"] == len(DATASETS)
    assert row["difference"] == pytest.approx(difference)
    assert (row["low"], row["high"]) == pytest.approx((difference - half, difference + half))


@pytest.mark.parametrize("mine", [own(None), own().assign(setting="my own way")])
def test_without_a_predictor_or_a_published_setting_there_is_no_line(mine):
    assert hs.analyze("clip2021", mine, resamples=100).above_line.empty


def test_published_models_alone_are_nobodys_own():
    assert hs.analyze("clip2021", resamples=100).above_line.empty
    assert hs.analyze(own(), resamples=100).above_line.empty
