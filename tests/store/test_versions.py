"""Stores of older versions: what headstart wrote then is read, and brought up, with all rows."""

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from headstart.spec import Candidate, Failure, Measurement, Selection
from headstart.store import ResultStore, backend, schema
from stores import make_result

HERE = Path(__file__).parent
VERSIONS = (1, 2, 3)
# Trials of the dumps: one with two measurements and a selection, one under way.
CHOSEN, UNDER_WAY = "a" * 64, "b5f3ce67e751a5a790b99e3d6b804240e7f82e6dd5c6848a5ddec3957d3fa030"
MEASUREMENT = Measurement(candidate=Candidate(), examples="r", curve=({"accuracy": 0.5},))


@pytest.fixture(params=VERSIONS)
def older(request, tmp_path) -> tuple[Path, int]:
    """A store as `headstart run --models efficientnet_lite0 --datasets digits --limit 60` left it.

    The folder is of version 1; the dumps are what it became, with trials that have no result.
    """
    shutil.copytree(HERE / "version1", tmp_path / "store")
    path = tmp_path / "store" / "headstart.db"
    if request.param > 1:
        path.unlink()
        with sqlite3.connect(path) as connection:
            connection.executescript((HERE / f"version{request.param}.sql").read_text())
        connection.close()
    return path, request.param


def version(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]


def rows_of(connection: sa.Connection) -> dict[str, list[tuple]]:
    """All that a database holds, without what version 4 added."""
    tables = [schema.results, schema.measurements, schema.selections, schema.trials]
    there = set(sa.inspect(connection).get_table_names())
    return {
        table.name: [
            tuple(row)
            for row in connection.execute(
                sa.select(*[c for c in table.columns if c.name != "generation"])
            )
        ]
        for table in tables
        if table.name in there
    }


def shape_of(connection: sa.Connection) -> dict[str, object]:
    """The tables as the database describes them."""
    found = sa.inspect(connection)
    return {
        name: (
            [
                (c["name"], repr(c["type"]), c["nullable"], (c["default"] or "").split("(")[0])
                for c in found.get_columns(name)
            ],
            found.get_pk_constraint(name)["constrained_columns"],
            sorted((c["name"], *c["column_names"]) for c in found.get_unique_constraints(name)),
            sorted((c["name"], *c["column_names"]) for c in found.get_indexes(name)),
        )
        for name in sorted(found.get_table_names())
    }


def test_an_older_store_is_read_as_it_is(older):
    path, number = older
    content = path.read_bytes()
    store = ResultStore(path)
    (result,) = store.results()
    assert result.trial.title == "efficientnet_lite0, digits, linear"
    assert not result.trial.dataset.multilabel
    assert len(result.selection.validation_curve) == 45
    (key,) = store.keys()
    assert (store.count(), key in store, store.leases()) == (1, True, [])
    predictions = store.predictions(key)
    right = float((predictions.label == predictions.predicted).mean())
    assert right == pytest.approx(result.accuracy)
    assert len(store.measurements(CHOSEN)) == (0 if number == 1 else 2)
    assert (store.selection(CHOSEN) is None) == (number == 1)
    assert (store.trial(UNDER_WAY) is None) == (number < 3)
    assert store.partly_measured() == ({} if number == 1 else {CHOSEN: 2, UNDER_WAY: 1})
    assert store.partly_measured({UNDER_WAY, "0" * 64}) == ({} if number == 1 else {UNDER_WAY: 1})
    assert store.superseded(key) == []
    assert (version(path), path.read_bytes()) == (number, content)


def test_reading_an_older_store_needs_no_alembic(older):
    code = "import sys; from headstart.store import ResultStore; ResultStore(sys.argv[1]).results()"
    code += "; sys.exit('alembic' in sys.modules)"
    subprocess.run([sys.executable, "-c", code, older[0]], check=True)


def test_the_first_write_brings_it_up_and_keeps_all_rows(older, tmp_path):
    path, _ = older
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        before = rows_of(connection)
    store = ResultStore(path, create=True)
    store.make()
    assert version(path) == schema.SCHEMA_VERSION
    with engine.connect() as connection:
        after = rows_of(connection)
        migrated = shape_of(connection)
    assert {name: after[name] for name in before} == before
    assert sum(map(len, after.values())) == sum(map(len, before.values()))
    fresh = ResultStore(tmp_path / "fresh.db", create=True)
    fresh.make()
    with sa.create_engine(f"sqlite:///{fresh.path}").connect() as connection:
        assert shape_of(connection) == migrated
    # What comes now comes after what there was.
    store.add_measurement(CHOSEN, MEASUREMENT)
    assert store.measurements(CHOSEN)[-1] == MEASUREMENT
    store.add(make_result())
    assert [result.trial.seed for result in store.results()] == [0, 0]
    assert store.results()[1] == make_result().model_copy(update={"predictions": None})
    for table in before:
        with (
            engine.connect() as connection,
            pytest.raises(sa.exc.DBAPIError, match=schema.NEVER_EDITED),
        ):
            connection.execute(sa.text(f"DELETE FROM {table}"))


def test_what_was_measured_and_chosen_is_never_edited(store, place):
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
    store.begin(make_result().trial)
    store.add(make_result())
    store.add_failure(make_result().trial, Failure(error="no space"))
    store.supersede(make_result().trial.key)
    opened = backend.open_backend(place, create=True)
    for table in schema.GUARDED:
        for statement in (table.delete(), table.update().values(created_at="")):
            never = pytest.raises(sa.exc.DBAPIError, match=schema.NEVER_EDITED)
            with opened.engine.connect() as connection, never:
                connection.execute(statement)


def test_a_store_that_is_made_while_it_is_looked_at(tmp_path, monkeypatch):
    path, look = tmp_path / "r.db", sa.inspect
    path.touch()

    def slow(connection):
        monkeypatch.undo()
        ResultStore(path, create=True).make()
        return look(connection)

    monkeypatch.setattr(sa, "inspect", slow)
    assert ResultStore(path, create=True).keys() == set()
