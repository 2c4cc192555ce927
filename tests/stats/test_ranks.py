import numpy as np
import pytest
from scipy import stats

from headstart.stats import critical_t, rank_intervals


def test_two_models_are_told_apart_by_the_t_test():
    # One pair: the critical value is Student's, within the simulation's error.
    assert critical_t(2, 12) == pytest.approx(stats.t.ppf(0.975, 11), rel=0.05)


def test_the_critical_value_lies_between_one_pair_and_bonferroni():
    value = critical_t(16, 12)
    assert stats.t.ppf(0.975, 11) < value < stats.t.ppf(1 - 0.025 / 120, 11)


def test_clear_differences_leave_one_rank_each():
    scores = 10 * np.arange(4)[:, None] + np.random.default_rng(0).normal(size=(4, 12))
    found = rank_intervals(scores)
    assert found.rank.tolist() == found.low.tolist() == found.high.tolist() == [4, 3, 2, 1]


def test_equal_models_may_have_any_rank():
    found = rank_intervals(np.tile(np.random.default_rng(0).normal(size=12), (3, 1)))
    assert found.low.tolist() == [1, 1, 1]
    assert found.high.tolist() == [3, 3, 3]


def test_a_constant_difference_is_one():
    row = np.random.default_rng(0).normal(size=12)
    found = rank_intervals(np.stack([row, row + 1]))
    assert found.low.tolist() == found.high.tolist() == [2, 1]


def test_one_dataset_tells_nothing_apart():
    found = rank_intervals(np.array([[1.0], [2.0], [3.0]]))
    assert found.rank.tolist() == [3, 2, 1]
    assert (found.low == 1).all()
    assert (found.high == 3).all()


@pytest.mark.parametrize("kind", ["equal", "correlated", "unequal"])
def test_all_true_ranks_are_covered_at_least_95_percent(kind):
    random = np.random.default_rng(0)
    n_models, n_datasets, repeats = 8, 12, 400
    truth = np.array([0, 0, 0, 0, 0.4, 0.4, 0.8, 1.2])
    spread = np.linspace(0.2, 2, n_models) if kind == "unequal" else np.ones(n_models)
    mix = np.eye(n_models)
    if kind == "correlated":
        mix = np.linalg.cholesky(0.7 * np.ones((n_models, n_models)) + 0.3 * np.eye(n_models))
    best = 1 + (truth[None] > truth[:, None] + 1e-9).sum(axis=1)
    worst = n_models - (truth[None] < truth[:, None] - 1e-9).sum(axis=1)
    held = 0
    for _ in range(repeats):
        noise = mix @ random.normal(size=(n_models, n_datasets)) * spread[:, None]
        found = rank_intervals(truth[:, None] + noise)
        # Tied models have no order: their interval has to hold every rank that is theirs.
        held += np.all((found.low <= best) & (found.high >= worst))
    # Three standard errors of a proportion of 400.
    assert held / repeats > 0.95 - 3 * np.sqrt(0.95 * 0.05 / repeats)
