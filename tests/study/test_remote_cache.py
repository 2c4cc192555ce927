"""A study with HEADSTART_CACHE as a URL: the same results, and nothing computed twice."""

import pytest

from conftest import NETWORK
from headstart import artifacts
from headstart.context import RunContext
from headstart.datasets import image_cache
from headstart.features.inference import Extractor
from headstart.store import ResultStore
from headstart.study import Study

TUNED = {
    "name": "finetune",
    "steps": 12,
    "batch_size": 50,
    "learning_rates": [0.3, 0.1],
    "decays": [0.0],
}
STUDY = Study(
    models=[NETWORK], datasets=["digits"], limit=100, settings=["linear", TUNED], precision="fp32"
)


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """Run the study on a machine; return its results, and how many images it computed."""
    passes, stages, real = [], [], Extractor.__call__

    def call(extractor, pixels):
        passes.append(len(pixels))
        return real(extractor, pixels)

    monkeypatch.setattr(Extractor, "__call__", call)
    monkeypatch.setattr(image_cache, "BYTES_PER_SECOND", 1e12)
    extend = image_cache._extend

    def counted(*arguments, **options):
        stages.append(1)
        return extend(*arguments, **options)

    monkeypatch.setattr(image_cache, "_extend", counted)

    def on(machine: str, cache: str):
        monkeypatch.setenv("HEADSTART_CACHE", cache)
        monkeypatch.setenv("HEADSTART_LOCAL_CACHE", str(tmp_path / machine))
        passes.clear()
        stages.clear()
        run = STUDY.run(tmp_path / f"{machine}.db", device="cpu")
        assert not run.failures
        return run.results, sum(passes), sum(stages)

    return on


def test_the_results_are_those_of_a_local_cache(measured, remote_url, tmp_path):
    local, computed, prepared = measured("local", str(tmp_path / "cache"))
    assert computed
    assert prepared
    first, again, _ = measured("first", remote_url)
    assert again == computed
    second, again, prepared = measured("second", remote_url)
    assert (again, prepared) == (0, 0)
    for results in (first, second):
        assert [result.metrics for result in results] == [result.metrics for result in local]
        assert [result.selection for result in results] == [result.selection for result in local]
    for machine in ("first", "second"):
        for result in local:
            ours, theirs = (
                ResultStore(tmp_path / f"{name}.db").predictions(result.trial.key)
                for name in ("local", machine)
            )
            assert ours.scores.tobytes() == theirs.scores.tobytes()
    assert not (tmp_path / "cache" / "copies").exists()
    # Runs that are over leave no checkpoints.
    kinds = {name.partition("/")[0] for name in RunContext().remote.names()}
    assert kinds == {"features", "prepared"}


def test_a_cache_that_cannot_be_written_stops_the_run_at_once(measured, bucket, storage_server):
    storage_server.fails = lambda method, _: method == "PUT"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_RETRY_SECONDS", "0")
        with pytest.raises(artifacts.StorageError) as error:
            measured("first", bucket)
    assert error.value.code == "storage.unreachable"


@pytest.mark.slow
def test_workers_use_it(measured, bucket, tmp_path, monkeypatch):
    local, _, _ = measured("local", str(tmp_path / "cache"))
    monkeypatch.setenv("HEADSTART_CACHE", bucket)
    monkeypatch.setenv("HEADSTART_LOCAL_CACHE", str(tmp_path / "first"))
    run = STUDY.run(tmp_path / "first.db", device="cpu", workers=2)
    assert not run.failures
    found = {result.trial.key: result.metrics for result in run.results}
    # Workers have one thread each, and with that another order of sums.
    expected = {result.trial.key: result.metrics for result in local}
    assert found == {key: pytest.approx(metrics, rel=1e-6) for key, metrics in expected.items()}
    assert RunContext().remote.names("features/")
