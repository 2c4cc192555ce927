import numpy as np
import pytest
from scipy import stats

from headstart.stats import (
    bca_interval,
    cluster_weights,
    jackknife_weights,
    pearson,
    resample_weights,
)


@pytest.fixture
def sample():
    random = np.random.default_rng(3)
    x = random.normal(size=16)
    return x, 0.7 * x + random.normal(size=16)


def test_bca_is_scipys_on_the_same_resamples(sample):
    x, y = sample
    result = stats.bootstrap(
        (x, y), lambda x, y: stats.pearsonr(x, y)[0],
        paired=True, vectorized=False, n_resamples=999, method="BCa", rng=5,
    )  # fmt: skip
    low, high = bca_interval(
        result.bootstrap_distribution[:, None],
        pearson(np.ones((1, 16)), x, y[:, None])[0],
        pearson(jackknife_weights(16), x, y[:, None]),
    )
    assert low[0] == pytest.approx(result.confidence_interval.low, abs=1e-12)
    assert high[0] == pytest.approx(result.confidence_interval.high, abs=1e-12)


def test_bca_agrees_with_scipys_own_resamples(sample):
    x, y = sample
    theirs = stats.bootstrap(
        (x, y), lambda x, y: stats.pearsonr(x, y)[0],
        paired=True, vectorized=False, n_resamples=4000, method="BCa", rng=7,
    ).confidence_interval  # fmt: skip
    weights = resample_weights(16, 20_000, np.random.default_rng(8))
    low, high = bca_interval(
        pearson(weights, x, y[:, None]),
        pearson(np.ones((1, 16)), x, y[:, None])[0],
        pearson(jackknife_weights(16), x, y[:, None]),
    )
    # Both are Monte Carlo: their ends vary by about this much.
    assert low[0] == pytest.approx(theirs.low, abs=0.04)
    assert high[0] == pytest.approx(theirs.high, abs=0.02)


def test_an_interval_does_not_depend_on_how_a_processor_rounds():
    """Of few clusters many resamples give the estimate itself, but for the order of a sum."""
    random = np.random.default_rng(11)
    drawn, value = random.normal(size=(2000, 1)), np.array([0.5])
    drawn[random.random(2000) < 0.3] = value
    jackknife = random.normal(size=(16, 1))
    for sign in (-1, 1, random.choice([-1, 1], size=drawn.shape)):
        rounded = bca_interval(drawn + 1e-15 * sign, value, jackknife)
        np.testing.assert_allclose(rounded, bca_interval(drawn, value, jackknife), atol=1e-9)


def test_weights_are_resamples():
    weights = resample_weights(7, 2000, np.random.default_rng(0))
    assert weights.shape == (2000, 7)
    assert (weights.sum(axis=1) == 7).all()
    # Each unit is left out of (1 - 1/7)^7 of the resamples.
    assert np.mean(weights == 0) == pytest.approx((6 / 7) ** 7, abs=0.01)


def test_a_family_is_drawn_whole():
    weights = cluster_weights([[2.0, 0.0], [1.0, 1.0]], [0, 0, 1])
    assert weights.tolist() == [[2, 2, 0], [1, 1, 1]]


def test_what_does_not_vary_has_no_interval():
    low, high = bca_interval(np.ones((50, 1)), [1.0], np.ones((5, 1)))
    assert np.isnan([low, high]).all()


def test_resamples_without_a_statistic_are_left_out():
    drawn = np.random.default_rng(1).normal(size=(500, 1))
    jackknife = np.linspace(-0.2, 0.3, 9)[:, None]
    holed = np.concatenate([drawn, np.full((40, 1), np.nan)])
    assert np.array_equal(
        bca_interval(drawn, [0.1], jackknife), bca_interval(holed, [0.1], jackknife)
    )
