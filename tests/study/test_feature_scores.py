"""Transfer scores of a store's models and datasets, from cached features."""

import numpy as np
import pytest

from headstart import datasets, models
from headstart.context import RunContext, default_cache
from headstart.errors import UnknownNameError
from headstart.features import FeatureRequest, penultimate_features
from headstart.predictors import transfer_score
from headstart.store import ResultStore
from headstart.study import Study
from headstart.study.feature_scores import balanced_rows, source_probabilities, transfer_scores

NAMES = ["logme", "leep", "h_score"]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> ResultStore:
    place = tmp_path_factory.mktemp("scores") / "results.db"
    study = Study(models=["efficientnet_lite0?size=64", "timm:resnet18?weights=random&size=32"],
                  datasets=["digits"], settings=["linear"], limit=120)  # fmt: skip
    study.run(place)
    return ResultStore(place)


def training_features(name: str):
    dataset = datasets.find("digits", limit=120)
    splits = datasets.load(dataset, 0, default_cache())
    train = splits.train
    request = FeatureRequest(
        train.images, splits.places[: len(train)], dataset.images_revision,
        total=sum(n for _, n in dataset.sizes),
    )  # fmt: skip
    features = penultimate_features(models.find(name), request, RunContext())
    return np.asarray(features.values, dtype=np.float64), train.labels


def test_scores_are_of_the_training_images(store):
    found = transfer_scores(store, NAMES).values.set_index("model")
    X, y = training_features("efficientnet_lite0?size=64")
    source = source_probabilities(models.find("efficientnet_lite0?size=64"), X, RunContext())
    for name in NAMES:
        expected = transfer_score(name, X, y, source)
        assert found.loc["efficientnet_lite0?size=64", name] == pytest.approx(expected)


def test_a_random_network_has_no_source_classes(store):
    found = transfer_scores(store, NAMES)
    row = found.values.set_index("model").loc["timm:resnet18?weights=random&size=32"]
    assert row.notna()[NAMES].tolist() == [True, False, True]
    (note,) = found.notes
    assert note.startswith("leep")


def test_scores_are_kept(store, monkeypatch):
    first = transfer_scores(store, NAMES).values
    monkeypatch.setattr("headstart.study.feature_scores.transfer_score", None)
    again = transfer_scores(store, NAMES).values
    assert first.equals(again)


def test_unknown_scores_are_refused(store):
    with pytest.raises(UnknownNameError):
        transfer_scores(store, ["logmee"])


def test_source_probabilities_are_those_of_the_whole_network():
    """The classifier on cached features is what the network itself answers."""
    import torch

    model = models.find("efficientnet_lite0?size=64")
    network = models.load(model)
    images = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features = network.penultimate(images).double().numpy()
        expected = network(images).double().softmax(dim=1).numpy()
    found = source_probabilities(model, features, RunContext())
    assert found.shape == (3, 1000)
    assert found == pytest.approx(expected, abs=1e-6)


def test_images_are_drawn_evenly():
    labels = np.repeat([0, 1, 2], [500, 300, 20])
    rows = balanced_rows(labels, 3, most=200)
    assert np.bincount(labels[rows]).tolist() == [90, 90, 20]
    assert (np.diff(rows) > 0).all()
    assert balanced_rows(labels, 3, most=2000).tolist() == list(range(820))
    # Ten per class at least.
    assert len(balanced_rows(np.arange(5000) % 100, 100, most=200)) == 1000


def test_command_computes_and_judges(store, cli):
    outcome = cli("analyze", store.path, "--predictors", "logme", "--resamples", 100)
    assert outcome.code == 0, outcome.err
    # Two models order nothing.
    assert "predictors (" in outcome.out


def test_command_without_a_name_is_refused(store, cli):
    from refusals import ended

    ended(cli("analyze", store.path, "--predictors", ","), "command.value", name="--predictors")
