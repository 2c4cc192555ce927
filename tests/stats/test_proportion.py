import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from headstart.stats import wilson_interval


@given(
    st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
    st.sampled_from([0.5, 0.95, 0.999]),
)
def test_the_interval_is_scipys(counts, level):
    right, n = counts
    interval = wilson_interval(right / n, n, level)
    expected = binomtest(right, n).proportion_ci(level, method="wilson")
    assert interval.mean == right / n
    assert interval.low == pytest.approx(expected.low, abs=1e-12)
    assert interval.high == pytest.approx(expected.high, abs=1e-12)
    assert (interval.n, interval.level, interval.method) == (n, level, "wilson")


@pytest.mark.parametrize(("right", "n"), [(0, 1), (0, 10**6), (1, 1), (10**6, 10**6)])
def test_the_interval_stays_between_0_and_1(right, n):
    interval = wilson_interval(right / n, n)
    assert 0 <= interval.low <= interval.mean <= interval.high <= 1
    assert (interval.low == 0) or (interval.high == 1)
