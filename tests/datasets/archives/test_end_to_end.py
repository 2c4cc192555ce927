"""Each of the twelve as a user has it: prepared, verified, measured."""

import csv
import json

import pytest

from conftest import MODEL
from headstart import datasets
from headstart.datasets import names
from headstart.datasets.archives import READERS, published_facts
from headstart.store import ResultStore
from hub_files import write_copy

COPIED = [key for key, facts in published_facts().items() if facts.hub]


@pytest.fixture
def prepared(small, in_small, cli, own_cache):
    """Prepare a dataset from a folder, and give what is said of it, and what is verified."""

    def prepare(key: str, folder):
        outcome = cli("datasets", "prepare", key, "--from", folder)
        assert outcome.code == 0, outcome.err
        assert str(folder) in outcome.out
        facts = json.loads(cli("datasets", "verify", key, "--json").out)
        sizes = {name: part["size"] for name, part in facts["manifest"]["splits"].items()}
        assert sizes == dict(small(key).sizes)
        assert facts["problems"] == []
        return outcome.out, facts

    return prepare


# One of each metric.
MEASURED = ("birdsnap", "oxford_pets", "voc2007")


@pytest.mark.parametrize("key", READERS)
def test_an_archive_is_prepared_verified_and_measured(key, write, small, prepared, cli, tmp_path):
    _, facts = prepared(key, write(key))
    found = datasets.find(key)
    assert (found.metric, found.split_rule) == (small(key).metric, small(key).split_rule)
    if key not in MEASURED:
        return
    store = tmp_path / "results.db"
    run = cli("run", "--models", MODEL, "--datasets", key, "--store", store)
    assert run.code == 0, run.err
    (result,) = ResultStore(store).results()
    assert result.trial.dataset.revision == facts["revision"]
    assert result.n_test == small(key).sizes.test
    assert result.metrics[small(key).metric] == result.accuracy


@pytest.mark.parametrize("key", COPIED)
def test_a_copy_on_the_hub_is_prepared_and_verified(key, write, small, prepared, cli, tmp_path):
    raw = READERS[key](write(key))
    folder = write_copy(tmp_path / "copy", small(key), raw)
    said, facts = prepared(key, folder)
    # Whoever reads the rule knows which of the two DTDs this is.
    drawn = "This copy does not tell validation from train: 6 images of both are drawn"
    assert (drawn in said) == (key == "dtd")
    assert facts["manifest"]["classes"] == list(raw.classes)
    # The place is no part of the name: a table of results has the dataset's.
    found = datasets.find(f"{key}?root={folder}")
    assert found.name == key
    if key == "dtd":
        assert "does not tell validation from train" in found.split_rule
    else:
        assert found.split_rule == small(key).split_rule
    exported = tmp_path / "splits.csv"
    assert cli("datasets", "splits", key, "--export", exported).code == 0
    with exported.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(dict(small(key).sizes).values())
    assert len({row["image"] for row in rows}) == len(rows)


def test_the_catalogue_lists_the_twelve(cli, own_cache):
    rows = {row["name"]: row for row in json.loads(cli("datasets", "--json").out)}
    assert set(READERS) < set(rows) == set(names())
    assert not rows["food101"]["present"]
    assert rows["food101"]["sizes"] == {"train": 68175, "validation": 7575, "test": 25250}
    assert rows["voc2007"]["metric"] == "voc-map-11point"
    assert rows["digits"]["present"]
