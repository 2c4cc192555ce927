"""Where a result errs: numbers by hand, the terminal, JSON, and the page."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_fscore_support

import small_network
from headstart.deploy.result_details import details_of, tie_warning, validation_surfaces
from headstart.errors import DatasetError
from headstart.report.image_pages import cell_html
from headstart.spec import Prediction
from headstart.store import ResultStore
from headstart.study import Study
from refusals import ended
from stores import make_store

OWN = f"{Path(small_network.__file__)}:build?size=16&mean=0.5,0.5,0.5&std=0.25,0.25,0.25"
TUNED = {
    "name": "finetune", "steps": 4, "batch_size": 20, "learning_rates": [0.001, 0.1],
    "decays": [0.0, 1e-5],
}  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    place = tmp_path_factory.mktemp("details") / "r.db"
    study = Study(models=[OWN], datasets=["digits"], limit=60, settings=["linear", TUNED])
    assert not study.run(place, device="cpu").failures
    return ResultStore(place)


def of(store, setting):
    (result,) = [one for one in store.results() if one.trial.setting.name == setting]
    return result, store.predictions(result.trial.key)


def test_classes_are_scikit_learns(store):
    result, predictions = of(store, "linear")
    details = details_of(result, predictions)
    precision, recall, _, n = precision_recall_fscore_support(
        predictions.label, predictions.predicted, labels=range(10), zero_division=np.nan
    )
    assert [one.n for one in details.per_class] == n.tolist()
    np.testing.assert_allclose([one.score for one in details.per_class], recall)
    found = [np.nan if one.precision is None else one.precision for one in details.per_class]
    np.testing.assert_allclose(found, precision)
    assert details.confusion.sum() == result.n_test
    wrong = result.n_test - int(np.trace(details.confusion))
    assert (sum(one.n for one in details.confused), details.n_mistakes) == (wrong, wrong)
    sure = [one.confidence for one in details.mistakes]
    assert sure == sorted(sure, reverse=True)
    assert all(one.confidence >= one.probability for one in details.mistakes)


def test_several_labels_per_image(store):
    result, _ = of(store, "linear")
    random = np.random.RandomState(0)
    label = random.choice([1, 0, -1], (50, 10), p=[0.3, 0.1, 0.6])
    label[:, 9] = -1  # of a class that no image shows
    scores = (label + random.randn(50, 10)).astype(np.float32)
    details = details_of(result, Prediction(np.arange(50), label, scores))
    assert details.confusion is None
    assert details.per_class[9].score is None
    judged = label[:, 0] != 0
    expected = average_precision_score(label[judged, 0] == 1, scores[judged, 0])
    # Interpolated at 11 recalls, not summed over all.
    assert details.per_class[0].score == pytest.approx(expected, abs=0.05)
    for one in details.mistakes:
        assert {one.label, one.predicted} == {name := one.label.removeprefix("not "), f"not {name}"}
    html = cell_html(details, [])
    assert "Average precision" in html
    assert "Confusion matrix" not in html


def test_surfaces_of_validation(store):
    (path,) = validation_surfaces(of(store, "linear")[0])
    assert (path.row, path.column, len(path.rows)) == ("lambda", "", 45)
    result, _ = of(store, "finetune")
    (grid,) = validation_surfaces(result)
    assert (grid.row, grid.column) == ("learning_rate", "weight_decay")
    assert (grid.rows, grid.columns) == ((0.001, 0.1), (0.0, 1e-5))
    chosen = result.selection.chosen
    row, column = grid.chosen
    assert (grid.rows[row], grid.columns[column]) == (
        chosen["learning_rate"], chosen["weight_decay"],
    )  # fmt: skip
    assert grid.scores[row][column] == max(max(scores) for scores in grid.scores)


def test_poor_probabilities_of_a_tied_choice_are_told(store):
    result, _ = of(store, "linear")
    tied = [{"lambda": 10.0, "accuracy": 1.0}, {"lambda": 1.0, "accuracy": 1.0}]
    clear = [{"lambda": 10.0, "accuracy": 1.0}, {"lambda": 1.0, "accuracy": 0.9}]

    def told(curve, error, **setting):
        chosen = result.selection.model_copy(
            update={"chosen": {"lambda": 10.0}, "validation_curve": tuple(curve)}
        )
        trial = result.trial.model_copy(
            update={"setting": result.trial.setting.model_copy(update=setting)}
        )
        metrics = {**result.metrics, "calibration-error": error}
        return tie_warning(
            result.model_copy(update={"selection": chosen, "metrics": metrics, "trial": trial})
        )

    assert 'ties = "log_loss"' in told(tied, 0.74)
    assert "option" not in told(tied, 0.74, ties="log_loss")
    assert told(tied, 0.2) is told(clear, 0.74) is tie_warning(of(store, "finetune")[0]) is None


@pytest.mark.parametrize("setting", ["linear", "finetune"])
def test_the_command_shows_and_writes_them(setting, store, cli, tmp_path):
    result, predictions = of(store, setting)
    page = tmp_path / "page.html"
    arguments = ("results", "show", result.trial.key[:10], "--store", store.path)
    outcome = cli(*arguments, "--out", page, "--images")
    assert outcome.code == 0, outcome.err
    for heading in ("Classes, the worst first", "Most frequent confusions", "Most confident of"):
        assert heading in outcome.out
    html = page.read_text()
    assert html.count("data:image/png") == min(24, details_of(result, predictions).n_mistakes)
    record = json.loads(cli(*arguments, "--json").out)[0]
    assert len(record["classes"]) == 10
    assert record["validation"]
    assert record["mistakes"][0]["confidence"] > 0.1


def test_a_report_shows_the_images_that_are_at_hand(store, cli, tmp_path, monkeypatch):
    page = tmp_path / "page.html"
    outcome = cli("report", store.path, "--out", page, "--images")
    assert outcome.code == 0, outcome.err
    assert page.read_text().count("data:image/png") == 10

    def missing(*_):
        raise DatasetError("not here", code="dataset.missing")

    monkeypatch.setattr("headstart.datasets.labelled.class_pictures", missing)
    outcome = cli("report", store.path, "--out", page, "--images")
    assert (outcome.code, outcome.err) == (0, "no images of digits: not here\n")
    assert "data:image/png" not in page.read_text()


def test_a_page_is_of_one_trial_with_predictions(store, cli, tmp_path):
    page, key = tmp_path / "page.html", of(store, "linear")[0].trial.key
    place = ("--store", store.path)
    ended(cli("results", "show", *place, "--out", page), "command.missing", name="TRIAL")
    ended(cli("results", "show", key, *place, "--images"), "command.conflict", option="--images")
    without = make_store(tmp_path / "other.db", {"efficientnet_lite0": 0.8})
    other = without.results()[0].trial.key
    for file in Path(f"{without.path}.predictions").iterdir():
        file.unlink()
    outcome = cli("results", "show", other, "--store", without.path)
    assert outcome.code == 0
    assert "per-class results are missing" in outcome.out
    assert cli("results", "show", other, "--store", without.path, "--out", page).code == 2
    assert not page.exists()
