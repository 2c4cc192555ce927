"""A method of a stranger's package, found by its entry point."""

import json
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from headstart.errors import UnknownNameError
from headstart.registry import PluginError, Registry

MAJORITY = '''
"""Guess the class that has the most training images: the floor under every method."""

from types import MappingProxyType
from typing import ClassVar, Literal

import numpy as np

from headstart import datasets
from headstart.methods import Needs, TestScores
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

    def needs(self, trial):
        return Needs(False, False, "", "", 0, 0)

    def open(self, trial, workspace):
        return Prepared(trial, workspace)


class Prepared:
    def __init__(self, trial, workspace):
        self.trial = trial
        self.splits = datasets.load(trial.dataset, trial.seed, workspace.cache)

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


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """What pip leaves behind of a package that brings a method: a module and its metadata."""
    site = tmp_path / "site"
    info = site / "headstart_majority-1.2.dist-info"
    info.mkdir(parents=True)
    (site / "headstart_majority.py").write_text(MAJORITY)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: headstart-majority\nVersion: 1.2")
    (info / "entry_points.txt").write_text(
        "[headstart.method]\nmajority = headstart_majority:MAJORITY\n"
    )
    path = [str(site), *(p for p in sys.path if p)]
    monkeypatch.setenv("PYTHONPATH", ":".join(path))
    return site


def headstart(*arguments):
    command = [sys.executable, "-m", "headstart", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_strangers_method_runs_by_its_name(installed, tmp_path):
    store = tmp_path / "r.db"
    done = headstart(
        "run", "--models", "small:resnet10_w4?weights=random", "--datasets", "digits",
        "--limit", "60", "--settings", "majority,linear", "--store", store,
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


def entry(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, "headstart.thing")


def test_plugins_that_cannot_be_used(monkeypatch):
    entries = [entry("mine", "no_such_module:PART")]
    monkeypatch.setattr("headstart.registry.entry_points", lambda group: entries)
    things = Registry("thing", {"own": "headstart.errors:HeadstartError"})
    assert things.names == ("own", "mine")
    with pytest.raises(PluginError) as error:
        things.get("mine")
    assert (error.value.code, error.value.values["name"]) == ("plugin.broken", "mine")
    with pytest.raises(UnknownNameError):
        things.get("min")
    entries.append(entry("own", "x:y"))
    with pytest.raises(PluginError) as error:
        _ = Registry("thing", {"own": "headstart.errors:HeadstartError"}).names
    assert error.value.code == "plugin.name_taken"
