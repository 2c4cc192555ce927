import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats
from scipy.special import logit

import headstart as hs
from headstart.stats import mixed_model


@pytest.fixture
def cells():
    random = np.random.default_rng(1)
    model, dataset = (codes.ravel() for codes in np.indices((10, 8)))
    upstream = random.normal(1.1, 0.2, 10)[model]
    y = 0.9 * upstream + random.normal(0, 1, 8)[dataset] + random.normal(0, 0.2, 10)[model]
    y = y + random.normal(0, 0.1, len(y))
    return pd.DataFrame({"y": y, "x": upstream, "model": model, "dataset": dataset})


def test_it_is_statsmodels_called_directly(cells):
    ours = mixed_model(cells.y, cells.x, cells.model, cells.dataset)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = smf.mixedlm(
            "y ~ x", cells, groups=np.ones(len(cells)),
            vc_formula={"dataset": "0 + C(dataset)", "model": "0 + C(model)"},
        ).fit(reml=True)  # fmt: skip
    assert ours.slope == pytest.approx(theirs.params["x"], rel=1e-4)
    assert ours.se == pytest.approx(theirs.bse["x"], rel=1e-3)
    assert ours.sd_dataset**2 == pytest.approx(theirs.vcomp[0], rel=1e-2)
    assert ours.sd_model**2 == pytest.approx(theirs.vcomp[1], rel=1e-2)
    assert ours.sd_residual**2 == pytest.approx(theirs.scale, rel=1e-3)
    assert ours.converged


def closed_form(scores, x):
    """REML of a complete table from its analysis of variance: se and standard deviations."""
    n_models, n_datasets = scores.shape
    rows, columns = scores.mean(axis=1), scores.mean(axis=0)
    residual = scores - rows[:, None] - columns + scores.mean()
    spread = (residual**2).sum() / ((n_models - 1) * (n_datasets - 1))
    beyond = rows - np.polyval(np.polyfit(x, rows, 1), x)
    of_models = (beyond**2).sum() / (n_models - 2) - spread / n_datasets
    of_datasets = columns.var(ddof=1) - spread / n_models
    se = np.sqrt((of_models + spread / n_datasets) / ((x - x.mean()) ** 2).sum())
    return se, np.sqrt(of_datasets), np.sqrt(of_models), np.sqrt(spread)


@pytest.mark.parametrize("setting", ["logistic_regression", "fine_tuned", "random_init"])
def test_of_the_papers_table_it_is_the_closed_form(setting):
    cells = hs.analyze("kornblith2019", resamples=100).cells.query("setting == @setting")
    wide = cells.pivot(index="model", columns="dataset", values="log_odds")
    x = logit(cells.groupby("model").upstream_accuracy.first().to_numpy())
    model, dataset = (codes.ravel() for codes in np.indices(wide.shape))
    ours = mixed_model(wide.to_numpy().ravel(), x[model], model, dataset)
    se, *spreads = closed_form(wide.to_numpy(), x)
    assert ours.se == pytest.approx(se, rel=1e-5)
    assert (ours.sd_dataset, ours.sd_model, ours.sd_residual) == pytest.approx(spreads, rel=1e-4)
    assert ours.converged
    half = stats.t.ppf(0.975, 14) * se
    assert (ours.high - ours.low) / 2 == pytest.approx(half, rel=1e-5)


@pytest.mark.parametrize("seed", range(12))
def test_small_model_variances_are_found_too(seed):
    random = np.random.default_rng(seed)
    x = random.normal(1.1, 0.2, 16)
    scores = x[:, None] + random.normal(0, 0.95, 12) + random.normal(0, 0.04, (16, 1))
    scores = scores + random.normal(0, 0.08, scores.shape)
    model, dataset = (codes.ravel() for codes in np.indices(scores.shape))
    ours = mixed_model(scores.ravel(), x[model], model, dataset)
    assert ours.se == pytest.approx(closed_form(scores, x)[0], rel=1e-3)


def test_intervals_hold_the_slope_also_with_few_models():
    random, held = np.random.default_rng(0), 0
    model, dataset = (codes.ravel() for codes in np.indices((5, 6)))
    for _ in range(200):
        x = random.normal(0, 1, 5)
        scores = x[:, None] + random.normal(0, 1, 6) + random.normal(0, 0.5, (5, 1))
        scores = scores + random.normal(0, 0.5, scores.shape)
        ours = mixed_model(scores.ravel(), x[model], model, dataset)
        held += ours.low <= 1 <= ours.high
    # Three standard errors of a proportion of 200; by the normal quantile it would be 0.85.
    assert held / 200 == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / 200))


@pytest.mark.parametrize("constant", [True, False])
def test_what_cannot_be_told_apart_is_refused(constant):
    # A dataset of its own for each model; or no residual at all.
    model, dataset = (
        np.indices((4, 3)).reshape(2, -1) if constant else np.tile(np.arange(4), (2, 1))
    )
    y = np.ones(12) if constant else np.array([0.1, 0.5, 0.2, 0.9])
    with pytest.raises(ValueError, match="more cells than models and datasets"):
        mixed_model(y, np.linspace(1, 2, 4)[model], model, dataset)


def test_of_a_complete_table_the_slope_is_that_of_the_means(cells):
    # The design is balanced and x varies between models alone, so the estimates coincide.
    means = cells.groupby("model").mean()
    ours = mixed_model(cells.y, cells.x, cells.model, cells.dataset)
    assert ours.slope == pytest.approx(np.polyfit(means.x, means.y, 1)[0], rel=1e-6)


def test_cells_may_be_missing(cells):
    ours = mixed_model(*(cells.drop(index=[3, 17, 44])[c] for c in ("y", "x", "model", "dataset")))
    assert ours.slope == pytest.approx(0.9, abs=4 * ours.se)
