"""CKA: closed form in feature space, invariances, HSIC by its definition as a U-statistic."""

from itertools import permutations

import numpy as np
import pytest

from headstart.stats import class_variance_ratio, linear_cka, unbiased_linear_cka


@pytest.fixture
def pair():
    """Features (30, 5) and (30, 8) that have something in common."""
    random = np.random.RandomState(0)
    X = random.normal(size=(30, 5))
    return X + 2, X @ random.normal(size=(5, 8)) + random.normal(size=(30, 8))


def test_the_closed_form_in_feature_space(pair):
    X, Y = (Z - Z.mean(axis=0) for Z in pair)
    norm = np.linalg.norm
    expected = norm(Y.T @ X) ** 2 / (norm(X.T @ X) * norm(Y.T @ Y))
    assert 0.2 < expected < 0.9
    assert linear_cka(*pair) == pytest.approx(expected)


@pytest.mark.parametrize("cka", [linear_cka, unbiased_linear_cka])
def test_rotating_scaling_and_moving_change_nothing(pair, cka):
    X, Y = pair
    Q, _ = np.linalg.qr(np.random.RandomState(1).normal(size=(8, 8)))
    assert cka(X, 3 * Y @ Q + 1) == pytest.approx(cka(X, Y))
    assert cka(Y, X) == pytest.approx(cka(X, Y))
    assert cka(X, -2 * X) == pytest.approx(1)


def test_hsic_is_the_mean_over_quadruples(pair):
    """Song et al. (2012), equation 5: the U-statistic over ordered quadruples, written out."""
    X, Y = (Z[:7] for Z in pair)

    def hsic(K, L):
        terms = [
            K[i, j] * (L[i, j] + L[q, r] - 2 * L[i, q]) for i, j, q, r in permutations(range(7), 4)
        ]
        return np.mean(terms)

    K, L = X @ X.T, Y @ Y.T
    expected = hsic(K, L) / np.sqrt(hsic(K, K) * hsic(L, L))
    assert unbiased_linear_cka(X, Y) == pytest.approx(expected)


def test_of_unrelated_features_only_one_is_high():
    random = np.random.RandomState(0)
    X, Y = random.normal(size=(2, 50, 1000))
    assert linear_cka(X, Y) > 0.9
    assert abs(unbiased_linear_cka(X, Y)) < 0.05


def test_features_that_are_all_the_same_have_none():
    X = np.random.RandomState(0).normal(size=(6, 2))
    assert np.isnan(linear_cka(X, np.ones((6, 2))))
    assert np.isnan(unbiased_linear_cka(X, np.ones((6, 2))))


@pytest.mark.parametrize("value", [0.1, 1 / 3, 7.7, 1e8 + 0.1])
@pytest.mark.parametrize("n", [7, 10, 33])
def test_features_that_never_vary_have_no_similarity(value, n):
    """Their mean is rounded; what rounding leaves of them is no variance."""
    same = np.tile([value, 1.1 * value, value / 3], (n, 1))
    other = np.random.RandomState(0).normal(size=(n, 4))
    for cka in (linear_cka, unbiased_linear_cka):
        assert np.isnan([cka(same, other), cka(same, same)]).all()
    assert class_variance_ratio(same, np.arange(n) % 2) == np.inf
