import numpy as np
import pytest
from scipy.special import logit

from headstart.stats import accuracy_of, log_odds
from refusals import refused


def test_it_is_the_logit():
    p = np.array([0.1, 0.5, 0.912])
    assert np.allclose(log_odds(p), logit(p), rtol=1e-15)
    assert np.allclose(accuracy_of(log_odds(p)), p)


def test_a_difference_multiplies_the_odds():
    # 90 % is 9 right to 1 wrong, 95 % 19 to 1.
    assert np.isclose(np.exp(log_odds(0.95) - log_odds(0.9)), 19 / 9)


def test_zero_and_one_take_the_empirical_logit():
    # log((k + 1/2) / (n - k + 1/2)): k = 20 of 20, and 0 of 20.
    assert np.isclose(log_odds(1.0, 20), np.log(20.5 / 0.5))
    assert np.isclose(log_odds(0.0, 20), -np.log(20.5 / 0.5))


@pytest.mark.parametrize("n", [1, 2, 7, 1000])
def test_the_empirical_logit_lies_beyond_all_others(n):
    k = np.arange(n + 1)
    assert np.all(np.diff(log_odds(k / n, n)) > 0)


def test_one_without_a_size_is_refused():
    with refused("statistics.size_missing"):
        log_odds([0.5, 1.0])


def test_no_proportion_is_refused():
    with refused("statistics.proportion"):
        log_odds(91.3)
