"""Stores that are checked, exported, imported and put together, on each backend."""

import json
import pickle
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from headstart.spec import Candidate, Failure, Measurement
from headstart.store import ResultStore, schema
from headstart.store.exchange import (
    MergeReport,
    check_store,
    export_store,
    import_store,
    merge_stores,
)
from refusals import refused
from stores import make_result

HERE = Path(__file__).parent


@pytest.fixture
def new_store(request, tmp_path, place) -> Callable[[], ResultStore]:
    """Make empty stores on one backend, each with a folder of its own for predictions."""
    number = 0

    def make() -> ResultStore:
        nonlocal number
        number += 1
        if "://" not in place:
            return ResultStore(tmp_path / f"{number}.db", create=True)
        url = request.getfixturevalue("postgres").url()
        return ResultStore(url, create=True, predictions=tmp_path / f"{number}.predictions")

    return make


def result(seed: int, accuracy: float = 0.5):
    metrics = {"top-1": accuracy, "mean-per-class": 0.4}
    return make_result(seed).model_copy(update={"metrics": metrics})


FAILURE = Failure(error="no memory", code="device.memory", log="Traceback ...", host="a", pid=7)
KEYS = [make_result(seed).trial.key for seed in range(5)]


def measurement(accuracy: float, rate: float = 0.1) -> Measurement:
    values = {"learning_rate": rate}
    return Measurement(
        candidate=Candidate(values=values), examples="r", curve=({**values, "accuracy": accuracy},)
    )


def fill(store: ResultStore) -> ResultStore:
    """Two results, one that was superseded and stored again; one superseded, begun, failed."""
    for seed in (0, 1, 2):
        store.add(result(seed))
    store.add_selection(KEYS[0], result(0).selection)
    for seed in (1, 2):
        store.supersede(KEYS[seed])
    store.add(result(1, 0.75))
    store.begin(result(3).trial)
    store.add_measurement(KEYS[3], measurement(0.25))
    store.add_failure(result(4).trial, FAILURE)
    return store


def content(store: ResultStore) -> dict[str, list]:
    """All that a store holds, without the names of files."""
    rows = {table.name: list(store.rows(table)) for table in schema.GUARDED}
    for row in rows["results"]:
        found = store.predictions_file(row["key"], row["generation"])
        row["predictions_file"] = found.read_bytes()
    key = lambda row: json.dumps({**row, "predictions_file": ""})  # noqa: E731
    return {name: sorted(rows[name], key=key) for name in rows}


def test_an_export_is_the_whole_store_and_no_code(new_store, tmp_path):
    store = fill(new_store())
    counts = export_store(store, tmp_path / "out")
    assert counts == {
        "results": 4, "measurements": 1, "selections": 1, "trials": 2, "failures": 1,
        "superseded": 2,
    }  # fmt: skip
    files = {path.suffix for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert files == {".json", ".jsonl", ".parquet"}
    copy = new_store()
    assert import_store(tmp_path / "out", copy) == MergeReport(added=2, failures=1)
    assert content(copy) == content(store)
    # Again, nothing is new.
    assert import_store(tmp_path / "out", copy) == MergeReport(known=2)
    assert content(copy) == content(store)
    assert list(check_store(copy)) == list(check_store(store)) == []
    with refused("store.export_exists"):
        export_store(store, tmp_path / "out")


def test_a_result_goes_before_a_failure_and_attempts_are_kept_once(new_store):
    failed, other, measured = new_store(), new_store(), new_store()
    later = Failure(error="no space")
    failed.add_failure(result(0).trial, FAILURE)
    other.add_failure(result(0).trial, later)
    measured.add(result(0))
    # Nothing of a failure where there is a result.
    assert merge_stores([failed], measured) == MergeReport()
    assert measured.failures() == {}
    for _ in range(2):
        merge_stores([failed], other)
        assert sorted(row["record"] for row in other.rows(schema.failures)) == sorted(
            one.model_dump_json() for one in (FAILURE, later)
        )
    assert merge_stores([measured], failed) == MergeReport(added=1)
    assert failed.keys() == {KEYS[0]}
    assert [row["trial"] for row in failed.rows(schema.failures)] == [KEYS[0]]


def test_an_export_without_failures_is_read(new_store, tmp_path):
    export_store(fill(new_store()), tmp_path / "out")
    index = json.loads((tmp_path / "out" / "store.json").read_text())
    for part in index["rows"], index["sha256"]:
        del part["failures"]
    (tmp_path / "out" / "store.json").write_text(json.dumps(index))
    (tmp_path / "out" / "failures.jsonl").unlink()
    copy = new_store()
    assert import_store(tmp_path / "out", copy) == MergeReport(added=2)
    assert copy.failures() == {}


def test_an_export_of_an_older_store_is_read(tmp_path):
    shutil.copytree(HERE / "version1", tmp_path / "old")
    old = ResultStore(tmp_path / "old")
    assert list(check_store(old)) == []
    assert export_store(old, tmp_path / "out")["results"] == 1
    copy = ResultStore(tmp_path / "new.db", create=True)
    assert import_store(tmp_path / "out", copy) == MergeReport(added=1)
    assert copy.results() == old.results()
    np.testing.assert_array_equal(
        copy.predictions(*copy.keys()).scores, old.predictions(*old.keys()).scores
    )


def edit_line(folder: Path, table: str, **changes: object) -> None:
    """Change the first line of an export, and its digest as a stranger would."""
    from headstart.files import sha256_file

    file = folder / f"{table}.jsonl"
    first, *rest = file.read_text().splitlines(keepends=True)
    row = {**json.loads(first), **changes}
    row = {name: value for name, value in row.items() if value is not None}
    file.write_text("".join([json.dumps(row) + "\n", *rest]))
    index = json.loads((folder / "store.json").read_text())
    index["sha256"][table] = sha256_file(file)
    (folder / "store.json").write_text(json.dumps(index))


def replace_index(folder: Path) -> None:
    (folder / "store.json").unlink()
    (folder / "store.json").symlink_to("/dev/null")


def edit_format(folder: Path) -> None:
    index = json.loads((folder / "store.json").read_text())
    assert index["format"] == 1
    (folder / "store.json").write_text(json.dumps({**index, "format": 2}))


DAMAGES = {
    "no index": (lambda f: (f / "store.json").unlink(), "storage.unusable"),
    "a device for an index": (replace_index, "storage.no_file"),
    "another format": (edit_format, "store.export_damaged"),
    "no object": (lambda f: (f / "store.json").write_text("[1]"), "store.export_damaged"),
    "a changed line": (
        lambda f: (f / "trials.jsonl").write_text("{}\n"), "store.export_damaged"
    ),
    "a column is missing": (
        lambda f: edit_line(f, "results", seed=None), "store.export_damaged"
    ),
    "a column too many": (lambda f: edit_line(f, "results", more=1), "store.export_damaged"),
    "another type": (lambda f: edit_line(f, "results", seed="0"), "store.export_damaged"),
    "a contradiction": (
        lambda f: edit_line(f, "results", accuracy=0.9), "store.export_damaged"
    ),
    "a record that is none": (
        lambda f: edit_line(f, "measurements", record="{}"), "store.record"
    ),
    "a key that leads out": (
        lambda f: edit_line(f, "results", key="../../k"), "store.export_damaged"
    ),
    "a file that leads out": (
        lambda f: edit_line(f, "results", predictions_file="../x.parquet"), "storage.name_invalid"
    ),
    "other predictions": (
        lambda f: next((f / "predictions").glob(f"{KEYS[0]}*")).write_bytes(b"x"),
        "store.predictions_damaged",
    ),
    "no predictions": (
        lambda f: next((f / "predictions").glob(f"{KEYS[0]}*")).unlink(),
        "store.predictions_missing",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "code"), DAMAGES.values(), ids=DAMAGES)
def test_an_export_that_is_damaged_or_hostile(tmp_path, damage, code):
    export_store(fill(ResultStore(tmp_path / "a.db", create=True)), tmp_path / "out")
    damage(tmp_path / "out")
    copy = ResultStore(tmp_path / "b.db", create=True)
    with refused(code):
        import_store(tmp_path / "out", copy)
    assert copy.results() == []


def test_stores_are_put_together(new_store):
    a, b, c = new_store(), new_store(), new_store()
    for seed in (0, 1):
        a.add(result(seed))
    for seed in (1, 2):
        b.add(result(seed))
    a.add_measurement(KEYS[3], measurement(0.25, 0.1))
    b.add_measurement(KEYS[3], measurement(0.75, 0.01))
    # One is measured in one store, and has a result in the other.
    a.add_measurement(KEYS[2], measurement(0.25))
    b.add_measurement(KEYS[0], measurement(0.25))
    before = content(a), content(b)
    assert merge_stores([a, b], c) == MergeReport(added=3, known=1)
    assert (content(a), content(b)) == before
    assert sorted(one.trial.seed for one in c.results()) == [0, 1, 2]
    assert len(c.measurements(KEYS[3])) == 2
    for key in sorted(c.keys()):
        assert len(c.predictions(key).label) == 20
    assert list(check_store(c)) == []
    assert merge_stores([a], b) == MergeReport(added=1, known=1)
    assert sorted(one.trial.seed for one in b.results()) == [0, 1, 2]
    assert merge_stores([a, b], c) == MergeReport(known=5)


def test_conflicts_are_listed_and_nothing_is_written(new_store):
    a, b, c = new_store(), new_store(), new_store()
    for store, accuracy in ((a, 0.5), (b, 0.75)):
        store.add(result(0, accuracy))
        store.add_measurement(KEYS[3], measurement(accuracy))
    a.add(result(1))
    for sources, target in (([a], b), ([a, b], c)):
        before = content(target)
        report = merge_stores(sources, target)
        assert (report.added, report.known) == (0, 0)
        found = [(one.key, one.stores, one.accuracies) for one in report.conflicts]
        names = (a.name, b.name)
        assert found == [(KEYS[0], names, (0.5, 0.75)), (KEYS[3], names, (None, None))]
        assert content(target) == before
    # Who supersedes one of the two has chosen.
    a.supersede(KEYS[0])
    c_only = new_store()
    c_only.add(result(0, 0.75))
    assert merge_stores([a], c_only).conflicts == ()
    assert [one.accuracy for one in c_only.results({KEYS[0]})] == [0.75]


def test_what_is_superseded_does_not_come_back(new_store):
    a, b = new_store(), new_store()
    for store in (a, b):
        store.add(result(0))
    a.supersede(KEYS[0])
    assert merge_stores([b], a) == MergeReport(known=1)
    assert a.results() == []
    # It is superseded there, too; and what was measured instead comes along.
    assert merge_stores([a], b) == MergeReport()
    assert (b.results(), [one.accuracy for one in b.superseded(KEYS[0])]) == ([], [0.5])
    a.add(result(0, 0.75))
    assert merge_stores([a], b) == MergeReport(added=1)
    assert [one.accuracy for one in b.results()] == [0.75]
    assert merge_stores([b], a) == MergeReport(known=1)


def test_a_trial_that_is_being_measured_is_not_written(new_store):
    a, b = new_store(), new_store()
    a.add(result(0))
    other = pickle.loads(pickle.dumps(b))
    with other.claim(KEYS[0], wait=False), refused("store.leased", key=KEYS[0]):
        merge_stores([a], b)
    assert (b.results(), b.prediction_files()) == ([], set())


def test_a_store_in_files_goes_to_a_server_and_back(postgres, tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_ARTIFACTS", str(tmp_path / "artifacts"))
    file = fill(ResultStore(tmp_path / "a.db", create=True))
    server = ResultStore(postgres.url(), create=True)
    assert merge_stores([file], server) == MergeReport(added=2, failures=1)
    back = ResultStore(tmp_path / "b.db", create=True)
    assert merge_stores([server], back) == MergeReport(added=2, failures=1)
    assert content(back) == content(server) == content(file)


def test_a_check_finds_what_is_wrong(tmp_path):
    store = fill(ResultStore(tmp_path / "a.db", create=True))
    folder = tmp_path / "a.db.predictions"
    missing, damaged = (next(folder.glob(f"{KEYS[seed]}*")) for seed in (0, 2))
    missing.unlink()
    damaged.write_bytes(b"x")
    (folder / "left.parquet").touch()
    with sqlite3.connect(store.path) as connection:
        for name in ("results_no_UPDATE", "measurements_no_UPDATE"):
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("UPDATE measurements SET record = '{'")
        connection.execute(
            "INSERT INTO results (key, model, dataset, setting, seed, metric, accuracy, n_test, "
            "created_at, record, predictions_file, predictions_sha256) SELECT 'bb', model, dataset,"
            " setting, 7, metric, 0.9, n_test, created_at, record, predictions_file, "
            f"predictions_sha256 FROM results WHERE key = '{KEYS[0]}'"
        )
        connection.execute(
            f"UPDATE results SET record = '[]' WHERE key = '{KEYS[1]}' AND generation = 1"
        )
    connection.close()
    found = sorted((problem.kind, problem.name) for problem in check_store(store))
    assert found == sorted([
        ("missing", missing.name), ("missing", missing.name), ("damaged", damaged.name),
        ("orphan", "left.parquet"), ("record", KEYS[3]), ("record", KEYS[1]),
        ("contradiction", "bb"), ("duplicate", "bb"),
    ])  # fmt: skip
