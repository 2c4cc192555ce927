"""The whole study in miniature, in its tiny form: every part, every figure, resumed, told."""

import json
import signal
import time

import pandas as pd
import pytest

from headstart import models
from headstart.contrib.miniature.chain import FULL, STAGES, TINY, TimingLog
from headstart.contrib.miniature.networks import ARCHITECTURES
from headstart.study import Study
from processes import Forked, headstart_process
from refusals import refused

# Two datasets are too few to tell models apart, and four networks for a correlation: the tiny form
# has neither ranks nor transfer against upstream accuracy to draw.
FIGURES = (
    "settings", "finetune-vs-scratch", "ablation", "convergence", "dataset-size", "heatmap",
)  # fmt: skip


def test_the_full_form_is_what_the_paper_did_in_small():
    families = {ARCHITECTURES[name.partition(":")[2]].family for name in FULL.networks}
    assert len(set(FULL.networks)) >= 12
    assert len(families) == 5
    assert len(set(FULL.targets)) >= 5
    assert FULL.upstream not in FULL.targets
    assert {options["name"] for options in FULL.settings} == {"linear", "finetune", "scratch"}
    assert all(ARCHITECTURES[name.partition(":")[2]].auxiliary for name in FULL.ablated)


@pytest.mark.parametrize("scale", [FULL, TINY])
def test_a_curve_meets_the_main_study_at_its_steps(scale):
    """So that a cell of both is one trial."""
    for name, steps in scale.curve_steps.items():
        assert scale.setting(name)["steps"] in steps
    assert {scale.convergence_model, scale.size_model} <= set(scale.networks)
    assert set(scale.curve_targets) | set(scale.size_targets) <= set(scale.targets)


@pytest.mark.parametrize("scale", [FULL, TINY])
def test_settings_are_those_of_a_study(scale):
    limit = scale.targets["digits"]
    study = Study(
        models=scale.networks[:1], datasets=["digits"], settings=scale.settings, limit=limit
    )
    assert [trial.setting.name for trial in study.trials()] == ["linear", "finetune", "scratch"]


@pytest.mark.slow
def test_every_part_runs_and_a_second_run_measures_nothing(own_cache, tmp_path, cli):
    out = tmp_path / "out"
    outcome = cli("miniature", "--tiny", "--out", out, "--device", "cpu", "--workers", 2)
    assert outcome.code == 0, outcome.err
    timing_log = json.loads((out / "miniature.json").read_text())
    assert set(timing_log["seconds"]) == {*STAGES, "embedding", "report"}
    assert timing_log["command"].startswith("headstart miniature --tiny")
    for figure in FIGURES:
        assert (out / "figures" / f"{figure}.pdf").stat().st_size > 3000, figure
    assert (out / "embedding" / "embedding.html").exists()
    page = (out / "report.html").read_text()
    assert "The whole study in miniature" in page
    cells = pd.read_csv(out / "cells.csv")
    assert len(cells) == len(TINY.networks) * len(TINY.targets) * 3
    ablation = pd.read_csv(out / "ablation.csv")
    assert ablation["configuration"].nunique() == 5
    assert sorted(pd.read_csv(out / "convergence.csv")["steps"].unique()) == [5, 10, 20]
    names = [f"pretrained:{TINY.name_of(arch)}" for arch in TINY.networks]
    assert all(models.find(name).upstream_accuracy for name in names)

    again = cli("miniature", "--tiny", "--out", out, "--device", "cpu", "--workers", 0)
    assert again.code == 0, again.err
    assert pd.read_csv(out / "cells.csv").equals(cells)
    second = json.loads((out / "miniature.json").read_text())["seconds"]
    assert (
        second["transfer"] - timing_log["seconds"]["transfer"]
        < timing_log["seconds"]["transfer"] / 2
    )


@pytest.mark.slow
def test_interrupted_it_goes_on(own_cache, tmp_path):
    arguments = ("miniature", "--tiny", "--out", tmp_path / "out", "--device", "cpu")
    process = headstart_process(*arguments, "--workers", 1)
    # As soon as a network is kept, the rest is to come.
    while not list((own_cache / "pretrained").glob("*/model.json")) and process.poll() is None:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    kept = {file: file.read_bytes() for file in (own_cache / "pretrained").glob("*/model.json")}
    assert kept
    assert all(file.read_bytes() == content for file, content in kept.items())


# The last line that it prints is the code of the error that ends it.
FULL_DISK = """
import processes
from headstart.__main__ import main

processes.limit_file_size(20_000)
try:
    main()
except SystemExit as end:
    print(end.__cause__.code)
    raise
"""


@pytest.mark.slow
def test_a_full_disk_is_told_in_one_line(own_cache, tmp_path):
    process = Forked(
        FULL_DISK, "miniature", "--tiny", "--out", tmp_path / "out", "--device", "cpu",
        "--workers", 0,
    )  # fmt: skip
    out, error = process.communicate()
    assert process.returncode == 2, error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert out.splitlines()[-1] == "storage.full"
    assert not list(own_cache.glob("pretrained/*/model.json"))


def test_seconds_of_a_second_run_are_added(tmp_path, monkeypatch):
    now = iter([0.0, 90.0, 100.0, 130.0])
    monkeypatch.setattr("headstart.contrib.miniature.chain.monotonic", lambda: next(now))
    file = tmp_path / "miniature.json"
    with pytest.raises(KeyboardInterrupt), TimingLog(file, {"scale": "tiny"}).stage("transfer"):
        raise KeyboardInterrupt
    again = TimingLog(file, {"scale": "tiny"})
    with again.stage("transfer"):
        pass
    assert again.total == 120.0
    written = json.loads(file.read_text())
    assert written["seconds"] == {"transfer": 120.0}
    assert (written["scale"], written["minutes"]) == ("tiny", 2.0)
    assert written["processors"] >= 1


@pytest.mark.parametrize("text", ["", "[]", '{"seconds": {"transfer": "long"}}', "{}"])
def test_a_damaged_timing_log_is_refused(tmp_path, text):
    file = tmp_path / "miniature.json"
    file.write_text(text)
    with refused("miniature.timing_damaged", path=str(file)):
        TimingLog(file, {})
