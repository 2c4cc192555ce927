"""Means, ties and ranks: from all cells, by no name, with one verdict."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import expit, logit

from headstart.analysis.comparisons import MOST_MODELS_IN_PAIRS
from headstart.report import csv_table, latex_tables
from headstart.report.report_page import page_html
from report.results import made
from stores import make_store
from tables import make_table, quick, reasons

# What is measured where, in percent: each of three models lacks one dataset, one has all.
CROSS = {
    "x": {"b": 95.0, "c": 95.5},
    "y": {"a": 80.0, "c": 80.5},
    "z": {"a": 85.0, "b": 85.7},
    "full": {"a": 84.0, "b": 84.2, "c": 84.5},
}


def listed(results: dict[str, dict[str, float]]) -> pd.DataFrame:
    rows = [(m, d, value) for m, of in results.items() for d, value in of.items()]
    table = pd.DataFrame(rows, columns=["model", "dataset", "accuracy"])
    return table.assign(setting="finetune")


@pytest.mark.parametrize("names", ["xyz", "zyx", "abc", "cab"])
def test_an_incomplete_table_is_not_decided_by_names(names):
    table = listed(CROSS).replace({"model": dict(zip("xyz", names, strict=True))})
    analysis = quick(table)
    means = analysis.model_means.set_index("model")
    assert means["mean"].idxmax() == names[0]
    assert means.index[means.best].tolist() == [names[0]]
    assert means.n_datasets.to_dict() == {**dict.fromkeys(names, 2), "full": 3}
    # Least-squares means of all nine cells, by statsmodels.
    cells = table.assign(y=logit(table.accuracy / 100))
    fit = smf.ols("y ~ 0 + C(model) + C(dataset, Sum)", cells).fit()
    for model, row in means.iterrows():
        assert row["mean"] == pytest.approx(fit.params[f"C(model)[{model}]"])


def test_counts_come_first(cli, tmp_path):
    listed(CROSS).to_csv(tmp_path / "t.csv", index=False)
    out = cli("analyze", tmp_path / "t.csv").out
    assert "\nFine-tuned: 4 models on 3 datasets, 9 of 12 cells; means over" in out
    counts = quick(listed(CROSS)).counts.iloc[0]
    assert (counts.n_models, counts.n_datasets, counts.n_cells, counts.n_missing) == (4, 3, 9, 3)


def test_what_is_not_connected_is_refused_and_named():
    table = listed({"m": {"a": 80.0, "b": 81.0}, "n": {"c": 90.0}, "o": {"c": 70.0, "d": 60.0}})
    analysis = quick(table.assign(upstream_accuracy=table.model.map({"m": 70, "n": 75, "o": 80})))
    for name in ("model_means", "ranks", "mixed"):
        assert getattr(analysis, name).empty, name
    assert analysis.correlations.query("group == 'all'").empty
    why = reasons(analysis)["model means, ranks and mixed model (finetune)"]
    assert "2 groups" in why
    assert "m on a, b" in why
    assert "n, o on c, d" in why
    # What needs no comparison is there.
    assert len(analysis.cells) == 5
    assert "No model can be called best" in page_html(analysis)
    assert latex_tables(analysis).count(r"\begin{tabular}") == 1


def test_two_datasets_decide_nothing(cli, tmp_path):
    """Near-equal differences on two datasets made "close" differ, and "far" not."""
    table = listed({
        "best": {"v4": 93.0, "v6": 93.1}, "close": {"v4": 92.9, "v6": 93.0},
        "far": {"v4": 80.0, "v6": 92.0},
    })  # fmt: skip
    analysis = quick(table)
    means = analysis.model_means.set_index("model")
    assert means.not_different.to_dict() == {"best": True, "close": None, "far": None}
    assert analysis.pairwise.empty
    why = reasons(analysis)["significance of differences between mean log odds (finetune)"]
    assert "2 datasets" in why
    assert "at least 5" in why
    table.to_csv(tmp_path / "t.csv", index=False)
    assert "*" not in cli("analyze", tmp_path / "t.csv").out


def test_differences_from_the_best_are_shown_with_intervals(cli, tmp_path):
    table = make_table(2, 8, settings=("linear",))
    wide = logit(table.pivot(index="model", columns="dataset", values="accuracy"))
    theirs = stats.ttest_rel(wide.loc["net0"], wide.loc["net1"])
    interval = theirs.confidence_interval()
    row = quick(table).model_means.set_index("model").loc["net0"]
    difference = (wide.loc["net0"] - wide.loc["net1"]).mean()
    # Of one pair it is the paired t-test.
    assert row[["difference", "difference_low", "difference_high"]].tolist() == pytest.approx(
        [difference, *interval]
    )
    assert row[["odds_ratio", "odds_ratio_low", "odds_ratio_high"]].tolist() == pytest.approx(
        np.exp([difference, *interval])
    )
    assert row.p_adjusted == pytest.approx(theirs.pvalue)
    table.to_csv(tmp_path / "t.csv", index=False)
    said = cli("analyze", tmp_path / "t.csv", "--resamples", "200").out
    assert f"{difference:+.3f}" in said
    assert f"{interval.low:.3f} to {interval.high:.3f}" in said
    ratio, low, high = (f"{np.exp(value):.2f}" for value in (difference, *interval))
    assert f"{ratio} {low} to {high}" in " ".join(said.split())


def test_pairs_over_datasets_are_scipys():
    table = make_table(4, 6, settings=("linear",))
    wide = logit(table.pivot(index="model", columns="dataset", values="accuracy"))
    rows = quick(table).pairwise
    assert (rows.dataset == "all").all()
    assert set(rows.correction) == {"simultaneous"}
    for row in rows.itertuples():
        first, other = wide.loc[row.model], wide.loc[row.other]
        p = {"paired_t": stats.ttest_rel, "wilcoxon": stats.wilcoxon}[row.test](first, other).pvalue
        assert row.difference == pytest.approx((first - other).mean())
        assert row.p_value == pytest.approx(p)
        assert row.p_adjusted == pytest.approx(min(1, 6 * p))
        if row.test == "paired_t":
            assert (row.p_adjusted < 0.05) == (not row.low <= 0 <= row.high)


def test_without_correction_each_comparison_is_by_itself():
    table = make_table(6, 6, settings=("linear",))
    together, alone = quick(table), quick(table, correction="none")
    assert set(alone.pairwise.correction) == {"none"}
    assert (alone.pairwise.p_adjusted == alone.pairwise.p_value).all()
    kept = alone.model_means.set_index("model").not_different.astype(bool)
    wider = together.model_means.set_index("model").not_different.astype(bool)[kept.index]
    assert wider[kept].all()


def test_many_models_have_no_pairs_unless_asked_for():
    table = make_table(MOST_MODELS_IN_PAIRS + 1, 5, settings=("linear",))
    analysis = quick(table)
    assert analysis.pairwise.empty
    assert (
        "101 models make 5,050 pairs" in reasons(analysis)["pairs of models over datasets (linear)"]
    )
    assert analysis.model_means.difference_low.notna().sum() == 100
    assert len(quick(table, pairs=True).pairwise) == 2 * 5050


def test_equal_models_are_all_best():
    table = make_table(5, 6, settings=("linear",))
    top = table.model == "net4"
    twin = table[top].assign(model="a twin")
    analysis = quick(pd.concat([table, twin]))
    means = analysis.model_means.set_index("model")
    assert set(means.index[means.best]) == {"net4", "a twin"}
    assert analysis.ranks.set_index("model")["rank"].loc[["net4", "a twin", "net3"]].tolist() == [
        1, 1, 3,
    ]  # fmt: skip


@settings(max_examples=6)
@given(st.randoms(use_true_random=False), st.booleans())
def test_names_and_the_order_of_rows_change_no_number(random, holes):
    table = make_table(7, 6, settings=("linear", "finetune"), seed=random.randrange(5))
    if holes:
        table = table.drop(index=random.sample(range(len(table)), 12))
    models, datasets = sorted(table.model.unique()), sorted(table.dataset.unique())
    others = [f"x{i}" for i in random.sample(range(100), len(models))]
    renamed = dict(zip(models, others, strict=True))
    moved = dict(zip(datasets, random.sample(datasets, len(datasets)), strict=True))
    rows = list(table.index)
    random.shuffle(rows)
    other = table.loc[rows].replace({"model": renamed, "dataset": moved})
    back = {new: old for old, new in renamed.items()}, {new: old for old, new in moved.items()}
    keys = {
        "model_means": ["setting", "model"], "ranks": ["setting", "model"], "mixed": ["setting"],
        "correlations": ["setting", "group", "statistic"], "settings": ["setting", "other"],
        "pairwise": ["setting", "dataset", "model", "other", "test"],
        "cells": ["setting", "model", "dataset"], "prediction": ["setting", "dataset"],
    }  # fmt: skip
    first, second = quick(table), quick(other)
    for name, key in keys.items():
        frames = []
        for one, (of_models, of_datasets) in ((first, ({}, {})), (second, back)):
            frame = getattr(one, name).copy()
            for column, names in (("model", of_models), ("dataset", of_datasets)):
                if column in frame:
                    frame[column] = frame[column].replace(names)
            if "group" in frame:
                frame["group"] = frame["group"].replace(of_datasets)
            if name == "pairwise":
                frame["other"] = frame["other"].replace(of_models)
            frames.append(frame.set_index(key).sort_index())
        pd.testing.assert_frame_equal(*frames, check_exact=False, rtol=1e-6, atol=1e-9, obj=name)


def test_ties_ranks_ring_and_latex_are_one_verdict():
    from headstart.figures.figure_data import near_best

    subject = made(12, 8, settings=("linear",), seed=3)
    means = subject.model_means.set_index("model")
    ranks = subject.ranks.set_index("model")
    same = means.not_different.astype(bool)
    assert 1 < same.sum() < 12
    assert (same == (ranks.low.loc[same.index] == 1)).all()
    held = (means.difference_low <= 0) & (means.difference_high >= 0)
    assert (same == (held | means.best)).all()
    assert (near_best(subject.model_means, ["setting"]) == subject.model_means.not_different).all()
    latex = latex_tables(subject)
    for model, row in means.iterrows():
        line = next(one for one in latex.splitlines() if one.startswith(model.replace("_", r"\_")))
        marked = line.split(" & ")[2]
        command = r"\textbf" if row.best else r"\underline" if same[model] else ""
        assert marked.startswith(command or f"{row['mean']:.2f}")
        assert f"& {100 * row.accuracy:.1f} &" in line
    table = csv_table(subject)
    mean = table[table.row == "mean"].set_index("model")
    assert (mean.not_different.astype(bool) == same.loc[mean.index]).all()


def test_one_dataset_with_predictions_has_the_exact_test_on_images(tmp_path):
    store = make_store(tmp_path / "r.db", {"good": 0.9, "alike": 0.89, "poor": 0.6})
    cells = quick(store.path).cells.set_index("model")
    right = {r.trial.model.name: (p := store.predictions(r.trial.key)).predicted == p.label
             for r in store.results()}  # fmt: skip
    for name in ("alike", "poor"):
        row = cells.loc[name]
        alone, best_alone = (
            (right[name] & ~right["good"]).sum(),
            (~right[name] & right["good"]).sum(),
        )
        p = stats.binomtest(int(alone), int(alone + best_alone)).pvalue
        # Two other models: both are held against the best.
        assert row.p_adjusted == pytest.approx(min(1, 2 * p))
        assert row.difference == pytest.approx(right[name].mean() - right["good"].mean())
        assert row.difference_low < row.difference < row.difference_high
        assert row.not_different == (row.p_adjusted > 0.05)
    assert cells.not_different.to_dict() == {"good": True, "alike": True, "poor": False}


def test_the_mean_accuracy_stands_beside():
    table = make_table(5, 6, settings=("linear",))
    expected = table.groupby("model").accuracy.mean()
    analysis = quick(table)
    for name in ("model_means", "ranks"):
        found = getattr(analysis, name).set_index("model").accuracy
        assert found.to_dict() == pytest.approx(expected.to_dict())


def test_slopes_that_differ_widen_the_interval():
    """True slopes 0, 1 and 3 on three datasets: the mean slope of others is hardly known."""
    random = np.random.default_rng(0)
    x = np.linspace(-1, 2, 40)
    rows = [
        (f"m{i:02d}", 100 * expit(x[i]), f"d{slope}", 100 * expit(slope * x[i] + noise))
        for slope in (0, 1, 3)
        for i, noise in enumerate(random.normal(0, 0.05, 40))
    ]
    columns = ["model", "upstream_accuracy", "dataset", "accuracy"]
    (row,) = quick(pd.DataFrame(rows, columns=columns).assign(setting="s")).mixed.itertuples()
    spread = stats.t.interval(0.95, 2, 4 / 3, np.std([0, 1, 3], ddof=1) / np.sqrt(3))
    assert (row.low, row.high) == pytest.approx(spread, abs=0.1)
    assert row.random_slopes
    assert row.f_p < 1e-6


def test_missing_cells_leave_what_needs_no_average_alone():
    table = make_table(6, 4)
    hole = (table.model == "net5") & (table.dataset == "set3") & (table.setting == "linear")
    analysis = quick(table[~hole])
    assert analysis.model_means.query("setting == 'linear'").n_datasets.min() == 3
    per_dataset = analysis.correlations.query("setting == 'linear' and group == 'set0'")
    assert (per_dataset.n_models == 6).all()
    over_all = analysis.correlations.query("setting == 'linear' and group == 'all'")
    assert (over_all.n_models == 6).all()
    row = analysis.settings.query("setting == 'finetune'").iloc[0]
    assert (row.cells, row.n_models, row.n_datasets) == (23, 6, 4)


def test_a_model_without_any_cell_is_named(cli, tmp_path):
    table = listed({"m1": {"a": 80.0, "b": 82.0}, "m2": {"a": 84.0, "b": 85.0},
                    "ghost": {"a": np.nan, "b": np.nan}})  # fmt: skip
    analysis = quick(table)
    assert "model ghost" in reasons(analysis)
    assert set(analysis.model_means.model) == {"m1", "m2"}
    table.to_csv(tmp_path / "t.csv", index=False)
    first = cli("analyze", tmp_path / "t.csv").out.split("Fine-tuned")[0]
    assert "model ghost" in " ".join(first.split())


def test_most_models_that_are_not_different_are_noted():
    many = quick(make_table(30, 5))
    rows = many.model_means[~many.model_means.best.astype(bool)]
    same = int(rows.not_different.astype(bool).sum())
    noted = [row.about for row in many.notes.itertuples() if "not significantly" in row.about]
    assert bool(noted) is (2 * same > len(rows))
    assert all(about.startswith(f"{same} of {len(rows)} models") for about in noted)


def test_a_test_of_equal_slopes_claims_nothing_by_itself(cli, tmp_path):
    make_table(8, 5).to_csv(tmp_path / "t.csv", index=False)
    out = " ".join(cli("analyze", tmp_path / "t.csv", "--resamples", 100).out.split())
    row = quick(tmp_path / "t.csv").mixed.iloc[0]
    assert row.f_p > 0.05
    assert f"{row.f:.1f} ({row.f_df:.0f}, {row.f_df_residual:.0f})" in out
