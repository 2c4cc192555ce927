import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.stats import wilson_interval

# The 97.5 % point of the standard normal distribution, from tables.
Z = 1.959963984540054


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_interval_equals_wilsons_closed_form(counts):
    right, n = counts
    p = right / n
    centre = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    interval = wilson_interval(p, n)
    assert interval.mean == p
    assert interval.low == pytest.approx(max(0.0, centre - half), abs=1e-9)
    assert interval.high == pytest.approx(min(1.0, centre + half), abs=1e-9)
    assert (interval.n, interval.level, interval.method) == (n, 0.95, "wilson")
