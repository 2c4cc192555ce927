"""Intervals for a proportion of test examples."""

import numpy as np
from scipy.special import ndtri

from headstart.spec import Estimate

__all__ = ["wilson_interval"]


def wilson_interval(accuracy: float, n: int, level: float = 0.95) -> Estimate:
    """Wilson's score interval for a top-1 accuracy on `n` independent test examples.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    JASA 22 (1927). It says how well the test set pins the accuracy down, not how the number would
    vary over training sets; and two models tested on the same images are compared by a paired
    test, not by whether their intervals overlap.

    Parameters
    ----------
    accuracy
        Proportion in [0, 1].
    n
        Number of test examples, >= 1.
    level
        Coverage in (0, 1).
    """
    # In closed form: scipy.stats, which has it too, takes most of a second to import, and a table
    # of results needs nothing else of it.
    p, z = round(accuracy * n) / n, float(ndtri((1 + level) / 2))
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * float(np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)))
    # Of all right and none right one end is known, which rounding would miss.
    low = max(0.0, centre - half) if p > 0 else 0.0
    high = min(1.0, centre + half) if p < 1 else 1.0
    return Estimate(mean=accuracy, low=low, high=high, level=level, n=n, method="wilson")
