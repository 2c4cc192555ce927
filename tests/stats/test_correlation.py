import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from headstart.stats import CORRELATIONS, least_squares

SCIPY = {"pearson": stats.pearsonr, "spearman": stats.spearmanr, "kendall": stats.kendalltau}


@pytest.mark.parametrize("name", SCIPY)
@given(st.integers(0, 10_000), st.integers(4, 20), st.booleans())
def test_a_weighted_statistic_is_scipys_of_the_resample(name, seed, n, ties):
    random = np.random.default_rng(seed)
    x, Y = random.normal(size=n), random.normal(size=(n, 2))
    if ties:
        x, Y = np.round(x), np.round(Y)
    drawn = random.integers(0, n, size=n)
    weights = np.bincount(drawn, minlength=n).astype(float)[None]
    ours = CORRELATIONS[name](weights, x, Y)[0]
    for s in range(2):
        if np.ptp(x[drawn]) == 0 or np.ptp(Y[drawn, s]) == 0:
            assert np.isnan(ours[s])
        else:
            assert ours[s] == pytest.approx(SCIPY[name](x[drawn], Y[drawn, s])[0], abs=1e-9)


@pytest.mark.parametrize("name", SCIPY)
def test_no_variation_has_no_correlation(name):
    x = np.arange(5.0)
    ours = CORRELATIONS[name](np.ones((1, 5)), x, np.full((5, 1), 0.1))
    assert np.isnan(ours).all()


@pytest.mark.parametrize("name", SCIPY)
def test_a_perfect_correlation_is_one(name):
    x = np.linspace(0.70, 0.81, 7)
    ours = CORRELATIONS[name](np.ones((1, 7)), x, np.stack([3 * x + 1e6, -x], axis=1))
    assert np.allclose(ours, [[1, -1]])
    assert (np.abs(ours) <= 1).all()


def test_the_line_is_numpys():
    random = np.random.default_rng(0)
    x, Y = random.normal(2, 0.1, size=12), random.normal(size=(12, 3))
    drawn = random.integers(0, 12, size=12)
    weights = np.stack([np.ones(12), np.bincount(drawn, minlength=12)])
    slope, intercept = least_squares(weights, x, Y)
    for row, rows in enumerate((np.arange(12), drawn)):
        theirs = np.polyfit(x[rows], Y[rows], 1)
        assert np.allclose(slope[row], theirs[0])
        assert np.allclose(intercept[row], theirs[1])
