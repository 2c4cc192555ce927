"""Tests whether a result is significantly above chance."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import bdtrc

from headstart.metrics.scorers import score

__all__ = ["AtChance", "at_chance", "beats_chance"]

# 199 permutations give p-values down to 0.005: enough for the level of 0.01.
PERMUTATIONS = 199
LEVEL = 0.01


class AtChance(NamedTuple):
    """A test result that is not significantly above chance.

    `accuracy` and `chance` are proportions, `n` is the number of test images, `metric` the name of
    the metric.
    """

    metric: str
    accuracy: float
    chance: float
    n: int

    @property
    def text(self) -> str:
        """One line for a person."""
        return (
            f"{self.metric} {100 * self.accuracy:.2f} % is not significantly above chance "
            f"({100 * self.chance:.2f} %, n = {self.n:,}, one-sided test at {LEVEL:g})"
        )


def at_chance(
    metric: str, labels: npt.NDArray[np.int64], scores: npt.NDArray[np.floating]
) -> AtChance | None:
    """Return the result and chance if it is not significantly above chance, else None.

    With one label per image, the number of correct predictions is tested against always predicting
    the most frequent test class (exact binomial, one-sided, level 0.01). This holds for any metric,
    since mean per-class accuracy is not a mean over independent images. With several labels per
    image, mAP is tested against the mAP of permuted scores (199 permutations, seeded).

    Parameters
    ----------
    metric
        Metric of the dataset.
    labels
        (n,) classes from 0, or (n, K) in {1, 0, -1}.
    scores
        (n, K) decision values.
    """
    n = len(labels)
    if labels.ndim == 1:
        accuracy = score("top-1", labels, scores)
        chance = float(np.bincount(labels).max() / n)
        above = beats_chance(accuracy, n, chance)
        return None if above else AtChance("top-1", accuracy, chance, n)
    random, accuracy = np.random.RandomState(0), score(metric, labels, scores)
    dealt = [score(metric, labels, scores[random.permutation(n)]) for _ in range(PERMUTATIONS)]
    p_value = (1 + sum(one >= accuracy for one in dealt)) / (1 + PERMUTATIONS)
    return None if p_value < LEVEL else AtChance("mAP", accuracy, float(np.mean(dealt)), n)


def beats_chance(accuracy: float, n: int, chance: float, level: float = LEVEL) -> bool:
    """Return whether a top-1 accuracy is significantly above chance: exact binomial, one-sided.

    Parameters
    ----------
    accuracy
        Proportion in [0, 1].
    n
        Number of independent test examples, >= 1.
    chance
        The proportion to beat, in [0, 1].
    level
        Largest p-value that counts as significant.
    """
    right = round(accuracy * n)
    # P(X >= right) for X ~ binomial(n, chance); bdtrc(k, n, p) is P(X > k).
    return right > 0 and float(bdtrc(right - 1, n, chance)) <= level
