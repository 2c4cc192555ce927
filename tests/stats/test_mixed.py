"""Crossed random effects: against REML of statsmodels, closed forms, scipy, and by simulation."""

import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from scipy import stats
from scipy.special import logit
from scipy.stats import ttest_1samp
from statsmodels.regression.mixed_linear_model import MixedLM, VCSpec

import headstart as hs
from headstart.stats import crossed_mean, mixed_model
from headstart.stats.mixed import _balanced, _by_likelihood
from refusals import refused


def table(random, rows, columns, of_row=1.0, of_column=1.0, residual=0.5):
    return (
        0.3
        + of_row * random.normal(size=(rows, 1))
        + of_column * random.normal(size=(1, columns))
        + residual * random.normal(size=(rows, columns))
    )


def test_mean_and_standard_error_are_those_of_restricted_maximum_likelihood():
    y = table(np.random.default_rng(1), 4, 6)
    row, column = (one.ravel() for one in np.indices(y.shape))
    indicators = [np.eye(4)[row], np.eye(6)[column]]
    names = [[str(i) for i in range(one.shape[1])] for one in indicators]
    components = VCSpec(["row", "column"], [[n] for n in names], [[i] for i in indicators])
    fitted = MixedLM(y.ravel(), np.ones((24, 1)), np.ones(24), exog_vc=components).fit(reml=True)
    found = crossed_mean(y)
    assert found.mean == pytest.approx(fitted.fe_params[0])
    assert found.se == pytest.approx(fitted.bse_fe[0], rel=1e-3)


@pytest.mark.parametrize("shape", [(1, 7), (7, 1)])
def test_one_row_or_one_column_is_students_interval(shape):
    y = np.random.default_rng(2).normal(size=shape)
    expected = ttest_1samp(y.ravel(), 0).confidence_interval(0.9)
    found = crossed_mean(y, level=0.9)
    assert (found.low, found.high, found.df) == pytest.approx((*expected, 6))


def test_without_a_component_of_rows_it_is_students_interval_of_column_means():
    y = np.random.default_rng(3).normal(size=(1, 8)) + [[-0.1], [0.1]] * np.array([[1, -1] * 4])
    expected = ttest_1samp(y.mean(axis=0), 0).confidence_interval()
    found = crossed_mean(y)
    assert (found.low, found.high, found.df) == pytest.approx((*expected, 7))


@pytest.mark.parametrize("parts", [(1, 0, 0.5), (0, 1, 0.5), (1, 1, 0.5), (0, 0, 1)])
def test_intervals_hold_the_mean(parts):
    random = np.random.default_rng(4)
    found = [crossed_mean(table(random, 3, 8, *parts)) for _ in range(1000)]
    held = np.mean([one.low < 0.3 < one.high for one in found])
    assert 0.92 < held <= 1.0


def test_rows_and_columns_change_places():
    y = table(np.random.default_rng(5), 3, 5)
    assert crossed_mean(y.T) == pytest.approx(crossed_mean(y))


def test_what_does_not_vary_and_what_is_too_little():
    assert crossed_mean(np.full((2, 3), 0.25))[:2] == (0.25, 0.0)
    assert np.isnan(crossed_mean([[0.5]])).tolist() == [False, True, True, True, True]
    assert np.isnan(crossed_mean(np.empty((0, 4)))).all()


def test_intervals_hold_the_mean_also_where_cells_are_missing():
    """400 tables, a fifth of the cells missing; the Monte Carlo standard error is 1.1 points."""
    random, held = np.random.default_rng(6), 0
    for _ in range(400):
        y = table(random, 6, 8)
        # The first row and column stay whole, so that all is connected.
        y[1:, 1:][random.random((5, 7)) < 0.25] = np.nan
        found = crossed_mean(y)
        held += found.low < 0.3 < found.high
    assert 0.91 < held / 400 <= 0.99


def test_where_only_the_residual_varies_and_cells_are_missing_it_is_least_squares():
    """Rows and columns of no effect leave the standard error of the additive fit's mean."""
    y = table(np.random.default_rng(7), 4, 5, 0, 0)
    y[0, 0] = y[1, 3] = np.nan
    row, column = np.nonzero(np.isfinite(y))
    design = np.column_stack([
        np.ones(len(row)), np.eye(4)[row, 1:] - 0.25, np.eye(5)[column, 1:] - 0.2
    ])  # fmt: skip
    coefficients = np.linalg.lstsq(design, y[row, column], rcond=None)[0]
    assert crossed_mean(y).mean == pytest.approx(coefficients[0])


def made(random, n_models=10, n_datasets=8, slopes=0.3, models=0.2, residual=0.1):
    """(M, D) scores with a mean slope of 1, and (M,) upstream logits."""
    x = random.normal(1.1, 0.6, n_models)
    of_dataset = random.normal(0, 1, n_datasets), random.normal(1, slopes, n_datasets)
    y = of_dataset[0] + x[:, None] * of_dataset[1] + random.normal(0, models, (n_models, 1))
    return y + random.normal(0, residual, y.shape), x


def with_holes(y, random, share=0.15):
    return np.where(random.random(y.shape) < share, np.nan, y)


def theirs(y, x):
    """Statsmodels' MixedLM with the three variance components."""
    model, dataset = np.nonzero(np.isfinite(y))
    z = x - x.mean()
    cells = pd.DataFrame({"y": y[model, dataset], "x": z[model], "m": model, "d": dataset})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return smf.mixedlm(
            "y ~ x", cells, groups=np.ones(len(cells)),
            vc_formula={"a": "0 + C(d)", "b": "0 + C(d):x", "c": "0 + C(m)"},
        ).fit(reml=True, method=["nm", "bfgs"], maxiter=3000)  # fmt: skip


@pytest.mark.parametrize("holes", [False, True])
def test_it_is_statsmodels_called_directly(holes):
    random = np.random.default_rng(1)
    y, x = made(random)
    y = with_holes(y, random) if holes else y
    ours, fitted = mixed_model(y, x), theirs(y, x)
    assert ours.slope == pytest.approx(fitted.params["x"], rel=1e-3)
    assert ours.se == pytest.approx(fitted.bse["x"], rel=2e-3)
    spreads = ours.sd_dataset**2, ours.sd_slope**2, ours.sd_model**2
    assert spreads == pytest.approx(fitted.vcomp, rel=1e-2)
    assert ours.sd_residual**2 == pytest.approx(fitted.scale, rel=1e-2)
    assert ours.converged
    assert ours.random_slopes


@pytest.mark.parametrize("holes", [False, True])
def test_the_test_of_slopes_is_the_analysis_of_covariance(holes):
    random = np.random.default_rng(2)
    y, x = made(random, slopes=0.05)
    y = with_holes(y, random) if holes else y
    model, dataset = np.nonzero(np.isfinite(y))
    one = np.column_stack([np.eye(10)[model], np.eye(8)[dataset, 1:]])
    # Less one slope, which the models' own effects hold.
    each = np.column_stack([one, np.eye(8)[dataset, 1:] * x[model, None]])
    fits = [sm.OLS(y[model, dataset], design).fit() for design in (one, each)]
    f, p, df = fits[1].compare_f_test(fits[0])
    ours = mixed_model(y, x)
    assert (ours.f, ours.f_p) == pytest.approx((f, p))
    assert (ours.f_df, ours.f_df_residual) == (df, fits[1].df_resid)


def test_of_the_papers_table():
    cells = hs.analyze("kornblith2019", resamples=100).cells
    cells = cells.query("setting == 'logistic_regression'")
    wide = cells.pivot(index="model", columns="dataset", values="log_odds")
    x = logit(cells.groupby("model").upstream_accuracy.first().to_numpy())
    ours = mixed_model(wide.to_numpy(), x)
    # Computed apart, from the per-dataset least-squares lines.
    assert ours.f == pytest.approx(8.5, abs=0.05)
    assert ours.se == pytest.approx(0.092, abs=5e-4)
    # The slope is that of the means.
    assert ours.slope == pytest.approx(np.polyfit(x, wide.mean(axis=1), 1)[0])


@pytest.mark.parametrize("seed", range(6))
def test_likelihood_and_closed_form_agree_on_complete_tables(seed):
    y, x = made(np.random.default_rng(seed))
    z = x - x.mean()
    (one, variances, _), (other, found, converged) = (
        (*_balanced(y, z, 0.95), True), _by_likelihood(y, z, 0.95, True)
    )  # fmt: skip
    assert converged
    if min(variances) > 0:
        assert tuple(other) == pytest.approx(tuple(one), rel=2e-3)
        assert found == pytest.approx(variances, rel=1e-2)


def test_lines_of_two_datasets_and_no_models_variance_is_the_t_test_of_slopes():
    """Per-dataset slopes far apart: their mean has Student's interval with D - 1 = 1 df."""
    x = np.linspace(-1, 1, 9)
    y = np.array([0.0, 3.0]) * x[:, None] + 1e-3 * np.random.default_rng(0).normal(size=(9, 2))
    slopes = np.polyfit(x, y, 1)[0]
    expected = stats.t.interval(0.95, 1, slopes.mean(), slopes.std(ddof=1) / np.sqrt(2))
    ours = mixed_model(y, x)
    assert (ours.low, ours.high) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(("options", "holes"), [
    ({}, False), ({"slopes": 0.0}, False), ({"models": 0.0}, False),
    ({"n_models": 5, "n_datasets": 6, "models": 0.5, "residual": 0.5}, False),
    ({"n_models": 20, "n_datasets": 3}, False), ({}, True),
])  # fmt: skip
def test_intervals_hold_the_mean_slope(options, holes):
    """In 250 tables (50 where cells are missing); three Monte Carlo errors beyond 90 to 98 %."""
    random, held = np.random.default_rng(0), 0
    repeats = 50 if holes else 250
    for _ in range(repeats):
        y, x = made(random, **options)
        y = with_holes(y, random) if holes else y
        ours = mixed_model(y, x)
        held += ours.low <= 1 <= ours.high
    error = np.sqrt(0.95 * 0.05 / repeats)
    assert 0.95 - 3 * error - 0.02 <= held / repeats <= 1.0
    # No variance of slopes or models errs to the wide side.
    if options.get("slopes") != 0.0 and options.get("models") != 0.0:
        assert held / repeats <= 0.98 + error


def test_one_slope_for_all_where_cells_are_too_few():
    random = np.random.default_rng(4)
    y, x = made(random, 4, 3)
    # Seven cells of four models and three datasets leave one degree of freedom.
    y[[0, 1, 1, 2, 3], [2, 0, 2, 1, 0]] = np.nan
    ours = mixed_model(y, x)
    assert not ours.random_slopes
    assert ours.sd_slope == 0


# One path through all models and datasets: as many cells as there are means.
PATH = np.array(
    [[0.1, np.nan, np.nan], [0.5, 0.2, np.nan], [np.nan, 0.4, 0.3], [np.nan, 0.6, np.nan]]
)


@pytest.mark.parametrize(("scores", "code"), [
    (np.ones((4, 3)), "residual_none"), (PATH, "residual_few"), (PATH[:3, :1], "cells_few"),
    (np.where(np.eye(4, 3) > 0, 0.5, np.nan), "cells_none"),
])  # fmt: skip
def test_what_cannot_be_told_apart_is_refused(scores, code):
    with refused(f"statistics.{code}"):
        mixed_model(scores, np.linspace(1, 2, len(scores)))
