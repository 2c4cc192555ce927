import numpy as np
import pytest

from headstart import datasets, metrics, models, settings
from headstart.errors import SealedTestError
from headstart.spec import Trial
from headstart.trial import run_trial
from headstart.workspace import Workspace


@pytest.fixture(scope="module")
def trial() -> Trial:
    return Trial(
        model=models.find("efficientnet_lite0"),
        dataset=datasets.find("digits", limit=100),
        setting=settings.find("linear"),
    )


@pytest.fixture(scope="module")
def result(trial):
    return run_trial(trial, Workspace())


def test_a_real_model_transfers_to_real_digits(result):
    # Chance is 0.1. With 10 + 10 images a class real features do far better.
    assert result.accuracy > 0.7
    assert result.n_test == 100
    assert result.metrics["top-1"] == result.accuracy
    assert (result.status, result.error) == ("complete", None)


def test_metrics_follow_from_the_predictions(result):
    predictions = result.predictions
    for name, value in result.metrics.items():
        assert metrics.score(name, predictions.label, predictions.scores) == value
    assert np.bincount(predictions.label).tolist() == [10] * 10


def test_a_result_says_what_made_it(result, trial):
    provenance = result.provenance
    assert provenance["features_made_by"]["pillow"]
    assert set(provenance["versions"]) >= {"headstart", "torch", "timm", "numpy", "scipy"}
    assert len(provenance["features_sha256"]) == 64
    assert "threads" in provenance["features_made_by"]["device"]
    assert provenance["skipped_images"] == {}
    assert provenance["refit"]["relative_gap"] <= 1e-4
    assert provenance["refit"]["lambda"] == result.selection.chosen["lambda"]
    assert len(result.selection.validation_curve) == 45
    assert result.trial.model.weights.sha256.startswith("5793442")
    assert set(result.seconds) == {"prepare", "select", "refit"}


def test_the_same_trial_gives_the_same_number(result, trial, tmp_path):
    again = run_trial(trial, Workspace(cache=tmp_path))
    assert again.metrics == result.metrics
    assert again.selection.chosen == result.selection.chosen
    np.testing.assert_array_equal(again.predictions.predicted, result.predictions.predicted)


def test_test_labels_change_nothing_before_the_door(result, trial, monkeypatch):
    """With the test labels shuffled, choice and scores stay; only the metric moves."""
    load = datasets.load

    def shuffled(*arguments):
        splits = load(*arguments)
        labels = splits.test._SealedTest__labels
        splits.test._SealedTest__labels = (labels + 1) % 10
        return splits

    monkeypatch.setattr(datasets, "load", shuffled)
    other = run_trial(trial, Workspace())
    assert other.selection == result.selection
    np.testing.assert_array_equal(other.predictions.scores, result.predictions.scores)
    assert other.accuracy < 0.3


def test_a_setting_that_peeks_is_stopped(trial, monkeypatch):
    prepare = settings.prepare

    def peeking(trial, splits, workspace):
        transfer = prepare(trial, splits, workspace)
        select = transfer.select

        def select_after_a_look():
            selection = select()
            splits.test.open(selection)
            return selection

        transfer.select = select_after_a_look
        return transfer

    monkeypatch.setattr(settings, "prepare", peeking)
    with pytest.raises(SealedTestError, match="once a trial"):
        run_trial(trial, Workspace())
