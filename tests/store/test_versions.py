"""Stores of older versions: what headstart wrote then is read, and brought up, with all rows."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from headstart import datasets, methods, models
from headstart.spec import Candidate, Measurement, Selection, Trial
from headstart.store import ResultStore, database, schema

# As `headstart run --models efficientnet_lite0 --datasets digits --limit 60` left it when stores
# had version 1.
VERSION_1 = Path(__file__).parent / "version1"


@pytest.fixture
def older(tmp_path) -> Path:
    shutil.copytree(VERSION_1, tmp_path / "store")
    return tmp_path / "store" / "headstart.db"


def version(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]


def test_an_older_store_is_read_as_it_is(older):
    content = older.read_bytes()
    store = ResultStore(older)
    (result,) = store.results()
    assert result.trial.title == "efficientnet_lite0, digits, linear"
    assert not result.trial.dataset.multilabel
    assert len(result.selection.validation_curve) == 45
    predictions = store.predictions(*store.keys())
    right = float((predictions.label == predictions.predicted).mean())
    assert right == pytest.approx(result.accuracy)
    assert store.measurements("0" * 64) == []
    assert store.selection("0" * 64) is None
    assert (version(older), older.read_bytes()) == (1, content)


def test_the_first_write_brings_it_up_and_keeps_all_rows(older):
    before = ResultStore(older).results()
    store = ResultStore(older, create=True)
    choice = {"learning_rate": 0.1, "crop": "central"}
    measurement = Measurement(
        candidate=Candidate(values=choice), examples="r", curve=({**choice, "accuracy": 0.5},)
    )
    store.add_measurement("a" * 64, measurement)
    assert version(older) == schema.SCHEMA_VERSION
    assert store.results() == before
    assert store.measurements("a" * 64) == [measurement]
    assert store.measurements("b" * 64) == []


def test_a_store_of_version_2_knows_no_trials_and_learns_them(tmp_path):
    store = ResultStore(tmp_path / "r.db", create=True)
    choice = {"learning_rate": 0.1, "crop": "central"}
    measurement = Measurement(
        candidate=Candidate(values=choice), examples="r", curve=({**choice, "accuracy": 0.5},)
    )
    store.add_measurement("a" * 64, measurement)
    with sqlite3.connect(store.path) as connection:
        connection.execute("DROP TABLE trials")
        connection.execute("PRAGMA user_version = 2")
    assert store.trial("a" * 64) is None
    assert store.partly_measured() == {"a" * 64: 1}
    trial = Trial(
        model=models.find("efficientnet_lite0"),
        dataset=datasets.find("digits", limit=60),
        setting=methods.find("linear"),
    )
    store.add_trial(trial)
    assert version(store.path) == schema.SCHEMA_VERSION
    assert store.trial(trial.key) == trial
    assert store.measurements("a" * 64) == [measurement]
    with (
        sqlite3.connect(store.path) as connection,
        pytest.raises(sqlite3.IntegrityError, match="never edited"),
    ):
        connection.execute("DELETE FROM trials")


def test_what_was_measured_and_chosen_is_never_edited(tmp_path):
    store = ResultStore(tmp_path / "r.db", create=True)
    first, other = (
        Measurement(candidate=Candidate(), examples="r", curve=({"accuracy": value},))
        for value in (0.5, 0.9)
    )
    for measurement in (first, other):
        store.add_measurement("a", measurement)
    assert store.measurements("a") == [first]
    for value in (0.5, 0.9):
        choice = {"lambda": value}
        store.add_selection("a", Selection(examples="r", chosen=choice, validation_curve=(choice,)))
    assert store.selection("a").chosen == {"lambda": 0.5}
    for table in ("measurements", "selections"):
        with (
            sqlite3.connect(store.path) as connection,
            pytest.raises(sqlite3.IntegrityError, match="never edited"),
        ):
            connection.execute(f"UPDATE {table} SET record = '{{}}'")


def test_a_store_that_is_made_while_it_is_looked_at(tmp_path, monkeypatch):
    path, look = tmp_path / "r.db", database.sa.inspect
    path.touch()

    def slow(connection):
        monkeypatch.undo()
        ResultStore(path, create=True).make()
        return look(connection)

    monkeypatch.setattr(database.sa, "inspect", slow)
    assert ResultStore(path, create=True).keys() == set()
