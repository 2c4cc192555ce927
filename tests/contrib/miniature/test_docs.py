"""What docs/miniature.md says is what its tables hold."""

import json
import re
from pathlib import Path

import pandas as pd

from headstart.contrib.miniature.chain import FULL, short

DOCS = Path(__file__).parents[3] / "docs"
TABLES = DOCS / "miniature" / "tables"
TEXT = (DOCS / "miniature.md").read_text()


def test_the_correlations_are_those_of_the_run():
    table = pd.read_csv(TABLES / "correlations.csv")
    table = table[(table.group == "all") & (table.statistic == "pearson_logit")]
    for setting, label in (
        ("linear", "logistic regression"), ("finetune", "fine-tuned"),
        ("scratch", "random initialization"),
    ):  # fmt: skip
        (row,) = table[table.setting == setting].itertuples()
        said = f"{row.estimate:.2f} ({row.low:.2f} to {row.high:.2f})"
        assert re.search(rf"^\| {label} \|.*\| {re.escape(said)} \|$", TEXT, re.MULTILINE), label


def test_the_medians_are_those_of_the_run():
    cells = pd.read_csv(TABLES / "cells.csv")
    medians = 100 * cells.groupby(["dataset", "setting"])["accuracy"].median()
    for dataset in FULL.targets:
        numbers = [f"{medians[dataset, name]:.1f}" for name in ("linear", "finetune", "scratch")]
        assert f"| {dataset} | {' | '.join(numbers)} |" in TEXT, dataset


def test_the_run_was_of_this_scale():
    cells = pd.read_csv(TABLES / "cells.csv")
    assert set(cells.model) == {short(name) for name in FULL.networks}
    assert set(cells.dataset) == set(FULL.targets)
    upstream = 100 * cells.groupby("model")["upstream_accuracy"].first()
    assert upstream.max() - upstream.min() > 20
    assert f"from {upstream.min():.1f} to {upstream.max():.1f} %" in TEXT
    timing_log = json.loads((DOCS / "miniature" / "miniature.json").read_text())
    assert timing_log["command"] == "headstart miniature"
    assert f"{timing_log['minutes']:.0f} minutes" in TEXT
