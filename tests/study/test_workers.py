"""A study on workers: the same numbers, nothing lost, nothing twice."""

import numpy as np
import pytest
import torch

import engines
from conftest import NETWORK
from headstart import datasets
from headstart.context import ProgressReporter, RunContext
from headstart.store import ResultStore
from headstart.study import Study, run

# As any process starts workers: tests/executors and tests/faults.
pytestmark = pytest.mark.usefixtures("forked_workers")
GRID = {"steps": 30, "batch_size": 50, "learning_rates": [0.03, 0.3], "decays": [0.0, 1e-4]}
STUDY = Study(
    models=[NETWORK, NETWORK.replace("size=16", "size=20")],
    datasets=["digits"],
    limit=150,
    settings=["linear", "knn", {"name": "scratch", **GRID}],
)


@pytest.fixture
def one_thread():
    """The order of sums depends on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run_on(
    workers: int,
    store: ResultStore,
    reporter: ProgressReporter | None = None,
    name: str = "processes",
):
    context = RunContext(device="cpu", reporter=reporter or ProgressReporter())
    trials = STUDY.trials()
    if not workers:
        return run.run_study(trials, store, context)
    with engines.open_executor(name, workers, cpus_per_worker=1) as executor:
        return run.run_study(trials, store, context, executor)


class Watching(ProgressReporter):
    """Keeps what each trial reports; may press Ctrl-C when some candidates are measured."""

    def __init__(self, interrupt_at: int | None = None) -> None:
        self.interrupt_at, self.n_measured = interrupt_at, 0
        self.stages: set[str] = set()
        self.titles: list[tuple[str, int]] = []

    def trial_started(self, title, number, total):
        self.titles.append((title, number))
        return self

    def stage(self, name, total=None, unit=""):
        self.stages.add(name)

    def measured(self, measurement):
        self.n_measured += 1
        if self.n_measured == self.interrupt_at:
            raise KeyboardInterrupt


def test_workers_give_the_same_numbers_to_the_last_digit(
    executor_name, tmp_path, own_cache, one_thread, monkeypatch
):
    store, other = (ResultStore(tmp_path / f"{name}.db", create=True) for name in "ab")
    here = run_on(0, store)
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "another"))
    watching = Watching()
    away = run_on(2, other, watching, executor_name)
    assert (len(here.results), here.failures, away.failures) == (6, (), ())
    for one, two in zip(here.results, away.results, strict=True):
        assert (one.trial.key, one.metrics) == (two.trial.key, two.metrics)
        assert one.selection == two.selection
        np.testing.assert_array_equal(
            store.predictions(one.trial.key).scores, other.predictions(two.trial.key).scores
        )
    # Both models' features came from one decoding: of whole images, and of crops for neighbours.
    assert ("features of 2 models on digits", 0) in watching.titles
    assert sorted(number for _, number in watching.titles) == [0, 0, 1, 2, 3, 4, 5, 6]
    # Progress of workers is heard, the search of lambda and the final fit included.
    assert {"features of 2 networks", "selecting lambda", "fitting the choice"} <= watching.stages


@pytest.mark.parametrize("workers", [0, 2])
def test_ctrl_c_loses_nothing_and_repeats_nothing(workers, tmp_path):
    store = ResultStore(tmp_path / "r.db", create=True)
    with pytest.raises(KeyboardInterrupt):
        run_on(workers, store, Watching(interrupt_at=4))
    kept = sum(len(store.measurements(trial.key)) for trial in STUDY.trials())
    assert kept >= 4
    again = Watching()
    outcome = run_on(workers, store, again)
    assert (len(outcome.results), outcome.failures) == (6, ())
    # One candidate of each trial on features, four of each other.
    assert sum(len(store.measurements(trial.key)) for trial in STUDY.trials()) == 12
    assert again.n_measured == 12 - kept


def test_examples_are_read_once_a_trial(tmp_path, monkeypatch):
    calls = []
    load = datasets.load

    def counting(dataset, seed, cache, **options):
        calls.append(options)
        return load(dataset, seed, cache, **options)

    study = STUDY.model_copy(update={"limit": None})
    study.run(tmp_path / "first.db", device="cpu")
    monkeypatch.setattr(datasets, "load", counting)
    study.run(tmp_path / "second.db", device="cpu")
    assert calls == [{"test_labels": True}] * 6


KILLER = '''
"""A network that ends the process that builds it, unless that is the command's own."""

import multiprocessing
import os
import signal

import small_network


def build():
    if multiprocessing.parent_process() is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    return small_network.build()
'''


def test_a_trial_that_kills_its_workers_fails_alone(tmp_path, own_cache):
    (tmp_path / "killer.py").write_text(KILLER)
    options = NETWORK.partition("?")[2]
    study = STUDY.model_copy(
        update={
            "models": (f"{tmp_path / 'killer.py'}:build?{options}", NETWORK),
            "settings": ("linear",),
        }
    )
    outcome = study.run(tmp_path / "r.db", device="cpu", workers=2)
    assert [result.trial.model.name for result in outcome.results] == [NETWORK]
    (failure,) = outcome.failures
    assert "SIGKILL" in failure.error


def test_a_network_is_kept_by_the_worker_that_has_it(tmp_path):
    study = STUDY.model_copy(update={"models": (NETWORK,), "settings": ("linear",)})
    outcome = study.run(tmp_path / "r.db", device="cpu", workers=1, keep_models=tmp_path / "kept")
    (folder,) = (tmp_path / "kept").iterdir()
    assert folder.name == outcome.results[0].trial.key[:12]
    assert {file.name for file in folder.iterdir()} == {
        "README.md", "config.json", "model.safetensors"
    }  # fmt: skip
