"""Separation of classes and similarity of features: scikit-learn, scipy and sums written out."""

from itertools import permutations

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.metrics import silhouette_score
from sklearn.model_selection import LeaveOneOut, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from headstart.stats import (
    class_variance_ratio,
    cosine_distances,
    linear_cka,
    mean_silhouette,
    neighbour_accuracy,
    unbiased_linear_cka,
    unit_length,
)
from refusals import refused


@pytest.fixture
def examples():
    """Features (60, 7) of three classes that overlap, of different sizes."""
    random = np.random.RandomState(0)
    y = np.repeat([4, 0, 7], [30, 20, 10])
    return random.normal(size=(60, 7)) + 0.6 * np.eye(7)[y % 7], y


def test_distances_are_scipys(examples):
    X, _ = examples
    np.testing.assert_allclose(cosine_distances(X), cdist(X, X, "cosine"), atol=1e-12)


def test_unit_length_makes_squared_distances_twice_the_cosine_ones(examples):
    X, _ = examples
    unit = unit_length(X)
    np.testing.assert_allclose(cdist(unit, unit) ** 2, 2 * cosine_distances(X), atol=1e-12)
    assert unit_length(np.zeros((1, 3))).tolist() == [[0, 0, 0]]


def test_silhouette_is_scikit_learns(examples):
    X, y = examples
    found = mean_silhouette(cosine_distances(X), y)
    assert found == pytest.approx(silhouette_score(X, y, metric="cosine"), abs=1e-12)


def test_silhouette_by_hand():
    # a = 1, b = 4 or 3 for 0 and 1; 4 is alone.
    x = np.array([[0.0], [1.0], [4.0]])
    y = np.array([0, 0, 1])
    assert mean_silhouette(np.abs(x - x.T), y) == pytest.approx((3 / 4 + 2 / 3 + 0) / 3)


def test_silhouette_of_examples_in_one_place_is_0():
    assert mean_silhouette(np.zeros((4, 4)), np.array([0, 0, 1, 1])) == 0.0


@pytest.mark.parametrize("k", [1, 3, 5])
def test_neighbours_are_scikit_learns_where_no_votes_are_equal(examples, k):
    X, y = examples
    two = y != 7
    rival = KNeighborsClassifier(k, metric="cosine", algorithm="brute")
    expected = cross_val_score(rival, X[two], y[two], cv=LeaveOneOut()).mean()
    assert 0.5 < expected < 1
    assert neighbour_accuracy(cosine_distances(X[two]), y[two], k) == pytest.approx(expected)


def test_of_equal_votes_the_nearest_wins():
    # From 0: neighbours at 1 (its class), 2 and 3: with two of them, one vote each.
    x = np.array([[0.0], [1.0], [2.5], [2.6]])
    y = np.array([1, 1, 0, 0])
    distances = np.abs(x - x.T)
    # 0: 1, then 2.5: equal, the nearer is right. 1: 0, then 2.5: right. 2.5: 2.6, then 1: right.
    # 2.6: 2.5, then 1: right.
    assert neighbour_accuracy(distances, y, 2) == 1.0
    # With three, each of the four meets one of its class and two of the other.
    assert neighbour_accuracy(distances, y, 3) == 0.0


@pytest.mark.parametrize("k", [0, 4])
def test_more_neighbours_than_there_are(k):
    with refused("statistics.neighbours", most=3, found=k):
        neighbour_accuracy(np.zeros((4, 4)), np.array([0, 0, 1, 1]), k)


def test_variances_add_up_to_the_whole(examples):
    """The law of total variance: with scatter matrices written out."""
    X, y = examples
    S_W = sum(np.cov(X[y == c].T, bias=True) * (y == c).sum() for c in np.unique(y))
    S_T = np.cov(X.T, bias=True) * len(y)
    expected = np.trace(S_W) / np.trace(S_T - S_W)
    assert class_variance_ratio(X, y) == pytest.approx(expected)


def test_of_unit_length_it_is_the_class_separation_by_cosine_distances():
    """R^2 of Kornblith et al. (2021), section 4: classes of equal size, all pairs counted."""
    y = np.repeat([0, 1, 2], 20)
    X = np.random.RandomState(0).normal(size=(60, 7)) + 2 * np.eye(7)[y]
    distances = cdist(X, X, "cosine")
    within = np.mean([distances[np.ix_(y == c, y == c)].mean() for c in range(3)])
    separation = 1 - within / distances.mean()
    assert 1 / (1 + class_variance_ratio(unit_length(X), y)) == pytest.approx(separation)


def test_variance_ratio_by_hand():
    # Means 1 and 7 around 4: within 4 of 1 each, between 4 of 9 each.
    assert class_variance_ratio([[0.0], [2], [6], [8]], np.array([0, 0, 1, 1])) == pytest.approx(
        1 / 9
    )
    assert class_variance_ratio([[0.0], [2], [0], [2]], np.array([0, 0, 1, 1])) == float("inf")


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
