import errno
import math
import pickle

import numpy as np
import pandas as pd
import pytest

from headstart.spec import Prediction, Result
from headstart.store import Page, ResultStore, results
from headstart.store.predictions import (
    PLACE,
    PredictionFolder,
    read_predictions,
    write_predictions,
)
from refusals import refused
from stores import add_result, make_result


def test_a_result_comes_back_as_it_was(store):
    result = make_result()
    assert store.add(result)
    (found,) = store.results()
    assert found == result.model_copy(update={"predictions": None})
    assert result.trial.key in store
    assert store.keys() == {result.trial.key}
    predictions = store.predictions(result.trial.key)
    for field in ("example", "label", "scores"):
        expected = getattr(result.predictions, field)
        np.testing.assert_array_equal(getattr(predictions, field), expected)
        assert getattr(predictions, field).dtype == expected.dtype


def test_predictions_of_several_labels_an_image_come_back_as_they_were(store, tmp_path):
    random = np.random.RandomState(0)
    given = Prediction(
        np.arange(7, dtype=np.int64),
        random.choice([1, 0, -1], (7, 3)).astype(np.int64),
        random.randn(7, 3).astype(np.float32),
    )
    result = make_result()
    dataset = result.trial.dataset.model_copy(update={"metric": "voc-map-11point"})
    trial = result.trial.model_copy(update={"dataset": dataset})
    changes = {"trial": trial, "predictions": given, "n_test": 7}
    changes["metrics"] = {"voc-map-11point": 0.5}
    store.add(result.model_copy(update=changes))
    found = store.predictions(trial.key)
    for field in ("example", "label", "scores", "predicted"):
        expected = getattr(given, field)
        np.testing.assert_array_equal(getattr(found, field), expected)
        assert getattr(found, field).dtype == expected.dtype
    # Another reader finds one list of K a row, the predictions among them.
    (file,) = tmp_path.rglob("*.parquet")
    table = pd.read_parquet(file)
    np.testing.assert_array_equal(np.stack(table["label"]), given.label)
    np.testing.assert_array_equal(np.stack(table["predicted"]), np.sign(given.scores))
    assert store.results()[0].accuracy == 0.5


@pytest.mark.parametrize(("n", "k"), [(1, 2), (2, 2), (3, 1), (1, 1)])
def test_predictions_of_few_images_keep_their_shape(tmp_path, n, k):
    given = Prediction(np.arange(n), np.full((n, k), -1), np.zeros((n, k), np.float32))
    path = tmp_path / "p.parquet"
    write_predictions(path, given)
    found = read_predictions(path)
    assert (found.label.shape, found.scores.shape) == ((n, k), (n, k))


def test_the_revision_is_that_of_all_results_and_predictions(store, opened):
    empty = store.revision()
    store.add(make_result(0))
    first = store.revision()
    assert opened(create=False).revision() == first != empty
    store.add(make_result(1))
    assert store.revision() not in (empty, first)


def test_a_fit_without_a_certificate_comes_back_as_one(store, place):
    result = make_result()
    row = {"lambda": 1e-6, "accuracy": 0.5, "converged": 0.0, "relative_gap": math.inf}
    selection = result.selection.model_copy(update={"validation_curve": (row,)})
    provenance = {"refit": row}
    store.add(result.model_copy(update={"selection": selection, "provenance": provenance}))
    (found,) = store.results()
    assert found.selection.validation_curve[0] == row
    assert found.provenance["refit"]["relative_gap"] == math.inf
    table = results(place)
    assert table["unconverged"].tolist() == [2]
    assert table["relative_gap"].isna().all()


def test_a_failed_result_is_not_stored(store):
    failed = Result(trial=make_result().trial, status="failed", error="why")
    with pytest.raises(ValueError, match="complete"):
        store.add(failed)
    assert store.results() == []


def test_the_table_has_one_row_per_result(store, place):
    store.add(make_result(seed=0))
    store.add(make_result(seed=1))
    table = results(place)
    assert table["seed"].tolist() == [0, 1]
    row = table.iloc[0]
    assert (row["model"], row["dataset"], row["accuracy"]) == ("efficientnet_lite0", "digits", 0.5)
    assert (row["lambda"], row["unconverged"], row["seconds"]) == (1.0, 0, 1.5)


def test_the_place_of_predictions_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv(PLACE, raising=False)
    assert PredictionFolder(tmp_path, "a store").shown == str(tmp_path)
    assert PredictionFolder(None, "a store").shown.split(",")[0] == PLACE


def test_damaged_predictions_are_found(store, tmp_path):
    result = make_result()
    store.add(result)
    (file,) = tmp_path.rglob("*.parquet")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with refused("store.predictions_damaged"):
        store.predictions(result.trial.key)
    file.unlink()
    with refused("store.predictions_missing"):
        store.predictions(result.trial.key)
    assert store.with_predictions() == set()


def test_predictions_that_may_not_be_read_are_not_called_unwritable(store, monkeypatch):
    result = make_result()
    store.add(result)

    def refuse(_):
        raise PermissionError(errno.EACCES, "denied")

    # The check of the bytes has passed: the file is refused when it is opened again.
    monkeypatch.setattr("pyarrow.parquet.ParquetFile", refuse)
    with refused("storage.not_readable"):
        store.predictions(result.trial.key)


def test_predictions_of_an_unknown_trial(store):
    with refused("store.key_unknown", key="abc"):
        store.predictions("abc")


@pytest.fixture
def six(store):
    for number, model in enumerate(["b/net", "a/net", "a[1]"]):
        add_result(store, model, 0.5 + number / 10)
        add_result(store, model, 0.5 + number / 10, seed=1)
    return store


@pytest.mark.parametrize(("page", "expected"), [
    (Page(), ["b/net 0", "b/net 1", "a/net 0", "a/net 1", "a[1] 0", "a[1] 1"]),
    (Page(models=["*/net"]), ["b/net 0", "b/net 1", "a/net 0", "a/net 1"]),
    # A name with a pattern's characters is itself.
    (Page(models=["a[1]", "b*"]), ["b/net 0", "b/net 1", "a[1] 0", "a[1] 1"]),
    (Page(sort="model"), ["a/net 0", "a/net 1", "a[1] 0", "a[1] 1", "b/net 0", "b/net 1"]),
    (Page(sort="seed", descending=True, limit=2), ["b/net 1", "a/net 1"]),
    (Page(sort="seed", descending=True, limit=2, offset=2), ["a[1] 1", "b/net 0"]),
    (Page(offset=5), ["a[1] 1"]),
    (Page(offset=5, limit=10**30), ["a[1] 1"]), (Page(offset=10**30), []),
    (Page(datasets=["digits"], settings=["linear"], limit=1), ["b/net 0"]),
])  # fmt: skip
def test_results_page_by_page(six, page, expected):
    found = [f"{r.trial.model.name} {r.trial.seed}" for r in six.results(page=page)]
    assert found == expected
    assert six.count() == 6


@pytest.mark.parametrize(("page", "kind", "near"), [
    (Page(models=["a/nte"]), "stored model", ["a/net", "b/net"]),
    (Page(datasets=["digit"]), "stored dataset", ["digits"]),
    (Page(settings=["knn"]), "stored setting", []),
    (Page(sort="accuracy_"), "column to sort by", ["accuracy"]),
])  # fmt: skip
def test_a_page_of_nothing_names_what_there_is(six, page, kind, near):
    with refused("name.unknown", kind=kind, near=near):
        six.results(page=page)


def test_the_newest_results_of_a_dataset(six, monkeypatch):
    monkeypatch.setattr("headstart.store.reading.NEWEST", 2)
    found = [f"{r.trial.model.name} {r.trial.seed}" for r in six.newest("digits")]
    assert found == ["a[1] 1", "a[1] 0", "a/net 1", "a/net 0", "b/net 1", "b/net 0"]
    assert list(six.newest("glyphs")) == []


def test_results_of_some_trials_read_no_other_record(six, monkeypatch):
    monkeypatch.setattr("headstart.store.reading.VALUES", 2)
    every = six.results()
    parsed = []
    whole = ResultStore._parsed
    monkeypatch.setattr(ResultStore, "_parsed", lambda *a: parsed.append(a[2]) or whole(*a))
    wanted = {result.trial.key for result in every[1:4]}
    assert six.keys(wanted | {"0" * 64}) == wanted
    found = six.results(wanted | {"0" * 64})
    assert {result.trial.key for result in found} == wanted
    assert len(parsed) == 3


def test_results_in_an_order_are_read_when_asked_for_and_stay(six, monkeypatch):
    monkeypatch.setattr("headstart.store.reading.VALUES", 2)
    every = six.results()
    keys = [result.trial.key for result in reversed(every)]
    ordered = six.in_order([*keys, "0" * 64])
    six.supersede(keys[0])
    assert (len(ordered), list(ordered)) == (6, every[::-1])
    assert (ordered[-1], list(ordered[1:3])) == (every[0], every[4:2:-1])
    assert list(six.in_order(keys)) == every[-2::-1]
    with pytest.raises(IndexError):
        ordered[6]


def test_a_store_arrives_in_another_process(store, opened):
    store.add(make_result())
    there = pickle.loads(pickle.dumps(store))
    assert isinstance(there, ResultStore)
    assert there.results() == store.results()
    assert there.add(make_result(1))
    assert len(opened().results()) == 2


def test_a_trial_that_is_superseded_is_measured_again_and_its_result_stays(store):
    first, key = make_result(), make_result().trial.key
    again = first.model_copy(update={"metrics": {"top-1": 0.75, "mean-per-class": 0.5}})
    store.add(first)
    store.add_selection(key, first.selection)
    before = store.revision()
    store.supersede(key)
    assert key not in store
    assert (store.keys(), store.count(), store.results()) == (set(), 0, [])
    assert (store.selection(key), store.with_predictions()) == (None, set())
    for ask in (store.predictions, store.supersede):
        with refused("store.key_unknown", key=key):
            ask(key)
    assert store.add(again)
    assert not store.add(first)
    assert [result.accuracy for result in store.results()] == [0.75]
    assert [result.accuracy for result in store.superseded(key)] == [0.5]
    np.testing.assert_array_equal(store.predictions(key).scores, first.predictions.scores)
    assert store.revision() != before
    store.supersede(key)
    assert [result.accuracy for result in store.superseded(key)] == [0.5, 0.75]
