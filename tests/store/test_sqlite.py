"""Stores in a file: what SQLite's backend alone has to hold."""

import re
import shutil
import signal
import sqlite3
import subprocess
import sys

import pytest
import sqlalchemy as sa

from headstart.store import ResultStore, results, sqlite
from headstart.store.backend import open_backend
from headstart.store.exchange import check_store
from processes import Forked, limit_file_size
from refusals import refused
from stores import WRITER, make_result


def test_a_folder_holds_its_database(tmp_path):
    store = ResultStore(tmp_path, create=True)
    assert store.path == tmp_path / "headstart.db"
    store.add(make_result())
    assert len(ResultStore(tmp_path).results()) == 1


def test_write_ahead_log_is_on(file_store):
    assert sqlite3.connect(file_store.path).execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_ctrl_c_while_the_time_is_looked_at_is_no_fault_of_the_store(tmp_path, monkeypatch):
    def interrupted(folder):
        signal.raise_signal(signal.SIGINT)
        return 1.0

    monkeypatch.setattr(sqlite, "_time_at", interrupted)
    backend = open_backend(tmp_path / "r.db", create=True)
    with pytest.raises(KeyboardInterrupt):
        backend.write(lambda connection: backend.execute(connection, sa.select(backend.clock), {}))


@pytest.mark.parametrize(("durable", "synchronous"), [(True, 2), (False, 1)])
def test_what_a_power_failure_must_not_take_is_synced(file_store, durable, synchronous):
    """2 is FULL, 1 NORMAL (https://www.sqlite.org/pragma.html#pragma_synchronous)."""
    file_store.make()
    backend = open_backend(file_store.path, create=True)
    for _ in range(2):
        level = backend.write(lambda c: c.scalar(sa.text("PRAGMA synchronous")), durable=durable)
        assert level == synchronous
    backend.release()


def test_after_each_run_the_file_alone_is_the_store(tmp_path):
    store = ResultStore(tmp_path / "r.db", create=True)
    store.make()
    for seed in range(2):
        with store.kept_open():
            store.add(make_result(seed))
            assert (tmp_path / "r.db-wal").exists()
        assert not (tmp_path / "r.db-wal").exists()


def test_a_missing_store_is_an_error_and_makes_nothing(tmp_path):
    with refused("store.missing"):
        ResultStore(tmp_path / "none.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("is_database", [False, True])
def test_another_programs_file_is_refused(tmp_path, is_database):
    file = tmp_path / "other.db"
    if is_database:
        with sqlite3.connect(file) as connection:
            connection.execute("CREATE TABLE songs (title TEXT)")
        connection.close()
    else:
        file.write_text("these are my notes, and quite long ones " * 50)
    before = file.read_bytes()
    with refused("store.foreign", path=str(file)):
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


def test_reading_changes_no_byte(file_store):
    file_store.add(make_result())
    before = file_store.path.read_bytes()
    assert len(results(file_store.path)) == 1
    assert file_store.path.read_bytes() == before


def test_a_store_that_is_read_only_can_be_read(file_store, monkeypatch):
    file_store.add(make_result())
    # Root's answer to os.access is always yes: give the one of an ordinary user.
    monkeypatch.setattr("headstart.store.sqlite.os.access", lambda *arguments: False)
    file_store.path.chmod(0o444)
    assert len(results(file_store.path)) == 1


@pytest.mark.parametrize("n_bytes", [1000, 30_000])
def test_a_disk_that_fills_up_while_a_result_is_stored(tmp_path, request, n_bytes):
    """The kernel refuses to write past so many bytes of a file: of the database, of its log."""
    arguments = [str(tmp_path / "results.db"), "0", str(request.path.parents[1])]
    full = subprocess.run(
        [sys.executable, "-c", WRITER, *arguments],
        check=False,
        capture_output=True,
        text=True,
        preexec_fn=lambda: limit_file_size(n_bytes),
    )
    assert full.returncode == 1
    # The first file of predictions does not fit, or the database; the disk itself has space, which
    # is said.
    said = r"(DiskFullError: no space left|StoreError: cannot use .*results.db: disk I/O error)"
    assert re.search(rf"{said}.*[\d.,]+ MB free\)", full.stderr), full.stderr
    # With space, the same work completes.
    again = Forked(WRITER, *arguments)
    assert (again.communicate(), again.returncode) == (("", ""), 0)
    store = ResultStore(tmp_path / "results.db")
    assert len(store.results()) == 12
    for key in sorted(store.keys()):
        assert len(store.predictions(key).label) == 20


@pytest.mark.parametrize(
    "firsts", [(0, 0, 6, 6), pytest.param((*range(0, 48, 6),) * 2, marks=pytest.mark.slow)]
)
def test_processes_at_once_lose_nothing(tmp_path, request, firsts):
    path, tests = tmp_path / "results.db", str(request.path.parents[1])
    # Two of each write the same trials, and all make the store.
    writers = [Forked(WRITER, path, first, tests) for first in firsts]
    assert {writer.communicate() for writer in writers} == {("", "")}
    assert {writer.returncode for writer in writers} == {0}
    store = ResultStore(path)
    seeds = sorted(result.trial.seed for result in store.results())
    assert seeds == list(range(max(firsts) + 12))
    for key in sorted(store.keys()):
        assert len(store.predictions(key).label) == 20
    assert list(check_store(store)) == []


def test_a_newer_store_is_refused(file_store):
    connection = sqlite3.connect(file_store.path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with refused("store.newer", found=99):
        ResultStore(file_store.path)


def test_a_folder_that_cannot_be_written_is_refused():
    with refused("storage.unusable", path="/proc/headstart/results.db"):
        ResultStore("/proc/headstart/results.db", create=True).make()


@pytest.mark.parametrize(("cause", "free", "code"), [
    ("database or disk is full", 10**10, "storage.full"),
    ("attempt to write a readonly database", 10**10, "storage.not_writable"),
    # The log, or its index, cannot grow.
    ("disk I/O error", 3000, "storage.full"),
    ("disk I/O error", 32 * 10**9, "store.sqlite"),
])  # fmt: skip
def test_what_sqlite_says_is_said_in_words(cause, free, code, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    # In a folder that is not there yet.
    said = sqlite3.OperationalError(cause)
    said.sqlite_errorname = "SQLITE_IOERR_SHMSIZE"
    backend = open_backend(tmp_path / "new" / "x.db", create=True)
    error = backend.storage_error(sa.exc.DBAPIError("", None, said))
    assert error.code == code
    if "disk" in cause:
        assert f"{free / 1e6:,.1f} MB free" in str(error)


def test_stores_share_what_is_compiled(tmp_path):
    def claimed(name: str) -> int:
        with ResultStore(tmp_path / name, create=True).claim("k", wait=False):
            pass
        return sqlite._compiled.cache_info().misses

    compiled = claimed("first.db")
    assert {claimed(f"{number}.db") for number in range(5)} == {compiled}
    assert sqlite._compiled.cache_info().maxsize
