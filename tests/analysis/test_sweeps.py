"""Training configurations and their effects, steps, examples per class."""

import json
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from scipy.stats import ttest_1samp

import headstart as hs
from headstart.report.page_model import names_of
from headstart.report.result_tables import effects_table
from headstart.report.sentences import effects_sentence
from headstart.stats import crossed_mean


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


LEVELS = ("plain", "scaled", "smooth")
UPSTREAM = {"a1": 0.7, "b1": 0.75, "c1": 0.8}


def recipes(models=UPSTREAM, n_datasets=4, seed=0, settings=("linear", "finetune")) -> pd.DataFrame:
    """Log odds that rise by about 0.3 a configuration, upstream by 0.1 and a model's own."""
    random = np.random.default_rng(seed)
    rows = [
        {"model": model, "dataset": f"set{d}", "setting": setting, "configuration": level,
         "accuracy": expit(0.3 * i + 0.5 * d + 0.1 * random.normal()),
         "upstream_accuracy": expit(logit(upstream) + 0.1 * i + 0.02 * m * i**2)}
        for m, (model, upstream) in enumerate(models.items())
        for setting in settings for d in range(n_datasets) for i, level in enumerate(LEVELS)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def differences(table: pd.DataFrame, setting: str) -> list[np.ndarray]:
    """Give the (models, datasets) differences of each change, from the table as it is."""
    own = table[table.setting == setting].assign(odds=logit(table.accuracy))
    wide = [own[own.configuration == level].pivot(index="model", columns="dataset", values="odds")
            for level in LEVELS]  # fmt: skip
    return [(after - before).to_numpy() for before, after in pairwise(wide)]


def test_each_change_is_paired_by_model_and_dataset():
    table = recipes()
    found = hs.analyze(table.sample(frac=1, random_state=1).sort_values("configuration"),
                       resamples=200).effects  # fmt: skip
    assert found[["setting", "before", "after"]].drop_duplicates().shape[0] == 6
    for setting in ("linear", "finetune"):
        rows = found[found.setting == setting]
        assert rows.position.tolist() == [1, 2]
        for row, expected in zip(rows.itertuples(), differences(table, setting), strict=True):
            mean = crossed_mean(expected)
            assert row.effect == pytest.approx(expected.mean())
            assert (row.low, row.high) == pytest.approx((mean.low, mean.high))
            assert (row.sampled, row.n_models, row.n_datasets) == ("models and datasets", 3, 4)


def test_upstream_has_one_number_a_model():
    table = recipes()
    rows = hs.analyze(table, resamples=200).effects.query("setting == 'upstream'")
    own = table.drop_duplicates(["model", "configuration"])
    wide = own.assign(odds=logit(own.upstream_accuracy)).pivot(
        index="model", columns="configuration", values="odds"
    )
    for row in rows.itertuples():
        change = (wide[row.after] - wide[row.before]).to_numpy()
        interval = ttest_1samp(change, 0).confidence_interval()
        assert (row.effect, row.low, row.high) == pytest.approx((change.mean(), *interval))
        assert (row.sampled, row.n_models, row.n_datasets) == ("models", 3, 0)


def test_one_model_is_held_fixed_and_one_cell_has_no_interval():
    one = recipes({"a1": 0.7})
    found = hs.analyze(one, resamples=200)
    (first, _) = differences(one, "linear")
    row = found.effects.query("setting == 'linear'").iloc[0]
    assert row.sampled == "datasets"
    assert (row.low, row.high) == pytest.approx(ttest_1samp(first[0], 0).confidence_interval())
    upstream = found.effects.query("setting == 'upstream'")
    assert upstream.sampled.tolist() == ["", ""]
    assert upstream.low.isna().all()
    noted = found.missing.set_index("what").why
    assert noted["intervals of effects (upstream)"].startswith("there is one model and one")
    assert "intervals of effects (linear)" not in noted


def test_cells_that_a_configuration_lacks_are_left_out_and_named():
    table = recipes()
    lacking = (table.model == "c1") & (table.configuration == "smooth")
    found = hs.analyze(table[~lacking], resamples=200)
    rows = found.effects.query("setting == 'linear'")
    assert rows.n_models.tolist() == [3, 2]
    first, second = differences(table, "linear")
    assert rows.effect.tolist() == pytest.approx([first.mean(), second[:2].mean()])
    dropped = found.dropped[found.dropped.table == "effects: smooth"]
    assert dropped[["setting", "kind", "name", "missing"]].to_numpy().tolist() == [
        ["linear", "model", "c1", 4],
        ["finetune", "model", "c1", 4],
        ["upstream", "model", "c1", 1],
    ]


def test_a_setting_without_a_configuration_goes_from_the_one_before_that():
    table = recipes()
    found = hs.analyze(
        table[(table.setting == "linear") | (table.configuration != "scaled")], resamples=200
    ).effects
    rows = found.query("setting == 'finetune'")
    assert rows[["before", "after"]].to_numpy().tolist() == [["plain", "smooth"]]


def test_the_order_is_that_within_each_model():
    """Not that of the table, whose first model may lack the first configuration."""
    table = recipes(n_datasets=2)
    table = table[(table.model != "a1") | (table.configuration != "plain")]
    found = hs.analyze(table, resamples=200)
    order = found.ablation.sort_values("position").configuration.drop_duplicates()
    assert order.tolist() == list(LEVELS)
    rows = found.effects.query("setting == 'linear'")
    assert rows.before.tolist() == ["plain", "scaled"]
    assert rows.n_models.tolist() == [2, 3]


def test_models_that_contradict_each_other_are_in_the_order_of_the_table():
    table = recipes(n_datasets=2)
    turned = table[table.model == "b1"].iloc[::-1]
    found = hs.analyze(pd.concat([table[table.model != "b1"], turned]), resamples=200)
    assert found.effects.query("setting == 'linear'").after.tolist() == ["scaled", "smooth"]


def test_without_configurations_there_are_no_effects():
    table = recipes()
    one = hs.analyze(table[table.configuration == "plain"], resamples=200)
    assert one.effects.empty
    assert effects_sentence(one) == ""
    assert not effects_table(one, names_of(one)).rows


def test_the_published_switches():
    """Figs. 3 and 5 of Kornblith et al. (2019): means over 12 datasets, paired by network."""
    found = hs.analyze("kornblith2019-regularizers", resamples=200)
    linear = found.effects.query("setting == 'logistic_regression'")
    # 1.2834 - 1.1156, 1.0134 - 0.9368, 1.1762 - 1.0313, 0.9967 - 0.8541, 1.0100 - 0.9000
    expected = ttest_1samp([0.1678, 0.0766, 0.1449, 0.1426, 0.11], 0)
    row = linear.iloc[0]
    assert row.effect == pytest.approx(0.12838)
    assert (row.low, row.high) == pytest.approx(expected.confidence_interval())
    assert linear.n_models.tolist() == [5, 5, 5, 3]
    # Section 4.2: each regularizer costs fixed features, and hardly matters for fine-tuning.
    assert (linear.low > 0).all()
    tuned = found.effects.query("setting == 'fine_tuned'")
    assert tuned.effect.abs().max() < linear.effect.max() / 2
    assert effects_sentence(found) == (
        "Each training configuration compared with the previous one (log odds, 95 % intervals): "
        "by logistic regression higher in 4 of 4; by fine-tuning uncertain in 4 of 4; "
        "ImageNet top-1 accuracy higher in 1, lower in 1 and uncertain in 2 of 4."
    )


def test_the_screen_and_the_page_show_them(cli, tmp_path):
    shown = cli("analyze", "kornblith2019-regularizers", "--resamples", 200,
                "--json", tmp_path / "r.json").out  # fmt: skip
    assert "+BN scale -label smoothing -dropout -aux head" in " ".join(shown.split())
    assert "+0.128 0.084 to 0.172 5 models" in " ".join(shown.split())
    (first, *others) = json.loads((tmp_path / "r.json").read_text())["effects"]
    assert first["effect"] == pytest.approx(0.12838)
    assert len(others) == 11
    cli("report", "kornblith2019-regularizers", "--resamples", 200, "--out", tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    section = page.split('id="effects"')[1].split("</section>")[0]
    assert "Difference in log odds from the previous training configuration" in section
    assert "0.084 to 0.172" in section
