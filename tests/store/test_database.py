import errno
import math
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import limit_file_size
from headstart import datasets, methods, models
from headstart.errors import DiskFullError, NotWritableError, StorageError, StoreError
from headstart.spec import Prediction, Result, Selection, Trial
from headstart.store import Page, ResultStore, results, schema
from headstart.store.database import read_predictions, write_predictions
from refusals import refused
from stores import add_result


def make_result(seed: int = 0) -> Result:
    trial = Trial(
        model=models.find("efficientnet_lite0"),
        dataset=datasets.find("digits", limit=100),
        setting=methods.find("linear"),
        seed=seed,
    )
    scores = np.random.RandomState(seed).randn(20, 10).astype(np.float32)
    label = np.arange(20, dtype=np.int64) % 10
    return Result(
        trial=trial,
        metrics={"top-1": 0.5, "mean-per-class": 0.4},
        n_test=20,
        selection=Selection(
            examples="r",
            chosen={"lambda": 1.0},
            validation_curve=({"lambda": 1.0, "accuracy": 0.5, "converged": 1.0},),
        ),
        predictions=Prediction(np.arange(20, dtype=np.int64), label, scores),
        provenance={"versions": {"numpy": "2"}},
        seconds={"select": 1.5},
    )


@pytest.fixture
def store(tmp_path) -> ResultStore:
    store = ResultStore(tmp_path / "results.db", create=True)
    store.make()
    return store


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


def test_predictions_of_several_labels_an_image_come_back_as_they_were(store):
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
    (file,) = store.path.with_name("results.db.predictions").iterdir()
    table = pd.read_parquet(file)
    np.testing.assert_array_equal(np.stack(table["label"]), given.label)
    np.testing.assert_array_equal(np.stack(table["predicted"]), np.sign(given.scores))
    assert store.results()[0].accuracy == 0.5


@pytest.mark.parametrize(("n", "k"), [(1, 2), (2, 2), (3, 1), (1, 1)])
def test_predictions_of_few_images_keep_their_shape(tmp_path, n, k):
    given = Prediction(np.arange(n), np.full((n, k), -1), np.zeros((n, k), np.float32))
    path = tmp_path / "p.parquet"
    found = read_predictions(path, write_predictions(path, given))
    assert (found.label.shape, found.scores.shape) == ((n, k), (n, k))


def test_the_revision_is_that_of_all_results_and_predictions(store):
    empty = store.revision()
    store.add(make_result(0))
    first = store.revision()
    assert ResultStore(store.path).revision() == first != empty
    store.add(make_result(1))
    assert store.revision() not in (empty, first)


def test_a_fit_without_a_certificate_comes_back_as_one(store):
    result = make_result()
    row = {"lambda": 1e-6, "accuracy": 0.5, "converged": 0.0, "relative_gap": math.inf}
    selection = result.selection.model_copy(update={"validation_curve": (row,)})
    provenance = {"refit": row}
    store.add(result.model_copy(update={"selection": selection, "provenance": provenance}))
    (found,) = store.results()
    assert found.selection.validation_curve[0] == row
    assert found.provenance["refit"]["relative_gap"] == math.inf
    table = results(store.path)
    assert table["unconverged"].tolist() == [2]
    assert table["relative_gap"].isna().all()


def test_the_same_trial_is_stored_once(store):
    assert store.add(make_result())
    assert not store.add(make_result())
    assert len(store.results()) == 1


def test_a_failed_result_is_not_stored(store):
    failed = Result(trial=make_result().trial, status="failed", error="why")
    with pytest.raises(ValueError, match="complete"):
        store.add(failed)
    assert store.results() == []


@pytest.mark.parametrize("statement", ["UPDATE results SET accuracy = 1", "DELETE FROM results"])
def test_the_database_refuses_to_edit_a_result(store, statement):
    store.add(make_result())
    with pytest.raises(sqlite3.IntegrityError, match="never edited"):
        sqlite3.connect(store.path).execute(statement)


def test_a_folder_holds_its_database(tmp_path):
    store = ResultStore(tmp_path, create=True)
    assert store.path == tmp_path / "headstart.db"
    store.add(make_result())
    assert len(ResultStore(tmp_path).results()) == 1


def test_the_table_has_a_row_a_result(store):
    store.add(make_result(seed=0))
    store.add(make_result(seed=1))
    table = results(store.path)
    assert table["seed"].tolist() == [0, 1]
    row = table.iloc[0]
    assert (row["model"], row["dataset"], row["accuracy"]) == ("efficientnet_lite0", "digits", 0.5)
    assert (row["lambda"], row["unconverged"], row["seconds"]) == (1.0, 0, 1.5)


def test_write_ahead_log_is_on(store):
    assert sqlite3.connect(store.path).execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_missing_store_is_an_error_and_makes_nothing(tmp_path):
    with pytest.raises(StoreError, match="no results at"):
        ResultStore(tmp_path / "none.db")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_refused(tmp_path):
    file = tmp_path / "notes.db"
    file.write_text("these are my notes, and quite long ones " * 50)
    before = file.read_bytes()
    with pytest.raises(StoreError, match="not a headstart database"):
        ResultStore(file, create=True)
    assert file.read_bytes() == before


def test_another_programs_database_is_refused(tmp_path):
    file = tmp_path / "other.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")
    connection.close()
    before = file.read_bytes()
    with pytest.raises(StoreError, match="not a headstart database"):
        ResultStore(file, create=True)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_an_empty_file_is_an_empty_store_and_stays_empty_when_read(tmp_path):
    file = tmp_path / "note.txt"
    file.touch()
    assert ResultStore(file).results() == []
    assert file.read_bytes() == b""


def test_nothing_is_made_before_the_first_write(tmp_path):
    store = ResultStore(tmp_path / "folder" / "results.db", create=True)
    assert store.keys() == set()
    assert store.results() == []
    assert list(tmp_path.iterdir()) == []


def test_stores_of_like_names_do_not_share_predictions(tmp_path):
    stores = [ResultStore(tmp_path / name, create=True) for name in ("run.1", "run.2")]
    for seed, store in enumerate(stores):
        store.add(make_result(seed))
    folders = sorted(path.name for path in tmp_path.iterdir() if path.is_dir())
    assert folders == ["run.1.predictions", "run.2.predictions"]


def test_reading_changes_no_byte(store):
    store.add(make_result())
    before = store.path.read_bytes()
    assert len(results(store.path)) == 1
    assert store.path.read_bytes() == before


def test_a_store_that_is_read_only_can_be_read(store, monkeypatch):
    store.add(make_result())
    # Root's answer to os.access is always yes: give the one of an ordinary user.
    monkeypatch.setattr("headstart.store.schema.os.access", lambda *arguments: False)
    store.path.chmod(0o444)
    assert len(results(store.path)) == 1


@pytest.mark.parametrize("n_bytes", [1000, 30_000])
def test_a_disk_that_fills_up_while_a_result_is_stored(tmp_path, request, n_bytes):
    """The kernel refuses to write past so many bytes of a file: of the database, of its log."""
    arguments = [str(tmp_path / "results.db"), "0", str(request.path.parent)]
    full = subprocess.run(
        [sys.executable, "-c", WRITER, *arguments],
        check=False,
        capture_output=True,
        text=True,
        preexec_fn=lambda: limit_file_size(n_bytes),
    )
    assert full.returncode == 1
    assert re.search(r"StoreError: cannot use .*check that the disk .* has space", full.stderr), (
        full.stderr
    )
    # With space, the same work completes.
    subprocess.run([sys.executable, "-c", WRITER, *arguments], check=True)
    store = ResultStore(tmp_path / "results.db")
    assert len(store.results()) == 12
    for key in sorted(store.keys()):
        assert len(store.predictions(key).label) == 20


def test_a_newer_store_is_refused(store):
    connection = sqlite3.connect(store.path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match=r"newer headstart \(store version 99.*upgrade"):
        ResultStore(store.path)


def test_a_folder_that_cannot_be_written_is_refused():
    with pytest.raises(StorageError, match="/proc/headstart"):
        ResultStore("/proc/headstart/results.db", create=True).make()


def test_a_full_disk_is_said_in_words():
    assert isinstance(schema.storage_error(Path("x.db"), "database or disk is full"), DiskFullError)


def test_a_read_only_database_is_said_in_words():
    error = schema.storage_error(Path("x.db"), "attempt to write a readonly database")
    assert isinstance(error, NotWritableError)


def test_damaged_predictions_are_found(store):
    result = make_result()
    store.add(result)
    (file,) = store.path.with_name("results.db.predictions").iterdir()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(StoreError, match=r"are damaged: expected SHA-256"):
        store.predictions(result.trial.key)
    file.unlink()
    with pytest.raises(StoreError, match="are missing"):
        store.predictions(result.trial.key)


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
    with pytest.raises(StoreError, match="no result with key abc"):
        store.predictions("abc")


WRITER = """
import sys
sys.path[:0] = [sys.argv[3], sys.argv[3] + "/.."]
from test_database import make_result
from headstart.store import ResultStore
store = ResultStore(sys.argv[1], create=True)
first = int(sys.argv[2])
for seed in range(first, first + 12):
    store.add(make_result(seed))
"""


def test_processes_at_once_lose_nothing(tmp_path, request):
    path = tmp_path / "results.db"
    here = str(request.path.parent)
    # Two and two write the same trials, and all make the store.
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(first), here])
        for first in (0, 0, 6, 6)
    ]
    assert [writer.wait() for writer in writers] == [0, 0, 0, 0]
    store = ResultStore(path)
    assert sorted(result.trial.seed for result in store.results()) == list(range(18))
    for key in sorted(store.keys()):
        assert len(store.predictions(key).label) == 20


def test_a_claim_keeps_others_off_until_it_ends(store):
    other = ResultStore(store.path)
    with store.claim("k", wait=False) as mine:
        assert mine
        with other.claim("k", wait=False) as theirs:
            assert not theirs
        with other.claim("another", wait=False) as theirs:
            assert theirs
    with other.claim("k", wait=False) as theirs:
        assert theirs


@pytest.fixture
def six(tmp_path):
    store = ResultStore(tmp_path / "six.db", create=True)
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


def test_results_of_some_trials_read_no_other_record(six, monkeypatch):
    monkeypatch.setattr("headstart.store.database.VALUES", 2)
    every = six.results()
    parsed = []
    whole = ResultStore._parsed
    monkeypatch.setattr(ResultStore, "_parsed", lambda *a: parsed.append(a[2]) or whole(*a))
    wanted = {result.trial.key for result in every[1:4]}
    found = six.results(wanted | {"0" * 64})
    assert {result.trial.key for result in found} == wanted
    assert len(parsed) == 3


def test_a_claims_file_stays_for_those_who_wait_at_it(tmp_path):
    """Two processes would hold one trial if one had locked a file that is removed then."""
    store, key = ResultStore(tmp_path / "r.db", create=True), "0" * 64
    files = []
    for _ in range(2):
        with store.claim(key, wait=False) as claimed:
            assert claimed
            with ResultStore(tmp_path / "r.db", create=True).claim(key, wait=False) as other:
                assert not other
        files += [file.stat().st_ino for file in (tmp_path / "r.db.locks").iterdir()]
    assert len(files) == 2
    assert len(set(files)) == 1
