"""Stores on a server: what PostgreSQL's backend alone has to hold, against a real one."""

import pickle
import re
import shutil
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import numpy as np
import psycopg
import pytest
import sqlalchemy as sa

from headstart.analysis import analyze
from headstart.analysis.tables.results_sources import read_sources
from headstart.artifacts import ArtifactFolder
from headstart.cli.analyze_command import write_reports
from headstart.registry import REPORTERS
from headstart.store import Page, ResultStore
from headstart.store.backend import open_backend
from headstart.store.exchange import MergeReport, check_store, merge_stores
from postgres import postgres_server
from processes import headstart_process
from refusals import refused
from stores import WRITER, add_result, make_result

TESTS = str(Path(__file__).parents[1])
SECRET = "p%40ss:w/rd"


@pytest.fixture(autouse=True)
def artifacts(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "artifacts"
    monkeypatch.setenv("HEADSTART_ARTIFACTS", str(folder))
    return folder


def writers(url: str, firsts: list[int]) -> list[subprocess.Popen]:
    """Start processes that store twelve results each, of seeds that begin with these."""
    return [
        subprocess.Popen([sys.executable, "-c", WRITER, url, str(first), TESTS]) for first in firsts
    ]


def check_complete(url: str, artifacts: Path, n: int) -> None:
    """Each of n results is there once, with its predictions, and no other file is."""
    store = ResultStore(url)
    assert sorted(result.trial.seed for result in store.results()) == list(range(n))
    for key in sorted(store.keys()):
        assert len(store.predictions(key).label) == 20
    assert len(list(artifacts.rglob("*"))) == n + 1


@pytest.mark.parametrize(("url", "code", "values"), [
    ("mysql://me@host/db", "store.backend", {"scheme": "mysql"}),
    ("http://host/db", "store.backend", {"scheme": "http"}),
    (f"oracle://me:{SECRET}@host/db", "store.backend", {"scheme": "oracle"}),
    (f"postgresql://me:{SECRET}@host:port/db", "store.url", {}),
    ("sqlite://", "store.url", {}),
    ("sqlite:///:memory:", "store.url", {}),
    ("sqlite:///a.db?mode=ro", "store.url", {}),
])  # fmt: skip
def test_what_is_no_url_of_a_store(url, code, values):
    with refused(code, **values) as error:
        ResultStore(url, create=True)
    assert "w/rd" not in "".join(traceback.format_exception(error.value))


def test_a_missing_driver_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with refused("store.driver", driver="psycopg") as error:
        ResultStore("postgresql://me@host/db")
    assert "pip install 'headstart[postgresql]'" in str(error.value)


def test_a_server_that_is_not_there_is_an_error_at_once(postgres):
    start = time.monotonic()
    with refused("store.unreachable") as error:
        ResultStore(f"postgresql+psycopg://me:{SECRET}@127.0.0.1:1/db", create=True)
    assert time.monotonic() - start < 5
    assert "w/rd" not in "".join(traceback.format_exception(error.value))
    with refused("store.unreachable"):
        ResultStore(f"postgresql://tester@127.0.0.1:{postgres.port}/nothing")


def test_a_password_is_shown_nowhere(postgres, capfd):
    url = postgres.url(SECRET)
    store = ResultStore(url, create=True)
    store.add(make_result())
    assert (store.name, repr(store)) == (postgres.shown(url), f"ResultStore({store.name!r})")
    assert "tester:***@" in store.name
    shown = [store.name, repr(store), repr(store.__dict__), str(store.results())]
    for ask in (store.predictions, store.supersede):
        with refused("store.key_unknown") as error:
            ask("0" * 64)
        shown += ["".join(traceback.format_exception(error.value)), repr(error.value.values)]
    with refused("store.no_path") as error:
        store.path  # noqa: B018
    shown += [repr(error.value), repr(error.value.values), *capfd.readouterr()]
    assert not any("w/rd" in text or "p%40ss" in text or "p@ss" in text for text in shown)
    # Who opens it elsewhere needs it.
    assert pickle.loads(pickle.dumps(store)).results() == store.results()


def test_another_programs_tables_are_left_alone(postgres):
    url = postgres.url()
    schema = url.rpartition("%3D")[2]
    postgres.execute(f"CREATE TABLE {schema}.alembic_version (version_num text)")
    with refused("store.foreign"):
        ResultStore(url, create=True)
    assert postgres.execute(f"SELECT count(*) FROM pg_tables WHERE schemaname = '{schema}'") == [
        (1,)
    ]


def test_a_store_that_is_missing_or_newer(postgres):
    url = postgres.url()
    with refused("store.missing"):
        ResultStore(url)
    ResultStore(url, create=True).make()
    assert ResultStore(url).results() == []
    postgres.execute("UPDATE headstart_version SET version_num = '99'", url)
    with refused("store.newer", found=99):
        ResultStore(url)


def test_who_reads_cannot_write(postgres):
    url = postgres.url()
    ResultStore(url, create=True).make()
    with refused("storage.not_writable"):
        ResultStore(url).add(make_result())


def test_predictions_in_object_storage(postgres, bucket, monkeypatch, own_cache, storage_server):
    monkeypatch.setenv("HEADSTART_ARTIFACTS", bucket)
    store = ResultStore(postgres.url(), create=True)
    result, key = make_result(), make_result().trial.key
    storage_server.fail_times(3)
    assert store.add(result)
    np.testing.assert_array_equal(store.predictions(key).scores, result.predictions.scores)
    assert store.with_predictions() == {key}
    assert list(check_store(store)) == []
    (name,) = store.prediction_files()
    ArtifactFolder(bucket).put(f"predictions/{name}", Path(__file__))
    shutil.rmtree(own_cache)
    with refused("store.predictions_damaged", name=name):
        store.predictions(key)
    ArtifactFolder(bucket).delete(f"predictions/{name}")
    with refused("store.predictions_missing", name=name):
        store.predictions(key)
    # A trial that another took over leaves nothing there.
    late = ResultStore(postgres.url(), create=True, lease_seconds=0.05)
    late._leases._renew = lambda: None
    other = pickle.loads(pickle.dumps(late))
    with late.claim(key, wait=False), other.claim(key, wait=True), refused("store.lease_lost"):
        late.add(result)
    assert late.prediction_files() == set()


def test_an_analysis_names_the_server_without_its_password(postgres, tmp_path):
    url = postgres.url(SECRET)
    store = ResultStore(url, create=True)
    for model, right in (("net_a", 0.9), ("net_b", 0.7)):
        add_result(store, model, right)
    analysis = analyze(url, resamples=100)
    write_reports(analysis, (REPORTERS["html"], tmp_path / "page.html"))
    texts = [repr(analysis.sources), (tmp_path / "page.html").read_text()]
    assert all("tester:***@" in text for text in texts)
    assert not any("w/rd" in text or "p%40ss" in text or "p@ss" in text for text in texts)
    assert analysis.missing["why"].str.contains("predictions").sum() == 0
    # What is asked for follows what the connection has.
    assert list(read_sources([f"{url}?model=net_a"]).frame["model"]) == ["net_a"]


def test_predictions_need_a_place(postgres, monkeypatch, tmp_path):
    url = postgres.url()
    ResultStore(url, create=True).add(make_result())
    monkeypatch.delenv("HEADSTART_ARTIFACTS")
    nowhere = ResultStore(url, create=True)
    assert len(nowhere.results()) == 1
    assert nowhere.with_predictions() == set()
    for ask in (nowhere.make, lambda: nowhere.predictions(make_result().trial.key)):
        with refused("store.no_predictions_place"):
            ask()
    own = ResultStore(url, create=True, predictions=tmp_path / "own")
    own.add(make_result(1))
    assert own.with_predictions() == {make_result(1).trial.key}
    assert len(list((tmp_path / "own").iterdir())) == 1


def test_names_are_sorted_byte_by_byte_whatever_the_language(postgres):
    language = "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'de'"
    postgres.execute(f"CREATE DATABASE german {language}")
    store = ResultStore(f"postgresql://tester@127.0.0.1:{postgres.port}/german", create=True)
    for model in ("b", "a", "B"):
        add_result(store, model, 0.5)
    found = store.results(page=Page(sort="model"))
    assert [result.trial.model.name for result in found] == ["B", "a", "b"]


FAULTS = {
    # SQLSTATE of a transaction that is rolled back for the sake of others -> it passes.
    "40001": True, "40P01": True, "57P01": True, "22012": False,
}  # fmt: skip


@pytest.mark.parametrize("state", FAULTS)
def test_a_transaction_that_fails_for_a_reason_that_passes_is_tried_again(postgres, state):
    """The server itself refuses the first two rows: a sequence is not rolled back."""
    url = postgres.url()
    store = ResultStore(url, create=True)
    store.make()
    postgres.execute(
        "CREATE SEQUENCE refused; CREATE FUNCTION refuse() RETURNS trigger AS $$ BEGIN "
        f"IF nextval('refused') < 3 THEN RAISE EXCEPTION 'not now' USING ERRCODE = '{state}'; "
        "END IF; RETURN NEW; END $$ LANGUAGE plpgsql; "
        "CREATE TRIGGER refuse BEFORE INSERT ON results FOR EACH ROW EXECUTE FUNCTION refuse()",
        url,
    )
    if FAULTS[state]:
        assert store.add(make_result())
        assert len(store.results()) == 1
        assert postgres.execute("SELECT last_value FROM refused", url) == [(3,)]
    else:
        with refused("store.postgresql"):
            store.add(make_result())
        assert store.results() == []


def test_a_real_serialisation_failure_passes(postgres):
    url = postgres.url()
    store = ResultStore(url, create=True)
    store.make()
    backend = open_backend(url, create=True)
    tries, started = [], threading.Barrier(2, timeout=30)

    def both(connection: sa.Connection) -> None:
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        connection.exec_driver_sql("SELECT count(*) FROM trials")
        tries.append(threading.current_thread().name)
        if len(tries) <= 2:
            started.wait()
        number = f"{len(tries)}-{threading.get_native_id()}"
        connection.exec_driver_sql(f"INSERT INTO trials VALUES ('{number}', '', '')")

    # Begun with SERIALIZABLE, which must be the first statement.
    backend.version = lambda _: 4
    threads = [threading.Thread(target=backend.write, args=(both,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tries) >= 3
    assert postgres.execute("SELECT count(*) FROM trials", url) == [(2,)]


def test_a_commit_whose_answer_was_lost_counts_once(postgres, artifacts, monkeypatch):
    """The result is stored, the connection drops before the client knows: it is tried again."""
    store = ResultStore(postgres.url(), create=True)
    store.make()
    commit, dropped = psycopg.Connection.commit, []

    def lose(connection: psycopg.Connection) -> None:
        commit(connection)
        written = [call for call in traceback.extract_stack() if call.name == "add"]
        if written and len(dropped) < 2:
            dropped.append(connection)
            raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(psycopg.Connection, "commit", lose)
    assert store.add(make_result())
    assert len(dropped) == 2
    assert [len(store.results()), len(list(artifacts.rglob("*.parquet")))] == [1, 1]
    monkeypatch.undo()
    with store.claim("a" * 64, wait=False) as mine:
        assert mine


@pytest.fixture
def own_server():
    """A server that this test stops and starts."""
    with postgres_server() as server:
        yield server


@pytest.mark.slow
def test_sixteen_processes_at_once_lose_nothing(postgres, artifacts, outcome):
    url = postgres.url()
    # Two of each write the same results, and all lay the tables.
    running = writers(url, [12 * number for number in range(8)] * 2)
    assert [writer.wait(timeout=300) for writer in running] == [0] * 16
    check_complete(url, artifacts, 96)
    outcome("PostgreSQL: 16 processes write at the same time", "each result is there once")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["immediate", "fast"])
def test_writers_go_on_after_the_server_was_restarted(own_server, artifacts, mode, outcome):
    url = own_server.url()
    store = ResultStore(url, create=True)
    store.make()
    with store.claim("a" * 64, wait=False):
        running = writers(url, [0, 12, 24, 36])
        # Each has begun: a server that is not there when a command starts is an error at once.
        while len({result.trial.seed // 12 for result in store.results()}) < 4:
            time.sleep(0.02)
        own_server.stop(mode)
        time.sleep(2)
        own_server.start()
        assert [writer.wait(timeout=300) for writer in running] == [0] * 4
        check_complete(url, artifacts, 48)
        # The lease is held still, by the same token.
        store.add_selection("a" * 64, make_result().selection)
    how = {"fast": "restarted", "immediate": "killed and started again"}[mode]
    outcome(
        f"PostgreSQL: the server is {how} while four processes write",
        "they wait, and go on; leases are kept",
    )


STUDY = ("--models", "efficientnet_lite0", "--datasets", "digits", "--settings", "linear,knn",
         "--limit", 60, "--seeds", "0-4", "--device", "cpu")  # fmt: skip


@pytest.mark.slow
def test_two_runs_of_one_study_measure_each_trial_once(own_server, tmp_path, outcome):
    """The server is restarted in the middle, too. Numbers are those of one undisturbed run."""
    url = own_server.url()
    store = ResultStore(url, create=True)
    store.make()
    runs = [headstart_process("run", *STUDY, "--store", url) for _ in range(2)]
    while store.count() < 2:
        assert any(run.poll() is None for run in runs)
        time.sleep(0.05)
    own_server.stop()
    time.sleep(1)
    own_server.start()
    outs = [run.communicate(timeout=600) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outs
    measured = [int(re.search(r"(\d+) measured, \d+ already", out)[1]) for out, _ in outs]
    assert sum(measured) == 10
    assert (store.count(), store.leases(), list(check_store(store))) == (10, [], [])
    alone = headstart_process("run", *STUDY, "--store", tmp_path / "alone.db")
    assert (alone.communicate(timeout=600), alone.returncode)[1] == 0
    expected = {one.trial.key: one.metrics for one in ResultStore(tmp_path / "alone.db").results()}
    assert {one.trial.key: one.metrics for one in store.results()} == expected
    report = merge_stores([ResultStore(tmp_path / "alone.db")], store)
    assert report == MergeReport(known=10)
    # What reads results reads them there.
    table = headstart_process("results", "--store", url, "--csv")
    assert len(table.communicate(timeout=60)[0].splitlines()) == 11
    outcome(
        "PostgreSQL: two commands on one study, and the server is restarted meanwhile",
        "each trial is measured once, with the same numbers",
    )
