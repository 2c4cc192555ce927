"""What a study needs, told before it is run."""

import numpy as np
import pytest

from conftest import write_folder
from headstart import datasets, methods, models
from headstart.cli import plan_tables
from headstart.context import default_cache
from headstart.datasets.archives import READERS
from headstart.datasets.sources.study_datasets import Place, adopt
from headstart.spec import Trial
from headstart.store import ResultStore
from headstart.study import Study, StudyEstimate, estimate_study, matrix_rate
from headstart.study.study import SHIPPED
from stores import N_TEST, add_result

SMALL = {"models": ["efficientnet_lite0"], "datasets": ["digits"], "limit": 100}


def seen(study: Study, store=None, tmp_path=None) -> StudyEstimate:
    store = store or ResultStore(tmp_path / "results.db", create=True)
    return estimate_study(study, store, default_cache())


def missing(found: StudyEstimate) -> dict[str, str]:
    return {need.name: need.place for need in found.needs if not need.present}


@pytest.mark.parametrize("name", ["kornblith2019", "studies/kornblith2019.toml"])
def test_the_study_is_told_before_anything_is_fetched(cli, tmp_path, monkeypatch, own_cache, name):
    monkeypatch.chdir(tmp_path)
    outcome = cli("run", name, "--dry-run", "--store", tmp_path / "results.db")
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    kinds = [line.split()[0] for line in lines[:31]]
    assert [kinds.count(kind) for kind in ("model", "dataset", "setting")] == [16, 12, 3]
    assert [line.split()[1] for line in lines[:31] if line.startswith("dataset")][:2] == [
        "food101",
        "cifar10",
    ]
    assert "576 trials: 0 stored, 0 can be measured now, 576 blocked" in outcome.out
    assert "headstart datasets prepare birdsnap [--from FOLDER]" in outcome.out
    assert "GB of weights and the missing datasets; disk for features: 40.9 GB" in outcome.out
    assert " hours of forward passes for features on this processor" in outcome.out
    assert "of unknown size" not in outcome.out
    # Nothing is made, not even the cache.
    assert list(tmp_path.iterdir()) == []


def test_bytes_and_arithmetic_of_the_study_are_those_of_its_tables(tmp_path, own_cache):
    study = Study(models=["resnet50", "mobilenet_v1"], datasets=["dtd", "food101"])
    found = seen(study, tmp_path=tmp_path)
    images = 5640 + 101_000
    assert (found.n_trials, found.n_stored, found.n_ready) == (4, 0, 0)
    assert found.feature_bytes == 4 * (2048 + 1024) * images
    networks = [models.find(name) for name in study.models]
    assert found.weight_bytes == 4 * sum(model.parameters for model in networks)
    assert found.multiply_adds == sum(model.multiply_adds for model in networks) * images
    # At the stated half of a rate.
    assert found.feature_hours(found.multiply_adds / 3600) == pytest.approx(2)


def test_training_from_scratch_needs_no_weights(cli, tmp_path, own_cache):
    asked = {"models": ["resnet50"], "datasets": ["digits"], "limit": 100}
    alone = seen(Study(**asked, settings=["scratch:quick"]), tmp_path=tmp_path)
    assert (alone.n_trials, alone.n_ready, alone.weight_bytes, missing(alone)) == (1, 1, 0, {})
    both = seen(Study(**asked, settings=["scratch:quick", "linear"]), tmp_path=tmp_path)
    assert (both.n_trials, both.n_ready, both.weight_bytes > 0) == (2, 1, True)
    assert missing(both).keys() == {"resnet50"}
    run = ("run", "--models", "resnet50", "--datasets", "digits", "--limit", "100", "--dry-run")
    said = cli(*run, "--settings", "scratch:quick", "--store", tmp_path / "r.db").out
    assert "to download: nothing" in said
    assert "forward passes" not in said


def test_stored_trials_are_counted_and_ask_for_nothing(tmp_path):
    study = Study(
        models=["efficientnet_lite0", "efficientnet_lite1"], datasets=["digits"], limit=N_TEST
    )
    store = ResultStore(tmp_path / "results.db", create=True)
    before = seen(study, store)
    assert (before.n_trials, before.n_stored, before.n_ready) == (2, 0, 2)
    assert before.weight_bytes == 0
    assert before.feature_bytes == 2 * 4 * 1280 * 3 * N_TEST
    stored = add_result(store, "some", 0.5)
    assert seen(study, store).n_stored == 0
    # The same trial as a study makes: the made-up one has weights of its own.
    trial = Trial(
        model=models.find("efficientnet_lite0"),
        dataset=datasets.find("digits", limit=N_TEST),
        setting=methods.find("linear"),
        seed=0,
    )
    store.add(stored.model_copy(update={"trial": trial}))
    after = seen(study, store)
    assert (after.n_trials, after.n_stored, after.n_ready) == (2, 1, 1)
    assert after.feature_bytes == before.feature_bytes / 2
    assert after.multiply_adds == models.find("efficientnet_lite1").multiply_adds * 3 * N_TEST


def test_names_that_there_are_not_are_needs_that_are_not_met(tmp_path):
    study = Study(
        models=["efficientnet_lite0", "efficientnet_lite9"],
        datasets=["digits", "digts", str(tmp_path / "none")],
        settings=["linear", "linera", {"resize": "whole"}],
        limit=100,
    )
    found = seen(study, tmp_path=tmp_path)
    told = missing(found)
    assert told["efficientnet_lite9"].startswith("unknown model 'efficientnet_lite9': did you mean")
    assert told["digts"].endswith("did you mean digits?")
    assert told[str(tmp_path / "none")] == f"there is no folder {tmp_path}/none"
    assert told["linera"].startswith("unknown setting 'linera'")
    assert told["None"].startswith("setting {'resize': 'whole'} has no name")
    assert (found.n_trials, found.n_stored, found.n_ready) == (2 * 3 * 3, 0, 1)
    assert set(found.unknown_sizes) == {"digts", str(tmp_path / "none")}
    assert not list(tmp_path.iterdir())


def test_a_network_of_unknown_arithmetic_has_unknown_hours(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(models, "multiply_adds", lambda model, cache: None)
    found = seen(Study(**SMALL), tmp_path=tmp_path)
    assert found.multiply_adds is None
    assert found.feature_hours(1e9) is None
    arguments = ("--models", "efficientnet_lite0", "--datasets", "digits", "--limit", 100)
    outcome = cli("run", *arguments, "--dry-run", "--store", tmp_path / "r.db")
    assert "time: unknown" in outcome.out


def test_hours_follow_the_input_size_that_is_asked_for(tmp_path):
    sizes = {"efficientnet_lite0": 224, "efficientnet_lite0?size=64": 64}
    hours = {
        size: seen(Study(**{**SMALL, "models": [name]}), tmp_path=tmp_path).feature_hours(1e9)
        for name, size in sizes.items()
    }
    assert hours[224] / hours[64] == pytest.approx((224 / 64) ** 2, rel=0.05)


def test_a_folder_of_images_is_counted(photos, tmp_path):
    study = Study(models=["efficientnet_lite0"], datasets=[str(photos)], limit=4)
    found = seen(study, tmp_path=tmp_path)
    assert (found.n_ready, found.unknown_sizes, missing(found)) == (1, (), {})
    assert found.feature_bytes == 4 * 1280 * 3 * 4
    # Its problems are told like those of whatever is missing.
    write_folder(tmp_path / "bad", {"train": {"a": 1}, "validation": {"a": 1}, "test": {"a": 1}})
    found = seen(study.model_copy(update={"datasets": (str(tmp_path / "bad"),)}), tmp_path=tmp_path)
    assert "class" in missing(found)[str(tmp_path / "bad")]


def test_the_rate_is_measured_in_a_moment():
    assert 1e6 < matrix_rate() < 1e15
    assert np.isfinite(matrix_rate())


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_studies_are_found_by_their_names(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = [
        Study.from_toml(tmp_path.relative_to(tmp_path) / path)
        for path in (name, f"{name}.toml", f"studies/{name}", f"studies/{name}.toml")
    ]
    assert all(study == found[0] for study in found)
    assert (len(found[0].models), len(found[0].datasets)) == (16, 12)


@pytest.mark.parametrize(
    "place", ["kornblith2019", "kornblith2019.toml", "studies/kornblith2019.toml"]
)
def test_a_file_of_the_users_comes_before_a_shipped_one(place, tmp_path, monkeypatch, cli):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / place
    file.parent.mkdir(exist_ok=True)
    file.write_text("models = ['efficientnet_lite0']\ndatasets = ['digits']\n")
    outcome = cli("run", place, "--print-study")
    assert "kornblith" not in outcome.out
    assert 'models = [\n    "efficientnet_lite0",\n]' in outcome.out


def test_elsewhere_no_shipped_study_is_meant(tmp_path, monkeypatch, cli):
    monkeypatch.chdir(tmp_path)
    for place in (
        "my/kornblith2019.toml",
        "kornblith2018.toml",
        str(tmp_path / "kornblith2019.toml"),
    ):
        outcome = cli("run", place, "--dry-run")
        assert outcome.code == 2
        assert outcome.error.code == "study.missing_file"


@pytest.fixture
def twelve(own_cache, tmp_path, monkeypatch):
    """Have all of the twelve be here, and be read by nobody."""

    def refuse(*_, **__):
        raise AssertionError("a dataset was read")

    for name in READERS:
        adopt(name, Place(tmp_path), own_cache)
    monkeypatch.setattr("headstart.datasets.sources.study_datasets.StudySource.read", refuse)
    return own_cache


def test_of_what_is_here_nothing_is_read(twelve, tmp_path):
    study = Study(models=["efficientnet_lite0"], datasets=list(READERS))
    found = estimate_study(study, ResultStore(tmp_path / "none.db", create=True), twelve)
    assert missing(found) == {}
    assert (found.n_trials, found.n_stored, found.n_ready) == (12, 0, 12)
    described = [datasets.describe(name).sizes for name in READERS]
    n_images = sum(sum(dict(sizes).values()) for sizes in described)
    assert found.feature_bytes == 4 * 1280 * n_images


def test_stored_trials_are_known_by_what_was_measured(twelve, tmp_path):
    store = ResultStore(tmp_path / "results.db", create=True)
    study = Study(models=["efficientnet_lite0"], datasets=["dtd", "food101"], limit=100)
    stored = add_result(store, "some", 0.5)
    changes = {"name": "dtd", "source": "study", "limit": 100, "revision": "as measured"}
    trial = Trial(
        model=models.find("efficientnet_lite0"),
        dataset=stored.trial.dataset.model_copy(update=changes),
        setting=methods.find("linear"),
        seed=0,
    )
    store.add(stored.model_copy(update={"trial": trial}))
    for limit, n_stored in ((100, 1), (200, 0)):
        found = estimate_study(study.model_copy(update={"limit": limit}), store, twelve)
        assert (found.n_stored, found.n_ready) == (n_stored, 2 - n_stored)


def test_no_function_is_called(tmp_path, cli):
    proof = tmp_path / "called"
    (tmp_path / "data.py").write_text(f"open({str(proof)!r}, 'w')\n")
    name = f"{tmp_path}/data.py:load"
    study = Study(models=["efficientnet_lite0"], datasets=[name, f"{tmp_path}/none.py:load"])
    found = seen(study, tmp_path=tmp_path)
    assert (found.n_trials, found.n_stored, found.n_ready) == (2, 0, 1)
    assert found.unknown_sizes == study.datasets
    arguments = ("--models", "efficientnet_lite0", "--datasets", name, "--dry-run")
    assert cli("run", *arguments, "--store", tmp_path / "r.db").code == 0
    assert not proof.exists()


@pytest.mark.parametrize(
    ("n_bytes", "size", "hours", "time"),
    [
        (4e4, "0.0 MB", 1e-4, "a minute or less"),
        (12.3e6, "12.3 MB", 0.5, "30 minutes"),
        (40.91e9, "40.9 GB", 2.34, "2.34 hours"),
        (2.5e12, "2,500.0 GB", 76_000, "76,000 hours"),
    ],
)
def test_sizes_and_times_have_the_unit_that_shows_them(n_bytes, size, hours, time):
    assert plan_tables._size(n_bytes) == size
    assert plan_tables._time(hours) == time


def test_where_all_is_here_nothing_is_to_download_and_training_is_left_to_the_plan(cli, own_cache):
    asked = ("run", "--models", "efficientnet_lite0", "--datasets", "digits", "--dry-run")
    linear = cli(*asked).out
    assert "to download: nothing; disk for features: 9.2 MB" in linear
    assert "headstart plan" not in linear
    assert "headstart plan" in cli(*asked, "--settings", "finetune:quick").out
