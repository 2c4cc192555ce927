"""Stores on every backend: a file, and a schema of a PostgreSQL server that the tests start."""

from collections.abc import Callable

import pytest

from headstart.store import ResultStore

BACKENDS = ("sqlite", "postgresql")


@pytest.fixture(params=BACKENDS)
def place(request, tmp_path, monkeypatch) -> str:
    """Where a store is to be; what a command line would be given."""
    if request.param == "sqlite":
        return str(tmp_path / "results.db")
    monkeypatch.setenv("HEADSTART_ARTIFACTS", str(tmp_path / "artifacts"))
    return request.getfixturevalue("postgres").url()


@pytest.fixture
def opened(place) -> Callable[..., ResultStore]:
    """Open the store of `place`, again and again."""

    def open_store(**options: object) -> ResultStore:
        return ResultStore(place, **{"create": True, **options})

    return open_store


@pytest.fixture
def store(opened) -> ResultStore:
    """An empty store, on each backend."""
    store = opened()
    store.make()
    return store


@pytest.fixture
def file_store(tmp_path) -> ResultStore:
    """An empty store in a file."""
    store = ResultStore(tmp_path / "results.db", create=True)
    store.make()
    return store
