import numpy as np
import pytest

from headstart import datasets, methods, metrics, models
from headstart.context import RunContext
from headstart.executors import Processes
from headstart.methods.linear import LinearProbe, PreparedProbe
from headstart.registry import METHODS
from headstart.spec import Trial
from headstart.store import ResultStore
from headstart.trial import run_trial
from refusals import refused


@pytest.fixture(scope="module")
def trial() -> Trial:
    return Trial(
        model=models.find("efficientnet_lite0?size=64"),
        dataset=datasets.find("digits", limit=100),
        setting=methods.find("linear"),
    )


@pytest.fixture(scope="module")
def result(trial):
    return run_trial(trial, RunContext())


def test_a_real_model_transfers_to_real_digits(result):
    # Chance is 0.1. With 10 + 10 images a class real features do far better.
    assert result.accuracy > 0.7
    assert result.n_test == 100
    assert result.metrics["top-1"] == result.accuracy
    assert (result.status, result.error) == ("complete", None)


def test_metrics_follow_from_the_predictions(result):
    predictions = result.predictions
    assert {"log-loss", "calibration-error"} < set(result.metrics)
    for name in metrics.SCORERS.keys() & result.metrics:
        value = result.metrics[name]
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
    again = run_trial(trial, RunContext(cache=tmp_path))
    assert again.accuracy == result.accuracy
    # Memory of another alignment, or another number of threads, gives another last digit.
    assert again.metrics == pytest.approx(result.metrics, rel=1e-5)
    assert again.selection.chosen == result.selection.chosen
    np.testing.assert_array_equal(again.predictions.predicted, result.predictions.predicted)


def test_test_labels_change_nothing_before_the_door(result, trial, monkeypatch):
    """With the test labels shuffled, choice and scores stay; only the metric moves."""
    load = datasets.load

    def shuffled(*arguments, **options):
        splits = load(*arguments, **options)
        if options.get("test_labels"):
            labels = splits.test._SealedTest__labels
            splits.test._SealedTest__labels = (labels + 1) % 10
        return splits

    monkeypatch.setattr(datasets, "load", shuffled)
    other = run_trial(trial, RunContext())
    assert other.selection == result.selection
    np.testing.assert_array_equal(other.predictions.scores, result.predictions.scores)
    assert other.accuracy < 0.3


def replace_linear(monkeypatch, prepared):
    """Have linear trials opened as another class."""

    class Other(LinearProbe):
        def open(self, trial, context, splits):
            return prepared(trial, context, splits)

    monkeypatch.setitem(METHODS._loaded, "linear", Other())


def test_a_setting_that_peeks_is_stopped(trial, monkeypatch):
    class Peeking(PreparedProbe):
        def measure(self, candidate):
            measured = super().measure(candidate)
            splits = datasets.load(self.trial.dataset, self.trial.seed, RunContext().cache)
            splits.test.open(self.select([measured]))
            return measured

    replace_linear(monkeypatch, Peeking)
    with refused("test.sealed"):
        run_trial(trial, RunContext())


def test_what_was_measured_is_not_measured_again(trial, result, tmp_path, monkeypatch):
    """A run that ends between the choice and the result goes on from there."""
    store = ResultStore(tmp_path / "r.db", create=True)

    class Dying(PreparedProbe):
        def test(self, selection):
            raise KeyboardInterrupt

    replace_linear(monkeypatch, Dying)
    with pytest.raises(KeyboardInterrupt):
        run_trial(trial, RunContext(), store)
    (measured,) = store.measurements(trial.key)
    assert store.selection(trial.key) == result.selection
    assert store.results() == []

    class Remembering(PreparedProbe):
        def measure(self, candidate):
            raise AssertionError("measured again")

    replace_linear(monkeypatch, Remembering)
    again = run_trial(trial, RunContext(), store)
    assert again.metrics == result.metrics
    assert again.selection == result.selection
    assert again.seconds["select"] == measured.seconds["select"]


def test_candidates_may_be_measured_in_another_process(trial, result, forked_workers):
    with Processes(1) as executor:
        other = run_trial(trial, RunContext(), executor=executor)
    assert other.selection.chosen == result.selection.chosen
    np.testing.assert_array_equal(other.predictions.predicted, result.predictions.predicted)
