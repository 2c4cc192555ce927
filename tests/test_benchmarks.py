"""Benchmarks in their smallest form, and the script for a GPU, as far as a CPU goes.

`make check` type-checks all benchmarks; the short ones run here.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SMALLEST = {
    "startup.py": ("--rounds", "1", "--results", "1000"),
    "data.py": ("--quick", "--rounds", "1", "--images", "50"),
    "extract_in_process.py": ("100",),
    "warm_trial.py": ("--rounds", "1"),
    "scheduler.py": ("--trials", "20", "--executor", "none"),
    "probe.py": ("--ours-only", "--cases", "spectrum", "--scale", "0.05"),
    "finetune.py": ("--quick", "--networks", "resnet20"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLEST)
def test_a_benchmark_runs_in_its_smallest_form(name):
    command = [sys.executable, BENCHMARKS / name, *SMALLEST[name]]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.slow
def test_a_part_is_tried_on_the_cpu(tmp_path):
    file = tmp_path / "report.json"
    command = [BENCHMARKS / "gpu.sh", "--dry", "--parts", "memory", "--out", file]
    subprocess.run(command, check=True, env={**os.environ, "PYTHON": sys.executable})
    report = json.loads(file.read_text())
    part = report["parts"]["memory"]
    assert (part["status"], part["reason"]) == ("ok", None)
    assert part["result"]["extraction"]["parts"] == [2] * 8
    assert part["result"]["training"]["code"] == "training.out_of_memory"
    assert 0 < part["seconds"] <= report["seconds"]


def test_a_part_that_takes_too_long_is_ended(monkeypatch):
    spec = importlib.util.spec_from_file_location("gpu", BENCHMARKS / "gpu.py")
    gpu = importlib.util.module_from_spec(spec)
    # Its dataclasses look their module up.
    monkeypatch.setitem(sys.modules, "gpu", gpu)
    spec.loader.exec_module(gpu)
    assert sum(limit for _, limit in gpu.PARTS.values()) <= gpu.TOTAL_SECONDS < 480
    part = gpu.start_part("resume", True, 0.2)
    assert part["status"] == "failed"
    assert "longer than" in part["reason"]
