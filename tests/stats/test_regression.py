"""Correlations without each unit are scipy's; their intervals hold what they say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from headstart.stats import (
    CORRELATIONS,
    correlation_difference,
    correlation_interval,
    least_squares,
    leave_out_correlations,
    pearson,
    resample_weights,
)

SCIPY = {"pearson": stats.pearsonr, "spearman": stats.spearmanr, "kendall": stats.kendalltau}


def scipys(name, x, y) -> float:
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return np.nan
    return SCIPY[name](x, y)[0]


@pytest.mark.parametrize("name", CORRELATIONS)
@given(st.integers(0, 10_000), st.integers(5, 14), st.booleans(), st.booleans())
def test_with_and_without_each_unit_it_is_scipys(name, seed, n, ties, families):
    random = np.random.default_rng(seed)
    x, Y = random.normal(size=n), random.normal(size=(n, 2))
    if ties:
        x, Y = np.round(x), np.round(Y)
    cluster = np.arange(n)
    if families:
        cluster = np.unique(random.integers(0, 4, size=n), return_inverse=True)[1]
    estimate, left_out = leave_out_correlations(name, x, Y, cluster)
    for s in range(2):
        expected = scipys(name, x, Y[:, s])
        assert estimate[s] == pytest.approx(expected, abs=1e-9, nan_ok=True)
        for unit in range(cluster.max() + 1):
            kept = cluster != unit
            expected = scipys(name, x[kept], Y[kept, s]) if kept.sum() > 1 else np.nan
            assert left_out[unit, s] == pytest.approx(expected, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("exponent", [-1000, -540, 510, 530, 1000])
def test_correlations_and_lines_of_huge_and_tiny_values_are_those_of_their_digits(exponent):
    random = np.random.default_rng(0)
    x = random.normal(size=9)
    Y, one, units = x[:, None] + random.normal(size=(9, 2)), np.ones((1, 9)), np.arange(9)
    huge, huge_y = np.ldexp(x, exponent), np.ldexp(Y, exponent)
    for name in CORRELATIONS:
        found = correlation_interval(name, huge, huge_y, units)
        assert np.array_equal(found, correlation_interval(name, x, Y, units))
    slope, intercept = least_squares(one, x, Y)
    found = least_squares(one, huge, Y)
    assert np.array_equal(found, [np.ldexp(slope, -exponent), intercept])


@pytest.mark.parametrize("name", CORRELATIONS)
@pytest.mark.parametrize("n", [1, 2, 4])
def test_of_few_units_there_is_no_interval(name, n):
    x = np.arange(float(n))
    found = correlation_interval(name, x, x[:, None], np.arange(n))
    assert found.estimate == pytest.approx(1 if n > 1 else np.nan, nan_ok=True)
    assert np.isnan([found.low, found.high]).all()


@pytest.mark.parametrize("name", CORRELATIONS)
@pytest.mark.parametrize("rho", [0.0, 0.7, 0.95])
@pytest.mark.parametrize("n", [8, 40])
@pytest.mark.parametrize("tails", ["normal", "t5"])
def test_intervals_hold_the_true_correlation(name, rho, n, tails):
    """100 draws of x, 4 of y for each: the Monte Carlo error of a coverage of 95 % is 1.1 points.

    That is the binomial one of 400 samples, and what draws of one x have in common adds to it.
    """
    random = np.random.default_rng([n, round(100 * rho), 1])
    held, true = [], rho
    if name != "pearson":
        # Both distributions are elliptical, for which tau is 2/pi arcsin(rho) (Lindskog et al.
        # 2003). Spearman's is a closed form of the normal one; the other is from 2e6 draws.
        true = 2 / np.pi * np.arcsin(rho)
    if name == "spearman":
        true = 6 / np.pi * np.arcsin(rho / 2)
        true = {0.7: 0.6714, 0.95: 0.9410}.get(rho, 0.0) if tails == "t5" else true
    for _ in range(100):
        x = random.normal(size=(n, 1))
        Y = rho * x + np.sqrt(1 - rho**2) * random.normal(size=(n, 4))
        if tails == "t5":
            scale = np.sqrt(5 / random.chisquare(5, size=(n, 1)))
            x, Y = x * scale, Y * scale
        found = correlation_interval(name, x[:, 0], Y, np.arange(n))
        held.extend((found.low <= true) & (true <= found.high))
        inner = np.abs(found.estimate) < 1
        assert np.all((found.low > -1) & (found.low <= found.high) & (found.high < 1), where=inner)
    assert 0.90 <= np.mean(held) <= (0.985 if name == "pearson" else 1.0)


@pytest.mark.parametrize("n_families", [5, 8, 12])
def test_of_relatives_the_interval_over_families_holds_it(n_families):
    """300 samples; families of 1 to 4 members that repeat each other."""
    random = np.random.default_rng(n_families)
    rho, held, by_model = 0.7, 0, 0
    for _ in range(300):
        family = np.repeat(np.arange(n_families), random.integers(1, 5, size=n_families))
        own = random.multivariate_normal([0, 0], [[1, rho], [rho, 1]], size=len(family))
        shared = random.multivariate_normal([0, 0], [[1, rho], [rho, 1]], size=n_families)
        x, y = (np.sqrt(0.8) * shared[family] + np.sqrt(0.2) * own).T
        for cluster in (family, np.arange(len(family))):
            found = correlation_interval("pearson", x, y[:, None], cluster)
            inside = found.low[0] <= rho <= found.high[0]
            held += inside and cluster is family
            by_model += inside and cluster is not family
    # Three standard errors below 95 % are 91.2 %.
    assert held / 300 >= 0.912
    assert by_model < held


@pytest.mark.parametrize(("name", "estimate", "variance"), [
    # With half a discordant pair of eight models; Fieller's variance, and Bonett and Wright's.
    ("kendall", 1 - 1 / 28, 0.437 / 4), ("spearman", 1 - 1 / 84, (1 + (1 - 1 / 84) ** 2 / 2) / 5),
])  # fmt: skip
def test_a_perfect_order_is_not_taken_for_certain(name, estimate, variance):
    x = np.arange(8.0)
    lower = np.tanh(np.arctanh(estimate) + stats.norm.ppf(0.025) * np.sqrt(variance))
    for sign in (1, -1):
        found = correlation_interval(name, x, sign * x[:, None] ** 3, np.arange(8))
        ends = sign * np.array([found.low[0], found.high[0]])
        assert ends.max() == 1
        assert ends.min() == pytest.approx(lower)


def test_one_discordant_pair_leaves_one_out_of_the_interval():
    x = np.arange(40.0)
    y = x.copy()
    y[[20, 21]] = y[[21, 20]]
    for name in ("spearman", "kendall"):
        found = correlation_interval(name, x, y[:, None], np.arange(40))
        assert found.low[0] < found.estimate[0] < found.high[0] < 1


def test_an_exact_line_has_no_interval():
    x = np.linspace(0.70, 0.81, 7)
    found = correlation_interval("pearson", x, np.stack([3 * x + 1e6, -x], axis=1), np.arange(7))
    assert found.estimate == pytest.approx([1, -1])
    assert np.isnan([found.low, found.high]).all()


def test_rounding_takes_no_correlation_over_1():
    random = np.random.default_rng(0)
    x = random.normal(size=8)
    # Without a limit 44 and 37 of these resamples are beyond 1 and -1, by at most 4e-16.
    found = pearson(resample_weights(8, 200, random), x, np.stack([3 * x + 1, -x], axis=1))
    np.testing.assert_allclose(found, np.tile([1.0, -1.0], (200, 1)), rtol=0, atol=1e-12)
    assert np.abs(found).max() == 1


@pytest.mark.parametrize("name", CORRELATIONS)
def test_under_five_units_there_is_no_interval(name):
    random = np.random.default_rng(0)
    x, Y = random.normal(size=8), random.normal(size=(8, 1))
    for cluster in (np.arange(8) // 2, np.zeros(8, dtype=int)):
        found = correlation_interval(name, x, Y, cluster)
        assert np.isfinite(found.estimate).all()
        assert np.isnan([found.low, found.high]).all()


@pytest.mark.parametrize("name", CORRELATIONS)
@pytest.mark.parametrize("value", [0.1, 2.1972245773362196])
def test_rounding_is_no_correlation(name, value):
    """Means of equal numbers differ in their last bits."""
    x = np.arange(6.0)
    rounding = value * (1 + 2e-16 * np.array([0, 1, 0, 1, 1, 0]))
    found = correlation_interval(name, x, rounding[:, None], np.arange(6))
    assert np.isnan(found.estimate).all()


@pytest.mark.parametrize("n", [5, 8, 16])
@pytest.mark.parametrize(("first", "second"), [(0.95, 0.8), (0.5, 0.5)])
def test_intervals_hold_the_difference_of_two_sets_of_weights(n, first, second):
    """300 samples; the models of both are alike. The Monte Carlo error of 95 % is 1.3 points."""
    random, held = np.random.default_rng(n), 0
    for _ in range(300):
        shared = random.normal(size=(2, n))
        sets = []
        for rho in (first, second):
            own = random.normal(size=(2, n))
            x, e = np.sqrt([[0.7], [0.5]]) * shared + np.sqrt([[0.3], [0.5]]) * own
            sets.append((x, rho * x + np.sqrt(1 - rho**2) * e))
        difference, low, high = correlation_difference(*sets)
        assert low <= difference <= high
        held += low <= first - second <= high
    assert 0.91 <= held / 300 <= 0.995


def test_a_set_does_not_differ_from_itself():
    x, y = np.random.default_rng(0).normal(size=(2, 9))
    found = correlation_difference((x, y), (x, y))
    assert found[0] == 0
    assert np.isnan(found[1:]).all()


def test_weights_are_resamples():
    weights = resample_weights(7, 2000, np.random.default_rng(0))
    assert weights.shape == (2000, 7)
    assert (weights.sum(axis=1) == 7).all()
    # Each unit is left out of (1 - 1/7)^7 of the resamples.
    assert np.mean(weights == 0) == pytest.approx((6 / 7) ** 7, abs=0.01)


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
