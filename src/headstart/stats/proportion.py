"""Intervals for a proportion of test examples."""

from scipy.stats import binomtest

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
    interval = binomtest(round(accuracy * n), n).proportion_ci(level, method="wilson")
    return Estimate(
        mean=accuracy, low=interval.low, high=interval.high, level=level, n=n, method="wilson"
    )
