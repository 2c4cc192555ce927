"""Proportions of right answers: log odds, intervals, and tests of two models' difference."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import logit
from scipy.stats import binomtest
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.proportion import proportion_confint

from headstart.metrics import mean_per_class, voc_map_11point
from headstart.stats import (
    accuracy_of,
    log_odds,
    map_swap_test,
    mcnemar,
    paired_proportions,
    sign_flip_test,
    wilcoxon,
    wilson_interval,
)
from headstart.stats.proportions import _differences, _merged
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


def right_answers(seed, n=400, better=0.05):
    random = np.random.default_rng(seed)
    hard = random.random(n)
    return hard < 0.8, (hard + random.normal(0, 0.2, n)) < 0.8 - better


@pytest.mark.parametrize("seed", range(5))
def test_mcnemar_is_statsmodels(seed):
    first, second = right_answers(seed)
    table = [
        [(first & second).sum(), (first & ~second).sum()],
        [(~first & second).sum(), (~first & ~second).sum()],
    ]
    ours = mcnemar(first, second)
    assert ours.p_value == pytest.approx(statsmodels_mcnemar(table, exact=True).pvalue, rel=1e-12)
    assert ours.difference == pytest.approx(first.mean() - second.mean())
    assert ours.n == 400


def test_mcnemar_of_equal_models_is_one():
    first, _ = right_answers(0)
    assert mcnemar(first, first).p_value == 1.0


@pytest.mark.parametrize("seed", range(5))
def test_the_permutation_test_equals_mcnemar_for_top_1(seed):
    first, second = right_answers(seed)
    d = (first.astype(float) - second) / len(first)
    permutation = sign_flip_test(d, 100_000, np.random.default_rng(0))
    exact = mcnemar(first, second)
    error = np.sqrt(exact.p_value * (1 - exact.p_value) / 100_000)
    assert permutation.p_value == pytest.approx(exact.p_value, abs=4 * error + 2e-5)
    assert permutation.difference == pytest.approx(exact.difference)


@pytest.mark.parametrize("n", [1_880, 2_443, 3_333, 6_149, 8_041, 25_250])
def test_the_permutation_test_counts_what_equals_the_data_for_any_size_of_the_test_set(n):
    # Ten right answers of one model alone and four of the other's: the sums 6, 8, ... of 14 signs.
    d = np.zeros(n)
    d[:14] = np.where(np.arange(14) < 10, 1, -1) / n
    exact = stats.binomtest(10, 14).pvalue
    found = sign_flip_test(d, 100_000, np.random.default_rng(0)).p_value
    assert found == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 100_000) + 2e-5)


def test_the_permutation_test_of_classes_of_many_sizes_is_its_enumeration():
    # 1/6 + 1/3 is 1/2: sums of different images are equal, and no rounding may order them.
    d = np.array([1 / 2, -1 / 3, -1 / 6, 1 / 6, -1 / 6]) / 4_019
    signs = np.array(np.meshgrid(*[[-1, 1]] * 5)).reshape(5, -1).T
    exact = (np.abs(signs @ np.abs(d)) >= abs(d.sum()) - 1e-12).mean()
    assert exact == 1.0
    assert sign_flip_test(d, 999, np.random.default_rng(0)).p_value == 1.0


def test_the_permutation_test_of_mean_per_class_is_scipys():
    random = np.random.default_rng(2)
    label = np.repeat([0, 1, 2], [100, 20, 5])
    first = np.where(random.random(125) < 0.8, label, (label + 1) % 3)
    second = np.where(random.random(125) < 0.7, label, (label + 1) % 3)
    weight = 1 / (3 * np.bincount(label)[label])
    d = weight * ((first == label).astype(float) - (second == label))
    ours = sign_flip_test(d, 50_000, random)
    assert ours.difference == pytest.approx(
        mean_per_class(label, first) - mean_per_class(label, second)
    )
    theirs = stats.permutation_test(
        (d,), lambda d, axis: d.sum(axis), permutation_type="samples", vectorized=True,
        n_resamples=20_000, rng=3,
    )  # fmt: skip
    assert ours.p_value == pytest.approx(theirs.pvalue, abs=0.015)


def test_a_permutation_p_value_is_never_zero():
    assert sign_flip_test(np.ones(500), 999, np.random.default_rng(0)).p_value == 1 / 1000
    assert sign_flip_test(np.zeros(5), 999, np.random.default_rng(0)).p_value == 1.0


@given(st.integers(0, 1000), st.integers(2, 20))
def test_wilcoxon_is_scipys_exact(seed, n):
    first, second = np.random.default_rng(seed).normal(size=(2, n))
    theirs = stats.wilcoxon(first, second, method="exact").pvalue
    assert wilcoxon(first, second).p_value == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_wilcoxon_with_ties_is_scipys_permutation(seed):
    d = np.random.default_rng(seed).integers(-3, 4, size=10).astype(float)
    d = d[d != 0]
    theirs = stats.wilcoxon(d, method=stats.PermutationMethod(n_resamples=np.inf)).pvalue
    assert wilcoxon(d, np.zeros_like(d)).p_value == pytest.approx(theirs)


def test_wilcoxon_leaves_out_what_is_equal():
    assert wilcoxon([1.0, 2, 3, 4], [1.0, 1, 1, 1]) == wilcoxon([2.0, 3, 4], [1.0, 1, 1])._replace(
        difference=1.5, n=4
    )
    assert wilcoxon([1.0, 2], [1.0, 2]).p_value == 1.0
    assert np.isnan(wilcoxon([1.0], [2.0]).p_value)


class TestMapSwap:
    """The permutation test of mean average precision."""

    random = np.random.default_rng(4)
    labels = random.choice([-1, -1, -1, 0, 1], size=(60, 4))
    first = labels + random.normal(0, 1.0, size=labels.shape)
    second = 3 * labels + random.normal(0, 4.5, size=labels.shape)

    def test_it_tests_the_difference_of_the_metric(self):
        outcome = map_swap_test(self.first, self.second, self.labels, 100, np.random.default_rng(0))
        expected = voc_map_11point(self.first, self.labels)
        expected -= voc_map_11point(self.second, self.labels)
        assert outcome.difference == pytest.approx(expected)

    def test_it_is_the_plain_permutation_of_ranks(self):
        ours = map_swap_test(self.first, self.second, self.labels, 2000, np.random.default_rng(0))
        random = np.random.default_rng(1)
        ranks = [stats.rankdata(s, axis=0) for s in (self.first, self.second)]

        def difference(a, b):
            return voc_map_11point(a, self.labels) - voc_map_11point(b, self.labels)

        drawn = []
        for _ in range(400):
            swap = random.integers(0, 2, size=(60, 1)).astype(bool)
            drawn.append(
                difference(np.where(swap, ranks[1], ranks[0]), np.where(swap, ranks[0], ranks[1]))
            )
        p = np.mean(np.abs(drawn) >= abs(ours.difference))
        assert ours.p_value == pytest.approx(p, abs=4 * np.sqrt(0.25 / 400))

    def test_every_swap_gives_the_metric_of_the_swapped_ranks(self):
        """Ties of ranks among them, which swapping makes."""
        random, labels = np.random.default_rng(5), np.array([[1], [-1], [1], [-1], [1]])
        scores = random.permuted(np.tile(np.arange(5.0), (2, 1)), axis=1)[:, :, None]
        swaps = np.array(np.meshgrid(*[[0, 1]] * 5)).reshape(5, -1).T.astype(bool)
        expected = []
        for swap in swaps[:, :, None]:
            pair = np.where(swap, scores[1], scores[0]), np.where(swap, scores[0], scores[1])
            expected.append(np.subtract(*(voc_map_11point(one, labels) for one in pair)))
        ranks = 5 - scores[:, :, 0]
        found = _differences([_merged(*ranks, labels[:, 0])], swaps)
        assert found == pytest.approx(expected)
        # Naming the models the other way round changes nothing but the sign.
        assert _differences([_merged(*ranks[::-1], labels[:, 0])], swaps) == pytest.approx(-found)

    def test_several_seeds_are_swapped_together(self):
        both = [np.stack([one, one]) for one in (self.first, self.second)]
        twice = map_swap_test(*both, self.labels, 500, np.random.default_rng(0))
        once = map_swap_test(self.first, self.second, self.labels, 500, np.random.default_rng(0))
        assert twice[:3] == pytest.approx(once[:3])

    def test_a_model_is_not_different_from_itself(self):
        outcome = map_swap_test(self.first, self.first, self.labels, 200, np.random.default_rng(0))
        assert outcome.difference == 0
        assert outcome.p_value == 1.0


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        # M. W. Fagerland, S. Lydersen, P. Laake, Statistics in Medicine 33 (2014), Table V: airway
        # hyper-responsiveness before and after transplantation.
        ((1, 1, 7, 12), (-0.507, -0.026)),
    ],
)
def test_the_interval_of_paired_proportions_is_the_published_one(cells, expected):
    found = paired_proportions(*cells[:3], sum(cells))
    assert found == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize("p", [(0.7, 0.1, 0.1), (0.9, 0.05, 0.02), (0.5, 0.3, 0.02)])
def test_the_interval_holds_the_difference_of_paired_proportions(p):
    """2,000 samples of 150 images: the Monte Carlo standard error of 95 % is 0.5 points."""
    counts = np.random.default_rng(0).multinomial(150, [*p, 1 - sum(p)], size=2000)
    ends = np.array([paired_proportions(*row[:3], 150) for row in counts.tolist()])
    held = np.mean((ends[:, 0] <= p[1] - p[2]) & (p[1] - p[2] <= ends[:, 1]))
    assert 0.935 <= held <= 0.975


def test_the_interval_turns_round_with_the_models():
    low, high = paired_proportions(70, 12, 5, 100)
    assert paired_proportions(70, 5, 12, 100) == pytest.approx((-high, -low))
    assert paired_proportions(100, 0, 0, 100)[0] == pytest.approx(
        -paired_proportions(100, 0, 0, 100)[1]
    )


@pytest.mark.parametrize(("both", "only_first", "n"), [(7, 3, 10), (80, 20, 100), (0, 12, 12)])
def test_a_model_that_is_always_right_has_no_correlation_with_the_other(both, only_first, n):
    """Newcombe (1998), method 10: phi is 0 where a margin is 0; Wilson intervals of statsmodels."""
    first, second = (both + only_first) / n, both / n
    ends = [proportion_confint(right, n, method="wilson") for right in (n, both)]
    low = np.hypot(first - ends[0][0], ends[1][1] - second)
    high = np.hypot(ends[0][1] - first, second - ends[1][0])
    expected = max(first - second - low, -1), min(first - second + high, 1)
    assert paired_proportions(both, only_first, 0, n) == pytest.approx(expected, rel=1e-9)
