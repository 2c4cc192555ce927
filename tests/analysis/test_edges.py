"""Accuracies of exactly 0 and 100 %, and equal ones."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit

from headstart.stats import edge_distance
from refusals import refused
from tables import quick


def with_edges(table, *places, n_test=True) -> pd.DataFrame:
    """The table in percent with two decimals and, at these places, other accuracies in percent."""
    table = table.assign(
        accuracy=(100 * table.accuracy).round(2), upstream_accuracy=100 * table.upstream_accuracy
    )
    for row, value in places:
        table.loc[row, "accuracy"] = value
    return table if n_test else table.drop(columns="n_test")


def test_with_a_size_it_is_the_empirical_logit(table):
    analysis = quick(with_edges(table, (0, 100.0), (5, 0.0)))
    cells = analysis.cells.set_index(["model", "dataset", "setting"]).log_odds
    keys = [tuple(table.loc[row, ["model", "dataset", "setting"]]) for row in (0, 5)]
    # 1,000 test images.
    assert [cells[key] for key in keys] == pytest.approx([logit(1000.5 / 1001), logit(0.5 / 1001)])
    (note,) = analysis.notes.to_dict("records")
    assert note["about"].startswith(f"2 of {len(table)} accuracies are exactly 0 or 100 %")
    for key in keys:
        assert f"{key[0]} on {key[1]}" in note["note"]


@pytest.mark.parametrize(
    ("others", "distance"),
    [
        # Printed with no, one, two decimals of a percent: half a unit of the last.
        ([0.91, 0.87], 0.005),
        ([0.912, 0.87], 0.0005),
        ([0.9123, 0.87], 0.00005),
        # Never nearer than half way from another accuracy to the edge.
        ([0.999, 0.998], 0.0005),
        ([0.9999, 0.91], 0.00005),
        ([0.995, 0.004], 0.0005),
        # Not rounded: half the smallest distance.
        ([2 / 3, 5 / 7], 1 / 7),
        ([1 / 3, 0.01 / 7], 0.005 / 7),
    ],
)
def test_without_a_size_it_is_the_rounding(others, distance):
    assert edge_distance([*others, 1.0, 0.0]) == pytest.approx(distance)


def test_without_sizes_cells_are_named_and_their_distance_said(table):
    analysis = quick(with_edges(table, (0, 100.0), n_test=False))
    first = table.iloc[0]
    cell = analysis.cells.query("model == @first.model and dataset == @first.dataset").iloc[0]
    assert cell.log_odds == pytest.approx(logit(1 - 0.00005))
    (note,) = analysis.notes.to_dict("records")
    assert "1 of 48" in note["about"]
    assert "n_test" in note["about"]
    assert f"{first.dataset} 0.005: " in note["note"]


def test_a_dataset_of_hundreds_takes_the_rounding_of_the_table(table):
    frame = with_edges(table, n_test=False)
    frame.loc[frame.dataset == "set0", "accuracy"] = 100.0
    cells = quick(frame).cells.query("dataset == 'set0'")
    assert cells.log_odds.to_numpy() == pytest.approx(np.full(len(cells), logit(1 - 0.00005)))


def test_nothing_but_hundreds_cannot_be_read():
    rows = [("a", "x", 100.0), ("b", "x", 100.0), ("a", "y", 0.0)]
    frame = pd.DataFrame(rows, columns=["model", "dataset", "accuracy"]).assign(setting="linear")
    with refused("table.edge_without_size", model="a"):
        quick(frame, unit="percent")
    assert quick(frame.assign(n_test=50), unit="percent").cells.log_odds.notna().all()


@pytest.mark.parametrize("value", [0.9, 1 / 3])
def test_equal_accuracies_have_no_correlation_and_no_coverage(table, value, cli, tmp_path):
    """Means of equal log odds over three datasets differ by rounding."""
    frame = table[table.dataset != "set3"].assign(accuracy=value)
    analysis = quick(frame)
    assert analysis.correlations.estimate.isna().all()
    assert analysis.prediction.empty
    frame.to_csv(tmp_path / "t.csv", index=False)
    out = cli("analyze", tmp_path / "t.csv", "--resamples", "200").out
    assert "prediction intervals" not in out
