"""What is at chance: against scipy's binomial, and scores that know nothing."""

import numpy as np
import pytest
from scipy.stats import binomtest

from headstart.metrics import at_chance, beats_chance


@pytest.mark.parametrize("n", [3, 7, 60, 359, 10_000])
@pytest.mark.parametrize("chance", [0.01, 0.1, 0.5])
def test_the_rule_is_the_exact_binomial_test(n, chance):
    for right in sorted(
        {0, 1, round(n * chance), round(1.3 * n * chance) + 3, n} & {*range(n + 1)}
    ):
        p_value = binomtest(right, n, chance, alternative="greater").pvalue
        assert beats_chance(right / n, n, chance) == (p_value <= 0.01)


def one_hot(classes, n_classes):
    return np.eye(n_classes, dtype=np.float32)[classes]


def test_always_the_most_frequent_class_is_at_chance():
    labels = np.repeat([0, 1, 2], [70, 20, 10])
    found = at_chance("mean-per-class", labels, one_hot(np.zeros(100, int), 3))
    assert (found.metric, found.accuracy, found.chance, found.n) == ("top-1", 0.7, 0.7, 100)
    for part in ("70.00 %", "n = 100", "0.01"):
        assert part in found.text
    # 90 % is clearly more, though it would not be of ten images.
    right = one_hot(np.where(np.arange(100) < 90, labels, 0), 3)
    assert at_chance("top-1", labels, right) is None
    assert at_chance("top-1", labels[::10], right[::10]).n == 10


def test_several_labels_are_compared_with_scores_of_other_images():
    random = np.random.RandomState(0)
    labels = np.where(random.rand(300, 4) < 0.2, 1, -1)
    blind, knowing = random.rand(300, 4), labels + random.rand(300, 4)
    found = at_chance("voc-map-11point", labels, blind)
    assert found.n == 300
    # The average precision of scores that know nothing is about the share of positives.
    assert found.chance == pytest.approx((labels == 1).mean(), abs=0.08)
    assert at_chance("voc-map-11point", labels, knowing) is None
