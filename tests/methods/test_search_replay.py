"""Searches replayed on a recorded grid: `benchmarks/replay.py`, and what the record says."""

import importlib.util
import json
import re
import sys
from itertools import product
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def load_replay():
    spec = importlib.util.spec_from_file_location("replay", ROOT / "benchmarks" / "replay.py")
    module = importlib.util.module_from_spec(spec)
    # Its dataclasses look their module up.
    sys.modules["replay"] = module
    spec.loader.exec_module(module)
    return module


replay = load_replay()
CELL = replay.Cell("scratch", "digits", 0)


def record_of(right) -> object:
    """A record of 1,000 images, of which a run gets `right(rate, decay, steps)` right."""
    grid, halving = replay.scaled("scratch", "grid"), replay.scaled("scratch", "halving")
    runs = {}
    for rate, decay, (_, steps) in product(grid.learning_rates, grid.weight_decays, halving.rungs):
        n = right(grid.learning_rates.index(rate), grid.weight_decays.index(decay), steps)
        runs[rate, decay, steps] = replay.Run((n, n - 1), (n, n - 1)) if n else replay.Run()
    return replay.Record(1000, 1000, runs)


def lost(record) -> dict[str, float]:
    found = replay.summary({CELL: record})
    return {search: found[search]["points_lost"]["mean"] for search in replay.SEARCHES[1:]}


def test_the_searches_have_the_protocols_shape():
    halving, short = replay.scaled("finetune", "halving"), replay.scaled("finetune", "short")
    # 56, 14 and 4 of 56 candidates; 1,220, 4,882 and 19,531 steps.
    assert halving.rungs == ((28, 48), (7, 192), (2, 768))
    assert short.rungs == ((28, 48),)
    assert (halving.training.steps, short.training.steps) == (768, 768)
    quick, grid = replay.scaled("scratch", "quick"), replay.scaled("scratch", "grid")
    assert set(quick.learning_rates) < set(grid.learning_rates)
    assert set(quick.weight_decays) < set(grid.weight_decays)


def test_a_search_loses_nothing_where_short_runs_tell_all():
    record = record_of(lambda rate, decay, steps: 500 + 10 * rate + decay + steps // 100)
    # The two decays of quick are the lower ones.
    assert lost(record) == {"halving": 0, "short": 0, "quick": 0.2}
    found = replay.summary({CELL: record})
    assert found["halving"]["share_of_steps"] == pytest.approx(
        (28 * 48 + 7 * 192 + 2 * 768) / (28 * 768), abs=1e-4
    )
    assert found["short"]["share_of_steps"] == 1 / 16
    # Over the rates 0 to 6 and the decays 0 to 3: the mean is 3 rates and 1.5 decays below.
    assert found["random candidate"]["points_lost"]["mean"] == pytest.approx(3.15)


def test_what_misleading_short_runs_cost():
    # The best candidates at full length are the worst at the first rung.
    record = record_of(
        lambda rate, decay, steps: 500 + (10 * rate if steps == 768 else -10 * rate) + decay
    )
    # Rate 0 instead of 6: of the quarter that goes on, rates 0 and 1, the worse is taken again.
    assert lost(record)["short"] == pytest.approx(6.0)
    assert lost(record)["halving"] == pytest.approx(6.0)


def test_what_diverges_at_full_length_counts_as_all_wrong():
    record = record_of(lambda rate, decay, steps: 0 if rate == 6 and steps > 48 else 500 + rate)
    assert lost(record)["short"] == pytest.approx(50.5)
    assert lost(record)["halving"] == 0


def test_a_record_is_read_as_it_was_written():
    record = record_of(lambda rate, decay, steps: 100 * rate + decay)
    kept = json.loads(json.dumps({"cells": {CELL.name: record.as_json()}}))
    assert replay.records_of(kept) == {CELL: record}


@pytest.fixture(scope="module")
def report() -> dict:
    return json.loads((ROOT / "benchmarks" / "results" / "search-cpu.json").read_text())


def test_the_record_says_what_its_replays_give(report):
    records = replay.records_of(report)
    assert sorted(cell.name for cell in records) == report["complete"]
    assert replay.summary(records) == report["searches"]


def test_what_searches_lose_is_documented_as_recorded(report):
    text = (ROOT / "docs" / "training.md").read_text().split("## What a search loses")[1]
    rows = re.findall(r"^\| (.+) \| (\d*) ?\| (.+) \|$", text.split("##")[0], flags=re.MULTILINE)
    keys = ("halving", "short", "quick", "grid, another seed", "random candidate", "best on test")
    assert len(rows) == len(keys)
    for key, (_, share, lost) in zip(keys, rows, strict=True):
        found = report["searches"][key]
        points = found["points_lost"]
        assert lost == f"{points['mean']:.1f} ({points['low']:.1f} to {points['high']:.1f})"
        if "share_of_steps" in found:
            assert share == f"{100 * found['share_of_steps']:.0f}"
