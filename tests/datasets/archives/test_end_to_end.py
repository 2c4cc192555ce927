"""Each of the twelve as a user has it: prepared, verified, measured."""

import json

import pytest

from conftest import MODEL
from headstart.datasets import names
from headstart.datasets.archives import READERS
from headstart.store import ResultStore


@pytest.fixture
def in_small(monkeypatch, small):
    """Have the small archives be what is published."""
    monkeypatch.setattr("headstart.datasets.sources.study.facts_of", small)


@pytest.mark.parametrize("key", READERS)
def test_an_archive_is_prepared_verified_and_measured(
    key, write, small, in_small, cli, own_cache, tmp_path
):
    folder = write(key)
    outcome = cli("datasets", "prepare", key, "--from", folder)
    assert outcome.code == 0, outcome.err
    assert str(folder) in outcome.out
    verified = cli("datasets", "verify", key, "--json")
    assert verified.code == 0, verified.err
    facts = json.loads(verified.out)
    sizes = {name: part["size"] for name, part in facts["manifest"]["splits"].items()}
    assert sizes == dict(small(key).sizes)
    assert facts["problems"] == []
    store = tmp_path / "results.db"
    run = cli("run", "--models", MODEL, "--datasets", key, "--store", store)
    assert run.code == 0, run.err
    (result,) = ResultStore(store).results()
    assert result.trial.dataset.revision == facts["revision"]
    assert result.accuracy is not None
    assert result.trial.dataset.metric == small(key).metric


def test_the_catalogue_lists_the_twelve(cli, own_cache):
    rows = {row["name"]: row for row in json.loads(cli("datasets", "--json").out)}
    assert set(READERS) < set(rows) == set(names())
    assert not rows["food101"]["present"]
    assert rows["food101"]["sizes"] == {"train": 68175, "validation": 7575, "test": 25250}
    assert rows["voc2007"]["metric"] == "voc-map-11point"
    assert rows["digits"]["present"]
