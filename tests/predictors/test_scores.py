"""Transfer scores against slow transcriptions of their formulas, and what must not change them."""

from itertools import combinations, permutations
from math import log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import eigh
from scipy.stats import multivariate_normal, spearmanr
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.mixture import GaussianMixture

from headstart.predictors import transfer_score
from headstart.predictors.class_statistics import decompose, principal
from headstart.predictors.simple_classifiers import PENALTIES, split_by_variance
from headstart.registry import PREDICTORS
from refusals import refused

SINGLE = [name for name in PREDICTORS if name != "logme"]
# Between 0 and 1, or a correlation.
ACCURACIES = ("knn", "ridge")


def problem(n=60, d=8, K=3, seed=0, apart=1.0):
    """Classes of different sizes and spreads, and probabilities of 12 source classes."""
    random = np.random.default_rng(seed)
    y = np.sort(random.integers(0, K, n))
    y[:K] = np.arange(K)
    X = (
        random.normal(0, 1, (n, d)) * random.uniform(0.5, 2, d)
        + apart * random.normal(0, 1, (K, d))[y]
    )
    source = random.dirichlet(np.full(12, 0.3), n)
    return X, y, source


def leep(X, y, source):
    n, n_source, K = len(y), source.shape[1], y.max() + 1
    joint = np.zeros((K, n_source))
    for i in range(n):
        for z in range(n_source):
            joint[y[i], z] += source[i, z] / n
    return (
        sum(
            log(sum(joint[y[i], z] / joint[:, z].sum() * source[i, z] for z in range(n_source)))
            for i in range(n)
        )
        / n
    )


def nce(X, y, source):
    predicted, n = source.argmax(axis=1), len(y)
    total = 0.0
    for z in set(predicted):
        for c in set(y):
            share = sum((predicted == z) & (y == c)) / n
            if share:
                total += share * log(share / (sum(predicted == z) / n))
    return total


def h_score(X, y, source):
    centred = X - X.mean(axis=0)
    fitted = LedoitWolf(assume_centered=True).fit(centred)
    means = np.array([centred[y == c].mean(axis=0) for c in y])
    between = means.T @ means / len(y)
    return (1 - fitted.shrinkage_) * np.trace(np.linalg.inv(fitted.covariance_) @ between)


def transrate(X, y, source):
    Z = X - X.mean(axis=0)
    Z = Z / sqrt(np.trace(Z.T @ Z) / len(Z))

    def rate(A):
        return 0.5 * log(np.linalg.det(np.eye(A.shape[1]) + A.T @ A / (len(A) * 1e-4)))

    return rate(Z) - sum((y == c).mean() * rate(Z[y == c]) for c in set(y))


def gbc(X, y, source):
    Z = PCA(min(64, X.shape[1])).fit_transform(X)
    stats = [(Z[y == c].mean(axis=0), Z[y == c].var(axis=0)) for c in sorted(set(y))]
    floor = 1e-3 * Z.var(axis=0).mean()
    total = 0.0
    for (m1, v1), (m2, v2) in permutations(stats, 2):
        first, second = np.diag(np.maximum(v1, floor)), np.diag(np.maximum(v2, floor))
        S = (first + second) / 2
        D = (m1 - m2) @ np.linalg.inv(S) @ (m1 - m2) / 8
        D += 0.5 * log(np.linalg.det(S) / sqrt(np.linalg.det(first) * np.linalg.det(second)))
        total -= np.exp(-D)
    return total


def parc(X, y, source):
    one_hot = np.eye(y.max() + 1)[y]
    pairs = list(combinations(range(len(y)), 2))
    features = [1 - np.corrcoef(X[i], X[j])[0, 1] for i, j in pairs]
    labels = [1 - np.corrcoef(one_hot[i], one_hot[j])[0, 1] for i, j in pairs]
    # Distances of one-hot labels that are equal but for rounding are one rank.
    return spearmanr(features, np.round(labels, 9)).statistic


def sfda(X, y, source):
    """As the authors' code: eigenvectors of the generalised problem in place of an inverse."""
    n, d, classes = len(y), X.shape[1], sorted(set(y))

    def within(A):
        return sum((y == c).mean() * np.cov(A[y == c].T, bias=True) for c in classes)

    shrunk = max(np.exp(-5 * np.linalg.eigvalsh(within(X))[-1]), 1e-10)

    def posteriors(A):
        W = within(A)
        W = (1 - shrunk) * W + shrunk * np.trace(W) / d * np.eye(d)
        T = np.cov(A.T, bias=True)
        T = (1 - shrunk) * T + shrunk * np.trace(T) / d * np.eye(d)
        _, vectors = eigh(T - W, W)
        means = np.array([A[y == c].mean(axis=0) for c in classes])
        coef = means @ vectors @ vectors.T
        logits = A @ coef.T - 0.5 * np.diag(means @ coef.T)
        logits += np.log([(y == c).mean() for c in classes])
        e = np.exp(logits - logits.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    soft = np.exp(posteriors(X))
    soft /= soft.sum(axis=1, keepdims=True)
    mixed = np.array([
        soft[i, y[i]] * X[i] + (1 - soft[i, y[i]]) * X[y != y[i]].mean(axis=0) for i in range(n)
    ])  # fmt: skip
    return np.mean([log(p[c]) for p, c in zip(posteriors(mixed), y, strict=True)])


def ncti(X, y, source):
    Z = PCA(min(64, X.shape[1])).fit_transform(X)
    classes, k = sorted(set(y)), Z.shape[1]
    means = [Z[y == c].mean(axis=0) for c in classes]
    W = sum((y == c).mean() * np.cov(Z[y == c].T, bias=True) for c in classes)
    W += 1e-3 * Z.var(axis=0).mean() * np.eye(k)
    density = np.column_stack([
        (y == c).mean() * multivariate_normal(mean, W).pdf(Z)
        for c, mean in zip(classes, means, strict=True)
    ])  # fmt: skip
    posteriors = density / density.sum(axis=1, keepdims=True)
    varied = sum(np.linalg.norm(posteriors[y == c], "nuc") for c in classes)
    varied /= sum(sqrt((y == c).sum()) for c in classes)
    geometry = np.linalg.norm(Z, "nuc") / np.linalg.norm(Z) / sqrt(min(Z.shape))
    return geometry - varied + posteriors[np.arange(len(y)), y].mean()


def knn(X, y, source):
    X = X - X.mean(axis=0)
    right = 0
    for i in range(len(y)):
        alike = [
            (X[i] @ X[j] / np.linalg.norm(X[i]) / np.linalg.norm(X[j]), y[j])
            for j in range(len(y))
            if j != i
        ]
        nearest = sorted(alike, reverse=True)[:5]
        votes = [sum(1 + s for s, c in nearest if c == k) for k in range(y.max() + 1)]
        right += int(np.argmax(votes)) == y[i]
    return right / len(y)


def ridge(X, y, source):
    Y, n = np.eye(y.max() + 1)[y], len(y)
    usual = np.linalg.svd(X - X.mean(axis=0), compute_uv=False) ** 2
    best, accuracy = np.inf, 0.0
    for penalty in PENALTIES * usual[: min(X.shape[1], n - 1)].mean():
        left_out = np.array([
            Ridge(penalty).fit(np.delete(X, i, 0), np.delete(Y, i, 0)).predict(X[i : i + 1])[0]
            for i in range(n)
        ])  # fmt: skip
        if (error := np.square(left_out - Y).sum()) < best:
            best, accuracy = error, (left_out.argmax(axis=1) == y).mean()
    return accuracy


TRANSCRIPTIONS = (leep, nce, h_score, transrate, gbc, parc, sfda, ncti, knn, ridge)


@pytest.mark.parametrize("slow", TRANSCRIPTIONS, ids=lambda one: one.__name__)
@pytest.mark.parametrize(("n", "d", "K"), [(60, 8, 3), (40, 12, 5)])
def test_scores_are_their_formulas(slow, n, d, K):
    for seed in range(3):
        # Little within-class variance, so that SFDA has a shrinkage to speak of.
        X, y, source = problem(n, d, K, seed, apart=0.3)
        X = X / 4
        found = transfer_score(slow.__name__, X, y, source)
        assert found == pytest.approx(slow(X, y, source), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("name", ["h_score", "sfda", "ridge", "logme", "ncti", "knn", "transrate"])
def test_more_features_than_images_are_as_exact(name):
    """Padded with features that never vary, so that the other algebra is taken."""
    X, y, source = problem(40, 12, 3)
    wide = np.concatenate([X, np.zeros((40, 60))], axis=1)
    if slow := {"h_score": h_score, "sfda": sfda}.get(name):
        assert transfer_score(name, wide, y) == pytest.approx(slow(wide, y, source), rel=1e-6)
    else:
        assert transfer_score(name, wide, y) == pytest.approx(transfer_score(name, X, y), rel=1e-8)


@pytest.mark.parametrize("value", [0.1, 1 / 3, 7.7, 1e8 + 0.1])
@pytest.mark.parametrize("slow", TRANSCRIPTIONS, ids=lambda one: one.__name__)
def test_features_that_never_vary_score_as_zeros_do(slow, value):
    """What rounding leaves of a dead network's features is no variance between classes."""
    y, source = np.arange(60) % 3, problem(60, 8, 3)[2]
    found, zeros = (
        transfer_score(slow.__name__, np.full((60, 8), one), y, source) for one in (value, 0.0)
    )
    assert found == pytest.approx(zeros, abs=1e-9)


def test_one_feature_needs_no_shrinking():
    """The variance of one feature is all there is to shrink to; so has scikit-learn it."""
    X, y, source = problem(60, 1, 3)
    assert LedoitWolf(assume_centered=True).fit(X - X.mean()).shrinkage_ == 0
    assert transfer_score("h_score", X, y) == pytest.approx(h_score(X, y, source))


def test_sfda_saturates_by_its_definition():
    """Labels that say nothing, of widely spread features, more than there are images."""
    random = np.random.default_rng(0)
    X, y = random.normal(0, 5, (30, 60)), np.repeat(np.arange(3), 10)
    assert transfer_score("sfda", X, y) == pytest.approx(0, abs=1e-6)
    assert sfda(X, y, None) == pytest.approx(0, abs=1e-6)
    assert transfer_score("sfda", X / 50, y) < -0.1


def test_nleep_is_leep_of_the_mixture_that_em_converges_to():
    """Four clusters far apart: any right mixture has the same posteriors."""
    random = np.random.default_rng(0)
    centres = np.array([[0, 0], [50, 0], [0, 60], [70, 70]])
    cluster = np.repeat(np.arange(4), 30)
    X = centres[cluster] + random.normal(0, 1, (120, 2))
    y = np.where(random.random(120) < 0.8, cluster, 3 - cluster)
    mixture = GaussianMixture(4, covariance_type="diag", means_init=centres, random_state=0)
    expected = leep(X, y, np.maximum(mixture.fit(X).predict_proba(X), 1e-300))
    found = [transfer_score("leep", X, y, (split_by_variance(X, 4)[:, None] == np.arange(4)) * 1.0)]
    assert found == pytest.approx([expected], abs=1e-9)
    # More components than clusters see nothing else where labels are drawn by cluster.
    assert expected <= transfer_score("nleep", X, y) <= expected + 0.25


def test_worked_examples():
    """Numbers that a reader can check by hand."""
    X, y = np.zeros((4, 2)), np.array([0, 0, 1, 1])
    certain = np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    assert transfer_score("leep", X, y, certain) == pytest.approx(0)
    assert transfer_score("nce", X, y, certain) == pytest.approx(0)
    nothing = np.full((4, 2), 0.5)
    assert transfer_score("leep", X, y, nothing) == pytest.approx(-log(2))
    assert transfer_score("nce", X, y, nothing) == pytest.approx(-log(2))
    # Two classes at -1 and 1 of variance 1: D = (2^2 / 1) / 8 = 1/2.
    line = np.array([[-2.0], [0], [0], [2]])
    assert transfer_score("gbc", line, y) == pytest.approx(-2 * np.exp(-0.5))
    # Scaled to variance 1, the mean square is 1 in each class, too.
    assert transfer_score("transrate", line, y) == pytest.approx(0)
    # Of variance 3; scaled, three images have the square 1/3, and one 3.
    apart = np.array([[-1.0], [-1], [-1], [3]])
    rates = [0.5 * log(1 + square / 1e-4) for square in (1, 1 / 3, 1 / 3, 1 / 3, 3)]
    found = transfer_score("transrate", apart, [0, 0, 0, 1])
    assert found == pytest.approx(rates[0] - np.mean(rates[1:]))


@pytest.mark.parametrize("name", PREDICTORS)
@settings(max_examples=8)
@given(seed=st.integers(0, 10**6), K=st.integers(2, 5), d=st.integers(2, 80))
def test_neither_the_order_of_images_nor_the_names_of_labels_count(name, seed, K, d):
    X, y, source = problem(50, d, K, seed)
    random = np.random.default_rng(seed)
    order, names = random.permutation(len(y)), random.permutation(K) * 3 + 1
    found = transfer_score(name, X, y, source)
    other = transfer_score(name, X[order], names[y[order]], source[order])
    # An image whose votes are equal may fall on either side.
    close = 1.5 / len(y) if name in ACCURACIES else 1e-6 * max(1, abs(found))
    assert other == pytest.approx(found, abs=close)


@pytest.mark.parametrize("name", ["h_score", "gbc", "parc", "ncti", "knn", "ridge", "transrate"])
def test_the_scale_and_the_origin_of_features_do_not_count(name):
    X, y, _ = problem()
    assert transfer_score(name, 7 * X + 3, y) == pytest.approx(transfer_score(name, X, y))


@pytest.mark.parametrize("name", SINGLE)
def test_better_separated_classes_score_higher(name):
    random = np.random.default_rng(0)
    y = np.repeat(np.arange(4), 20)
    # Half the images are known to the source by their class, or three quarters.
    found = []
    for apart, known in ((0.4, 0.5), (1.5, 0.75)):
        X = random.normal(0, 1, (80, 6)) / 3 + apart * np.eye(4, 6)[y]
        guess = np.where(random.random(80) < known, y, (y + 1) % 4)
        found.append(transfer_score(name, X, y, 0.9 * np.eye(4)[guess] + 0.025))
    assert found[0] < found[1]


@pytest.mark.parametrize("name", PREDICTORS)
@pytest.mark.parametrize("X", [
    np.ones((12, 5)), np.ones((12, 40)), np.zeros((12, 5)), np.repeat(np.eye(4), 3, axis=0),
    np.eye(12, 40),
], ids=["constant", "constant and wide", "dead", "collapsed", "one image per axis"])  # fmt: skip
def test_degenerate_features_have_a_finite_score(name, X):
    y, source = np.repeat(np.arange(4), 3), np.full((12, 3), 1 / 3)
    assert np.isfinite(transfer_score(name, X, y, source))


def test_classes_of_one_image_have_a_finite_score():
    X, _, source = problem(6, 4, 3)
    for name in PREDICTORS:
        assert np.isfinite(transfer_score(name, X, np.arange(6), source))


@pytest.mark.parametrize("X", [np.array([[1.0, 2, 4], [3, 1, 1]]), np.ones((2, 3))])
def test_two_images_have_a_finite_score(X):
    """Each image's only neighbour is of the other class."""
    found = {name: transfer_score(name, X, [0, 1], np.eye(2)) for name in PREDICTORS}
    assert all(np.isfinite(value) for value in found.values())
    assert found["knn"] == found["ridge"] == found["transrate"] == 0


def test_one_source_class_says_nothing():
    """What is left to learn is the entropy of the labels: 1/4 log 4 + 3/4 log 4/3."""
    X, y = problem(20)[0], np.repeat([0, 1], [5, 15])
    for source in (np.ones((20, 1)), np.eye(4)[np.zeros(20, int)]):
        for name in ("leep", "nce"):
            found = transfer_score(name, X, y, source)
            assert found == pytest.approx(-log(4) / 4 - 3 / 4 * log(4 / 3))


def test_dead_features_have_the_evidence_of_noise():
    """log N(y; 0, I / beta) with beta = n / |y|^2, of classes that 3 and 9 of 12 images have."""
    y = np.repeat([0, 1], [3, 9])
    expected = np.mean([0.5 * (log(12 / n) - log(2 * np.pi) - 1) for n in (3, 9)])
    for X in (np.zeros((12, 5)), 1e-200 * problem(12)[0]):
        assert transfer_score("logme", X, y) == pytest.approx(expected)


def test_evidence_is_free_of_the_scale_and_of_classes_that_no_image_has():
    X, y, _ = problem()
    for scale in (1e-6, 1e6, 1e30):
        assert transfer_score("logme", scale * X, y) == pytest.approx(transfer_score("logme", X, y))
    several = 2 * np.eye(3, dtype=int)[y] - 1
    more = np.column_stack([several, -np.ones(len(y), int)])
    assert transfer_score("logme", X, more) == transfer_score("logme", X, several)


X, Y, SOURCE = problem(20, K=2)


@pytest.mark.parametrize(("code", "features", "labels", "source"), [
    ("analysis.predictor_arrays", X, Y[:10], None), ("analysis.predictor_arrays", X, 0 * Y, None),
    ("analysis.predictor_arrays", X[:1], Y[:1], None),
    ("analysis.predictor_arrays", X[:, :0], Y, None),
    ("analysis.predictor_arrays", X[:0], Y[:0], None), ("analysis.predictor_arrays", X[0], Y, None),
    ("analysis.predictor_arrays", [["a"]] * 20, Y, None),
    ("analysis.predictor_arrays", [[1, 2], [3]], [0, 1], None),
    ("analysis.predictor_arrays", X, np.where(Y, np.nan, 1.0), None),
    ("analysis.predictor_arrays", X, [None, *Y[1:]], None),
    ("analysis.predictor_arrays", X, np.full((20, 3), 7), None),
    ("analysis.predictor_arrays", X, np.full((20, 3), -1), None),
    ("analysis.predictor_finite", np.where(X > 1, np.nan, X), Y, None),
    ("analysis.predictor_finite", np.where(X > 1, -np.inf, X), Y, None),
    ("analysis.predictor_finite", 1e200 * X, Y, None),
    ("analysis.predictor_probabilities", X, Y, SOURCE[:10]),
    ("analysis.predictor_probabilities", X, Y, SOURCE[:, 0]),
    ("analysis.predictor_probabilities", X, Y, SOURCE[:, :0]),
    ("analysis.predictor_probabilities", X, Y, 10 * SOURCE - 5),
    ("analysis.predictor_probabilities", X, Y, 0 * SOURCE),
    ("analysis.predictor_probabilities", X, Y, np.where(SOURCE > 0.5, np.nan, SOURCE)),
])  # fmt: skip
def test_bad_arrays_are_refused(code, features, labels, source):
    for name in ("logme", "leep"):
        with refused(code):
            transfer_score(name, features, labels, source)


def test_labels_may_be_names():
    names = np.array(["cat", "dog", "owl"])
    X, y, source = problem()
    for name in PREDICTORS:
        assert transfer_score(name, X, names[y], source) == transfer_score(name, X, y, source)


@pytest.mark.parametrize("name", SINGLE)
def test_several_labels_per_image_are_refused(name):
    X, y, source = problem()
    with refused("analysis.predictor_labels"):
        transfer_score(name, X, 2 * np.eye(3)[y] - 1, source)


@pytest.mark.parametrize("name", ["leep", "nce"])
def test_scores_of_source_predictions_need_them(name):
    X, y, _ = problem()
    with refused("analysis.predictor_source"):
        transfer_score(name, X, y)


def test_principal_coordinates_are_those_of_scikit_learn():
    random = np.random.default_rng(0)
    X = random.normal(0, 1, (300, 250)) * np.arange(1, 251) ** -1.0
    expected = np.square(PCA(20).fit_transform(X)).sum(axis=0)
    assert np.square(principal(X, 20)).sum(axis=0) == pytest.approx(expected, rel=1e-3)
    small = X[:, :30]
    expected = np.abs(PCA(20).fit_transform(small))
    assert np.abs(principal(small, 20)) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("shape", [(30, 12), (12, 30)])
def test_decompositions_are_the_singular_ones(shape):
    X = np.random.default_rng(0).normal(0, 1, shape)
    U, squared = decompose(X)
    expected, singular, _ = np.linalg.svd(X, full_matrices=False)
    assert squared[::-1] == pytest.approx(singular**2)
    assert np.abs(U[:, ::-1]) == pytest.approx(np.abs(expected), abs=1e-9)
