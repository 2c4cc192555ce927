"""`headstart store`, and stores that are named by URLs."""

import json

import pytest

from headstart.store import ResultStore
from refusals import ended
from stores import add_result, make_result, make_store


@pytest.fixture
def two(tmp_path):
    """Two stores that have one trial with the same numbers, and one with different ones."""
    a = make_store(tmp_path / "a.db", {"net_a": 0.9, "net_b": 0.8})
    b = make_store(tmp_path / "b.db", {"net_a": 0.9})
    return a, b


def test_a_check_of_a_sound_store_and_of_one_with_orphans(cli, two, tmp_path):
    outcome = cli("store", "check", "--store", two[0].path)
    assert (outcome.code, outcome.out) == (0, "2 results checked, 0 problems\n")
    (tmp_path / "a.db.predictions" / "x.parquet").touch()
    outcome = cli("store", "check", "--store", two[0].path)
    assert outcome.code == 2
    assert outcome.out.endswith("2 results checked, 1 problems\n")
    outcome = cli("store", "check", "--store", two[0].path, "--json")
    assert outcome.code == 2
    assert [(one["kind"], one["name"]) for one in json.loads(outcome.out)] == [
        ("orphan", "x.parquet")
    ]
    ended(cli("store", "check", "--store", tmp_path / "none.db"), "store.missing")


def test_a_store_is_exported_and_imported(cli, two, tmp_path):
    out, copy = tmp_path / "out", tmp_path / "copy.db"
    assert cli("store", "export", two[0].path, out).out == f"2 results written to {out}\n"
    assert cli("store", "import", out, copy).out == "2 results added, 0 known before\n"
    assert ResultStore(copy).results() == two[0].results()
    ended(cli("store", "export", two[0].path, out), "store.export_exists")


def test_stores_are_merged_or_their_conflicts_listed(cli, two, tmp_path):
    a, b = two
    into = ("--into", tmp_path / "c.db")
    assert cli("store", "merge", a.path, b.path).out == "1 result added, 1 known before\n"
    assert len(b.results()) == 2
    outcome = cli("store", "merge", a.path, b.path, *into, "--json")
    assert json.loads(outcome.out) == {"added": 2, "known": 2, "failures": 0, "conflicts": []}
    a.supersede(a.results()[0].trial.key)
    add_result(a, "net_a", 0.5)
    other = make_store(tmp_path / "d.db", {"net_a": 0.9})
    outcome = cli("store", "merge", a.path, other.path, "--into", tmp_path / "e.db")
    assert outcome.code == 0
    other = make_store(tmp_path / "f.db", {"net_a": 0.7})
    outcome = cli("store", "merge", a.path, other.path)
    assert outcome.code == 2
    assert "net_a, digits, linear" in outcome.out
    assert "Different numbers of 1 trial; nothing was written" in outcome.out
    assert len(other.results()) == 1


def test_a_trial_is_measured_again(cli, two):
    store, _ = two
    key = store.results()[0].trial.key
    out = cli("store", "redo", "net_a", "--store", store.path).out
    assert out == f"{key[:12]} (net_a, digits, linear): the next run measures it again\n"
    assert key not in store
    assert "net_a" not in cli("results", "--store", store.path).out
    assert len(store.superseded(key)) == 1
    redo = ("store", "redo", "--store", store.path)
    ended(cli(*redo, key), "store.trial_unknown")
    ended(cli(*redo, "net_b", "knn"), "store.trial_unknown")
    assert store.count() == 1


@pytest.mark.parametrize("command", [
    ("results", "--store"), ("store", "check", "--store"), ("run", "--store"), ("plan", "--store"),
    ("analyze",), ("report",), ("store", "export"), ("store", "merge", "a.db"),
])  # fmt: skip
def test_a_password_on_the_command_line_is_refused(cli, command):
    outcome = cli(*command, "postgresql+psycopg://me:p%40ss@host/db")
    ended(outcome, "command.password", url="postgresql+psycopg://me:***@host/db")
    assert "p%40ss" not in outcome.err + outcome.out


@pytest.mark.parametrize("command", [
    ("run", "--keep-models"), ("rank", "images", "--keep-models"), ("predict",),
    ("export", "0123", "--kept-models"), ("predict", "0123", "--kept-models"),
])  # fmt: skip
def test_a_key_of_object_storage_on_the_command_line_is_refused(cli, command):
    outcome = cli(*command, "s3://key:se%2Fcret@bucket/models")
    ended(outcome, "command.password", url="s3://key:***@bucket/models")
    assert "se%2Fcret" not in outcome.err + outcome.out


@pytest.mark.parametrize(
    "command", [("results", "--store"), ("analyze",), ("store", "check", "--store")]
)
def test_a_url_that_is_no_store(cli, command):
    code = "table.not_found" if command == ("analyze",) else "store.backend"
    ended(cli(*command, "mysql://me@host/db"), code)


def test_a_url_of_a_file_is_its_path(cli, two, tmp_path):
    url = f"sqlite:///{two[0].path}"
    assert cli("results", "--store", url).out == cli("results", "--store", two[0].path).out
    assert cli("store", "check", "--store", url).code == 0
    assert cli("analyze", url, "--resamples", 100).code == 0
    ResultStore(url, create=True).add(make_result())
    assert len(two[0].results()) == 3
