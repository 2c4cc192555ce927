"""The mean of a table of random rows and columns, against REML, scipy, and by simulation."""

import numpy as np
import pytest
from scipy.stats import ttest_1samp
from statsmodels.regression.mixed_linear_model import MixedLM, VCSpec

from headstart.stats import crossed_mean


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
