"""A package of a stranger's: a method, networks, datasets, a command, found by entry points."""

import json
import subprocess
import sys
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import pytest

from headstart.errors import UnknownNameError
from headstart.registry import REGISTRIES, PluginError, Registry
from processes import forked_command, headstart_process, installed_in

MAJORITY = '''
"""Guess the class that has the most training images: the floor under every method."""

from types import MappingProxyType
from typing import ClassVar, Literal

import numpy as np

from headstart import datasets
from headstart.methods import ResourceEstimate, TestScores
from headstart.spec import Candidate, Measurement, Selection, Setting


class MajoritySetting(Setting):
    random: ClassVar[bool] = False
    pretrained: ClassVar[bool] = False
    chosen: ClassVar[tuple[str, ...]] = ("smoothing",)

    name: Literal["majority"] = "majority"
    protocol: str = "plain"
    smoothings: tuple[float, ...] = (0.5, 1.0)


class Majority:
    name = "majority"
    setting = MajoritySetting
    on_features = False
    protocols = MappingProxyType({"plain": {}})

    def needs(self, trial, measured=()):
        return ResourceEstimate(False, False, "", "", 0, 0)

    def open(self, trial, context, splits):
        return Prepared(trial, splits)


class Prepared:
    def __init__(self, trial, splits):
        self.trial, self.splits = trial, splits

    def candidates(self, measured):
        return () if measured else (Candidate(),)

    def shares(self, labels, smoothing):
        counts = np.bincount(labels, minlength=self.splits.n_classes) + smoothing
        return np.log(counts / counts.sum())

    def measure(self, candidate):
        right = self.splits.validation.labels
        curve = tuple(
            {
                "smoothing": s,
                "accuracy": float(
                    (right == self.shares(self.splits.train.labels, s).argmax()).mean()
                ),
            }
            for s in self.trial.setting.smoothings
        )
        return Measurement(candidate=candidate, examples=self.splits.revision, curve=curve)

    def select(self, measured):
        (found,) = measured
        best = max(found.curve, key=lambda row: row["accuracy"])
        return Selection(
            examples=found.examples,
            chosen={"smoothing": best["smoothing"]},
            validation_curve=found.curve,
        )

    def test(self, selection):
        shares = self.shares(self.splits.train.labels, float(selection.chosen["smoothing"]))
        n = len(self.splits.test.images)
        return TestScores(np.arange(n), np.tile(shares, (n, 1)).astype(np.float32), {})


MAJORITY = Majority()
'''
THREADS = '''
"""Run items in threads of this process."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from headstart.errors import ExecutorError


@contextmanager
def open_threads(workers, device, *, cpus_per_worker=1):
    if not workers:
        raise ExecutorError("threads: pass --workers", code="executor.no_workers")
    print(f"{workers} threads, {cpus_per_worker} CPU(s) each")
    with ThreadPoolExecutor(workers) as pool:
        yield Threads(pool, workers)


class Threads:
    def __init__(self, pool, workers):
        self.pool, self.workers = pool, workers

    def stop(self):
        self.pool.shutdown(wait=False, cancel_futures=True)

    def map(self, function, items, on_message=lambda message: None, *, group=None):
        values = self.pool.map(lambda item: function(item, on_message), items)
        yield from zip(items, values, strict=True)
'''
PLACES = '''
"""Networks ``toy:WIDTH`` and datasets ``shades:CLASSES``."""

import numpy as np
from torch import nn

from headstart.datasets.splits import RawDataset
from headstart.datasets.images import ArrayImages
from headstart.datasets.sources.dataset_source import Description, Presence, Source as DatasetSource
from headstart.datasets.splits import Split
from headstart.models.model_source import ModelSource, counted, last_layer
from headstart.spec import Model, Weights


class Toy(ModelSource):
    name = "toy"

    def describe(self, name):
        module = network(int(name))
        half = (0.5, 0.5, 0.5)
        return Model(
            name=f"toy:{name}", source="toy", architecture=name,
            weights=Weights(locator="random:0"), input_size=16, interpolation="bilinear",
            mean=half, std=half, **counted(module, self.head(module)),
        )

    def build(self, model):
        return network(int(model.architecture))

    def head(self, module, size=None):
        return last_layer(module)


def network(width):
    return nn.Sequential(
        nn.Conv2d(3, width, 5), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(4 * width, 10),
    )


class Shades(DatasetSource):
    name = "shades"
    looks = False

    def recognises(self, stem):
        return stem.startswith("shades:")

    def describe(self, dataset_ref):
        return Description(dataset_ref.stem)

    def presence(self, dataset_ref, cache):
        return Presence(True, "drawn")

    def read(self, dataset_ref, cache):
        n = int(dataset_ref.stem.partition(":")[2])
        labels = np.arange(30 * n) % n
        noise = np.random.RandomState(0).randint(0, 60, (30 * n, 16, 16))
        pixels = (noise + 60 * labels[:, None, None]).astype(np.uint8)
        split = Split(ArrayImages(pixels), labels, np.arange(30 * n))
        return RawDataset(tuple(f"shade {i}" for i in range(n)), {"all": split})
'''


COMMAND = '''
"""A command."""

from typing import Annotated

import typer


def shout(text: Annotated[str, typer.Argument()], loud: bool = False) -> None:
    """Print a text in capitals."""
    typer.echo(text.upper() + "!" * loud)
'''


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """What pip leaves behind of a package that brings a method: a module and its metadata."""
    site = tmp_path / "site"
    info = site / "headstart_majority-1.2.dist-info"
    info.mkdir(parents=True)
    (site / "headstart_majority.py").write_text(MAJORITY)
    (site / "headstart_places.py").write_text(PLACES)
    (site / "headstart_threads.py").write_text(THREADS)
    (site / "headstart_shout.py").write_text(COMMAND)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: headstart-majority\nVersion: 1.2")
    (info / "entry_points.txt").write_text(
        "[headstart.method]\nmajority = headstart_majority:MAJORITY\n"
        "[headstart.model_source]\ntoy = headstart_places:Toy\n"
        "[headstart.executor]\nthreads = headstart_threads:open_threads\n"
        "[headstart.dataset_source]\nshades = headstart_places:Shades\n"
        "[headstart.command]\nshout = headstart_shout:shout\n"
    )
    path = [str(site), *(p for p in sys.path if p)]
    monkeypatch.setenv("PYTHONPATH", ":".join(path))
    return site


@pytest.fixture
def headstart(installed):
    """Run a command with the package installed; give its exit code and what it wrote."""

    def run(*arguments, start=forked_command):
        before = {"before": installed_in(installed)} if start is forked_command else {}
        process = start(*arguments, **before)
        out, err = process.communicate()
        return SimpleNamespace(returncode=process.returncode, stdout=out, stderr=err)

    return run


def test_a_strangers_method_runs_by_its_name(headstart, installed, tmp_path):
    store = tmp_path / "r.db"
    done = headstart(
        "run", "--models", "small:resnet10_w4?weights=random", "--datasets", "digits",
        "--limit", "60", "--settings", "majority,linear", "--store", store, start=headstart_process,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads(headstart("results", "--store", store, "--json").stdout)
    found = {row["setting"]: row for row in rows}
    # Ten classes of equal size.
    assert found["majority"]["accuracy"] == pytest.approx(0.1, abs=0.03)
    assert found["majority"]["smoothing"] in (0.5, 1.0)
    assert headstart("report", store, "--out", tmp_path / "page.html").returncode == 0
    listed = json.loads(headstart("plugins", "--json").stdout)
    assert {
        "kind": "method",
        "name": "majority",
        "place": "headstart_majority:MAJORITY",
        "package": "headstart-majority 1.2",
    } in listed
    # Where that package is not installed, what it measured is still listed.
    (installed / "headstart_majority-1.2.dist-info" / "entry_points.txt").unlink()
    again = json.loads(headstart("results", "--store", store, "--json").stdout)
    assert {row["setting"]: row["accuracy"] for row in again} == {
        name: row["accuracy"] for name, row in found.items()
    }


def test_a_strangers_executor_measures_the_candidates(headstart, tmp_path):
    arguments = (
        "run", "--models", "small:resnet10_w4?weights=random", "--datasets", "digits", "--limit",
        "60", "--device", "cpu", "--executor", "threads", "--store", tmp_path / "r.db",
    )  # fmt: skip
    refused = headstart(*arguments)
    assert (refused.returncode, refused.stderr) == (2, "error: threads: pass --workers\n")
    done = headstart(*arguments, "--workers", "2", "--cpus-per-worker", "3")
    assert done.returncode == 0, done.stderr
    assert "2 threads, 3 CPU(s) each" in done.stdout
    (row,) = json.loads(headstart("results", "--store", tmp_path / "r.db", "--json").stdout)
    assert row["setting"] == "linear"


def test_strangers_networks_and_datasets(headstart, tmp_path):
    store = tmp_path / "r.db"
    done = headstart(
        "run", "--models", "toy:8,toy:16?weights=random&seed=1", "--datasets", "shades:3",
        "--store", store,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads(headstart("results", "--store", store, "--json").stdout)
    assert [(row["model"], row["dataset"]) for row in rows] == [
        ("toy:8", "shades:3"),
        ("toy:16?weights=random&seed=1", "shades:3"),
    ]
    # Three classes of other brightness.
    assert all(row["accuracy"] > 0.6 for row in rows)
    unknown = headstart("run", "--models", "toy:8", "--datasets", "shade:3", "--store", store)
    assert unknown.returncode == 2
    assert len(unknown.stderr.splitlines()) == 1


def test_a_strangers_command(headstart):
    assert "Print a text in capitals." in headstart("--help").stdout
    assert headstart("shout", "hello", "--loud").stdout == "HELLO!\n"
    # It has the options that all commands have.
    assert "--quiet" in headstart("shout", "-h").stdout
    assert headstart("shout").stderr.startswith("error: argument text is missing")


def test_what_contrib_brings_is_a_plugin_like_a_strangers():
    found = {
        (plugin.kind, plugin.name)
        for registry in REGISTRIES
        for plugin in registry.plugins.values()
        if plugin.package == "headstart.contrib.miniature"
    }
    assert found == {
        ("command", "miniature"), ("dataset_source", "synthetic"), ("model_source", "small"),
    }  # fmt: skip
    assert all(registry[name] for registry in REGISTRIES for name in registry.names)


def entry(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, "headstart.thing")


def test_own_parts_are_found_without_a_heavy_library():
    kinds = ["method", "executor", "model_source", "dataset_source", "predictor"]
    code = (
        "import sys\nfrom headstart.registry import REGISTRIES\n"
        "for one in REGISTRIES:\n"
        f"    if one.kind in {kinds}: assert list(one.values())\n"
        "heavy = {'torch', 'torchvision', 'timm', 'transformers', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_plugins_that_cannot_be_used(monkeypatch):
    entries = [entry("mine", "no_such_module:PART")]
    monkeypatch.setattr("headstart.registry.entry_points", lambda group: entries)
    things = Registry("thing", {"own": "headstart.errors:HeadstartError"})
    assert things.names == ("own", "mine")
    with pytest.raises(PluginError) as error:
        _ = things["mine"]
    assert (error.value.code, error.value.values["name"]) == ("plugin.broken", "mine")
    with pytest.raises(UnknownNameError):
        _ = things["min"]
    entries.append(entry("own", "x:y"))
    with pytest.raises(PluginError) as error:
        _ = Registry("thing", {"own": "headstart.errors:HeadstartError"}).names
    assert error.value.code == "plugin.name_taken"
