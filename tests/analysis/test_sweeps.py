"""Training configurations, steps, examples per class."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

import headstart as hs


def sweep(factor, levels, **others):
    rows = []
    for model, upstream in (("a1", 0.7), ("b1", 0.75), ("c1", 0.8)):
        for d in range(3):
            for i, level in enumerate(levels):
                score = 3 * upstream + 0.3 * d + 0.5 * i
                rows.append({"model": model, "upstream_accuracy": upstream, "dataset": f"set{d}",
                             "setting": "finetune", factor: level, "accuracy": expit(score),
                             **others})  # fmt: skip
    return pd.DataFrame(rows)


def test_the_published_ablation():
    analysis = hs.analyze("kornblith2019-regularizers", resamples=200)
    table = analysis.ablation
    assert len(table) == 33
    order = table.sort_values("position").configuration.drop_duplicates()
    assert order.str[:2].tolist() == ["S1", "S2", "S3", "S4", "S5"]
    row = table.query("setting == 'fine_tuned' and model == 'Inception v4'").iloc[2]
    assert row.configuration.startswith("S3")
    assert row["mean"] == pytest.approx(2.3223)
    assert row.upstream_accuracy == pytest.approx(0.8088)
    assert np.isnan(row.se)
    # Section 4.2: without these regularisers fixed features are better, for every network.
    linear = table[table.setting == "logistic_regression"]
    for _, rows in linear.groupby("model"):
        assert rows.sort_values("position")["mean"].is_monotonic_increasing
    panels = analysis.figure("ablation").panels
    # Then the upstream accuracy of each training.
    assert [panel.title for panel in panels] == ["Logistic regression", "Fine-tuned", "Upstream"]


def test_steps_average_over_datasets():
    table = sweep("steps", [100, 1000, 10_000])
    analysis = hs.analyze(table, resamples=200)
    assert analysis.convergence.steps.tolist() == [100, 1000, 10_000] * 3
    first = logit(table.query("model == 'a1' and steps == 1000").accuracy).mean()
    row = analysis.convergence.query("model == 'a1' and steps == 1000").iloc[0]
    assert row["mean"] == pytest.approx(first)
    assert row.n_datasets == 3


def test_the_other_tables_take_the_last_level():
    table = sweep("steps", [100, 1000])
    analysis = hs.analyze(table, resamples=200)
    only = hs.analyze(table[table.steps == 1000].drop(columns="steps"), resamples=200)
    assert np.array_equal(analysis.model_means["mean"], only.model_means["mean"])
    assert "the steps of most cells" in " ".join(analysis.missing.why)


def test_the_other_tables_take_the_steps_of_the_main_study():
    main = sweep("steps", [100])
    # One model on one dataset was trained for longer, too: its curve, not the table's number.
    longer = sweep("steps", [100, 1000]).query("model == 'b1' and dataset == 'set1'")
    both = pd.concat([main, longer[longer.steps == 1000]])
    analysis = hs.analyze(both, resamples=200)
    alone = hs.analyze(main, resamples=200)
    assert np.array_equal(analysis.model_means["mean"], alone.model_means["mean"])
    assert set(analysis.convergence.steps) == {100, 1000}


def test_beside_a_whole_main_study_nothing_is_left_to_choose():
    main = sweep("steps", [100]).drop(columns="steps")
    few = sweep("examples_per_class", [1, 4]).query("model == 'b1'")
    analysis = hs.analyze(pd.concat([main, few]), resamples=200)
    assert not analysis.missing.what.str.contains("levels").any()
    assert set(analysis.dataset_size.examples_per_class) == {1, 4}


def test_one_level_is_no_sweep():
    analysis = hs.analyze(sweep("steps", [1000]), resamples=200)
    assert analysis.convergence.empty
    assert not analysis.missing.what.str.contains("levels").any()


def test_examples_per_class_average_subsets():
    tables = [sweep("examples_per_class", [1, 2, 4], seed=seed) for seed in range(3)]
    for seed, table in enumerate(tables):
        table["accuracy"] = expit(logit(table.accuracy) + 0.1 * seed)
    found = hs.analyze(pd.concat(tables), resamples=200).dataset_size
    row = found.query("model == 'b1' and dataset == 'set1' and examples_per_class == 2").iloc[0]
    one = tables[0].query("model == 'b1' and dataset == 'set1' and examples_per_class == 2")
    assert row["mean"] == pytest.approx(logit(one.accuracy.iloc[0]) + 0.1)
    assert row.se == pytest.approx(0.1 / np.sqrt(3))
    assert row.n_seeds == 3


def test_a_model_without_all_levels_keeps_its_own():
    table = sweep("configuration", ["plain", "more"])
    table = table[~((table.model == "c1") & (table.configuration == "more"))]
    found = hs.analyze(table, resamples=200).ablation
    assert found.query("model == 'c1'").configuration.tolist() == ["plain"]
    assert len(found) == 5


def test_numbered_configurations_stand_by_number_whichever_ended_first():
    names = ["S1: none", "S2: smoothing", "S10: both"]
    table = sweep("configuration", names)
    in_order = hs.analyze(table, resamples=200)
    # Each model contradicts the others, and the numbers.
    ended = np.random.RandomState(0).permutation(len(table))
    shuffled = hs.analyze(table.iloc[ended], resamples=200)
    for found in (in_order, shuffled):
        position = found.ablation.groupby("configuration").position.unique()
        assert {name: list(at) for name, at in position.items()} == {
            name: [i] for i, name in enumerate(names)
        }
    kept = ["setting", "before", "after", "effect"]
    pd.testing.assert_frame_equal(shuffled.effects[kept], in_order.effects[kept])


def test_the_main_study_may_stand_beside_a_sweep():
    main = sweep("steps", [100]).drop(columns="steps")
    beside = sweep("steps", [10, 100, 1000]).query("dataset == 'set0' and model == 'a1'")
    beside["accuracy"] = beside["accuracy"] * 0.9
    analysis = hs.analyze(pd.concat([main, beside]), resamples=200)
    alone = hs.analyze(main, resamples=200)
    assert np.array_equal(analysis.model_means["mean"], alone.model_means["mean"])
    assert analysis.convergence.steps.tolist() == [10, 100, 1000]


def test_the_last_level_is_that_of_the_cell():
    table = sweep("examples_per_class", [1, 8, 64])
    table = table[(table.dataset == "set0") | (table.examples_per_class < 64)]
    analysis = hs.analyze(table, resamples=200)
    assert len(analysis.cells) == 9
    assert analysis.dropped.empty


def test_two_factors_do_not_run_together():
    plain = sweep("steps", [10, 1000]).assign(configuration="plain")
    other = plain.assign(configuration="other", accuracy=plain.accuracy - 0.1)
    analysis = hs.analyze(pd.concat([plain, other]), resamples=200)
    row = analysis.ablation.query("model == 'a1' and configuration == 'plain'").iloc[0]
    last = plain.query("model == 'a1' and steps == 1000")
    assert row["mean"] == pytest.approx(logit(last.accuracy).mean())
    row = analysis.convergence.query("model == 'a1' and steps == 10").iloc[0]
    last = other.query("model == 'a1' and steps == 10")
    assert row["mean"] == pytest.approx(logit(last.accuracy).mean())
