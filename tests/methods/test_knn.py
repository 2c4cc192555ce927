"""Weighted votes of nearest neighbours, against scikit-learn's and by hand."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

import headstart as hs
from headstart import methods
from headstart.errors import FeatureError
from headstart.methods.knn import KNN, KnnSetting, vote_shares
from headstart.registry import METHODS


def some_features(n, seed, classes=4, width=12):
    random = np.random.RandomState(seed)
    y = np.arange(n) % classes
    centres = np.random.RandomState(9).randn(classes, width)
    X = centres[y] + random.randn(n, width)
    return X.astype(np.float32), y


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (5, 0.07), (20, 0.5), (60, 0.02)])
def test_shares_are_scikit_learns(k, temperature):
    X, y = some_features(60, 0)
    queries, _ = some_features(17, 1)
    (ours,) = vote_shares(X, np.eye(4, dtype=np.int64)[y], queries, [(k, temperature)])
    # scikit-learn's cosine distance is 1 - s; exp(s / T) up to a factor that all votes share.
    theirs = KNeighborsClassifier(
        k, metric="cosine", weights=lambda distance: np.exp(-distance / temperature)
    ).fit(X, y)
    np.testing.assert_allclose(ours, theirs.predict_proba(queries), atol=1e-5)


def test_shares_by_hand():
    # Two unit vectors at similarity 1 and 0.6 to the query.
    known = np.array([[2.0, 0.0], [0.6, 0.8]], np.float32)
    votes = np.array([[1, 0, 1], [0, 1, 1]])  # several labels per image
    (shares,) = vote_shares(known, votes, np.array([[3.0, 0.0]], np.float32), [(2, 0.1)])
    heavy = 1 / (1 + np.exp(-0.4 / 0.1))
    np.testing.assert_allclose(shares, [[heavy, 1 - heavy, 1.0]], rtol=1e-5)


def test_length_and_order_do_not_matter():
    X, y = some_features(40, 0)
    queries, _ = some_features(9, 1)
    votes = np.eye(4, dtype=np.int64)[y]
    pairs = [(3, 0.07), (10, 0.2)]
    order = np.random.RandomState(2).permutation(40)
    scale = np.random.RandomState(3).uniform(0.1, 10, (40, 1)).astype(np.float32)
    for one, other in zip(
        vote_shares(X, votes, queries, pairs),
        vote_shares((X * scale)[order], votes[order], queries * 5, pairs),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_vector_of_zeros_has_no_direction():
    X, y = some_features(8, 0)
    X[3] = 0
    with pytest.raises(FeatureError) as error:
        vote_shares(X, np.eye(4, dtype=np.int64)[y], X[:2], [(1, 0.07)])
    assert error.value.code == "features.zero"


def test_more_neighbours_than_images_are_all_images():
    X, y = some_features(8, 0)
    votes = np.eye(4, dtype=np.int64)[y]
    few, many = vote_shares(X, votes, X, [(8, 0.07), (500, 0.07)])
    np.testing.assert_array_equal(few, many)


def test_the_protocols():
    dino = methods.find("knn")
    assert (dino.protocol, dino.neighbours) == ("dino2021", (10, 20, 100, 200))
    assert (dino.temperatures, dino.resize) == ((0.07,), "center-crop")
    assert methods.find("knn", protocol="kornblith2019").resize == "whole"
    assert methods.find("knn", neighbours=[5, 1, 5]).neighbours == (1, 5)
    assert METHODS["knn"] is KNN


def test_a_run_beside_the_linear_setting(tmp_path):
    store = tmp_path / "r.db"
    study = hs.Study(
        models=["efficientnet_lite0?size=64"],
        datasets=["digits"],
        settings=["linear", "knn:kornblith2019"],
        limit=100,
    )
    run = study.run(store)
    assert run.failures == ()
    linear, knn = run.results
    assert isinstance(knn.trial.setting, KnnSetting)
    assert set(knn.selection.chosen) == {"k", "temperature"}
    # Ten classes: far above chance, below the regression's by no more than a fifth.
    assert linear.accuracy - 0.2 < knn.accuracy > 0.5
    # Both see the same features.
    keys = {result.provenance["features_sha256"] for result in run.results}
    assert len(keys) == 1
    # The scores are logarithms of shares.
    scores = hs.ResultStore(store).predictions(knn.trial.key).scores
    np.testing.assert_allclose(np.exp(scores).sum(axis=1), 1, atol=1e-4)
    again = study.run(store)
    assert (again.measured, len(again.results)) == (0, 2)
    table = hs.results(store).set_index("setting")
    assert table.loc["knn", "k"] == knn.selection.chosen["k"]
    assert np.isnan(table.loc["knn", "lambda"])
