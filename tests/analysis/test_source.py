"""Tables as people have them, and what is said of those that cannot be."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import headstart as hs
from headstart.analysis.columns import parse_mapping
from headstart.analysis.families import family_of
from headstart.errors import TableError

PUBLISHED = Path(__file__).parent / "published"


def one_line(outcome) -> str:
    assert outcome.code == 2
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    return outcome.err


def test_a_good_table_is_analysed(spoiled):
    outcome = spoiled()
    assert outcome.code == 0
    assert "48 results, accuracies in proportion (all at most 1)" in outcome.out


@pytest.mark.parametrize(
    ("file", "columns", "cells"),
    [
        (
            "tll_model_selection_finetune.csv",
            "upstream_accuracy=imagenet_top1",
            80,
        ),
        (
            "simclr_byol_supcon_tables.csv",
            "upstream_accuracy=imagenet_top1",
            216,
        ),
        (
            "kornblith2019_model_means_digitised.csv",
            "log_odds=mean_log_odds_over_12_datasets,upstream_accuracy=imagenet_top1_digitised,"
            "dataset:=mean of 12",
            48,
        ),
        (
            "kornblith2019_fig6_sota_digitised.csv",
            "accuracy=previous_sota_line_digitised(+-0.15),model:=previous best,setting:=any",
            12,
        ),
    ],
)
def test_published_tables_load_unchanged(file, columns, cells):
    analysis = hs.analyze(PUBLISHED / file, columns=parse_mapping(columns), resamples=200)
    assert len(analysis.cells) == cells
    assert analysis.cells.accuracy.between(0.01, 1).all()


def test_the_embedded_table_is_the_csv(tmp_path):
    from headstart.analysis import published

    file = tmp_path / "fig2.csv"
    file.write_bytes(published.csv_bytes("kornblith2019"))
    columns = {"accuracy": "accuracy_digitised", "upstream_accuracy": "imagenet_top1_digitised"}
    ours = hs.analyze(file, columns=columns, resamples=200).model_means
    theirs = hs.analyze("kornblith2019", resamples=200).model_means
    assert np.array_equal(ours["mean"], theirs["mean"])


@pytest.mark.parametrize("column", ["model", "dataset", "setting", "accuracy"])
def test_a_column_missing(spoiled, column):
    said = one_line(spoiled(lambda t: t.rename(columns={column: "other name"})))
    assert f"no column '{column}'; found: " in said
    assert "other name" in said
    assert f"--columns {column}=COLUMN" in said


def test_the_mapping_repairs_it(spoiled):
    rename = {"model": "Model", "accuracy": "acc"}
    mapping = "model=Model,accuracy=acc"
    assert spoiled(lambda t: t.rename(columns=rename), "--columns", mapping).code == 0
    without = spoiled(lambda t: t.drop(columns="setting"), "--columns", "setting:=linear")
    # Both settings become one, and their rows disagree.
    assert "rows disagree on model net0, dataset set0, setting linear" in one_line(without)


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ("model", "expected ours=theirs or ours:=value, separated by commas, found 'model'"),
        ("modell=Model", "'modell' is none of ours"),
        ("model=Mdel", "no column 'Mdel': did you mean 'model'?"),
    ],
)
def test_a_wrong_mapping(spoiled, mapping, said):
    assert said in one_line(spoiled(None, "--columns", mapping))


def test_accuracy_above_100(spoiled):
    def change(t):
        t["accuracy"] *= 100
        t["upstream_accuracy"] *= 100
        t.loc[3, "accuracy"] = 100.5
        return t

    said = one_line(spoiled(change))
    assert "row 5 (net0, set3): expected accuracy between 0 and 100 (percent), found 100.5" in said


def test_accuracy_below_0(spoiled):
    def change(t):
        t.loc[0, "accuracy"] = -0.1
        return t

    assert "expected accuracy between 0 and 100 (percent), found -0.1" in one_line(spoiled(change))
    in_percent = one_line(spoiled(lambda t: change(t.assign(accuracy=100 * t.accuracy))))
    assert (
        "row 2 (net0, set0): expected accuracy between 0 and 100 (percent), found -0.1"
        in in_percent
    )
    stated = one_line(spoiled(change, "--unit", "proportion"))
    assert "expected accuracy between 0 and 1 (proportion), found -0.1" in stated


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_upstream_accuracy_has_to_have_log_odds(spoiled, value):
    said = one_line(spoiled(lambda t: t.assign(upstream_accuracy=value)))
    assert "expected upstream_accuracy strictly between 0 and 1 (proportion)" in said


def test_percent_and_proportions_mixed_in_a_column(spoiled):
    def change(t):
        t.loc[t.index[:5], "accuracy"] *= 100
        return t

    said = one_line(spoiled(change))
    assert "column 'accuracy' mixes percent and proportions: row" in said
    assert "--unit percent" in said


def test_percent_and_proportions_mixed_between_columns(spoiled):
    said = one_line(spoiled(lambda t: t.assign(upstream_accuracy=100 * t.upstream_accuracy)))
    assert "'accuracy' has proportion, 'upstream_accuracy' has percent" in said


def test_a_stated_unit_settles_it(spoiled):
    def change(t):
        t["accuracy"] *= 100
        t["upstream_accuracy"] *= 100
        t.loc[0, "accuracy"] = 0.4
        return t

    assert "mixes percent and proportions" in one_line(spoiled(change))
    stated = spoiled(change, "--unit", "percent")
    assert stated.code == 0
    assert "accuracies in percent (stated)" in stated.out


def test_cells_that_disagree(spoiled):
    def change(t):
        again = t.iloc[[7]].assign(accuracy=0.123)
        return pd.concat([t, again])

    said = one_line(spoiled(change))
    assert "2 rows disagree on model net1, dataset set3, setting linear" in said
    assert "12.3 %" in said
    assert "column seed" in said


def test_cells_that_agree_are_one(table):
    twice = hs.analyze(pd.concat([table, table.iloc[[7]]]), resamples=200)
    assert len(twice.cells) == 48
    assert (twice.cells.n_seeds == 1).all()


def test_two_upstream_accuracies_of_a_model(spoiled):
    def change(t):
        t.loc[0, "upstream_accuracy"] = 0.7
        return t

    said = one_line(spoiled(change))
    assert "model net0 has several upstream accuracies in setting linear: 70 and 65 %" in said


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("n_test", -5, "expected a whole number of at least 1 in column 'n_test', found -5"),
        ("n_test", 0.5, "expected a whole number of at least 1 in column 'n_test', found 0.5"),
        ("n_test", 1e300, "expected a number that images can have in column 'n_test'"),
        ("seed", 1.5, "expected a whole number of at least 0 in column 'seed', found 1.5"),
        ("se", -0.01, "expected a standard error of at least 0 in column 'se', found -0.01"),
        ("steps", 0, "expected a whole number of at least 1 in column 'steps', found 0"),
    ],
)
def test_counts_and_errors_that_cannot_be(spoiled, column, value, said):
    assert said in one_line(spoiled(lambda t: t.assign(**{column: value})))


def test_a_seed_in_one_row_and_none_in_another(table):
    again = table.iloc[[0]].assign(seed=0, accuracy=0.5)
    with pytest.raises(TableError, match="only some have a seed: give each a seed"):
        hs.analyze(pd.concat([table, again]))


def test_one_cell_has_one_test_set(table):
    with pytest.raises(TableError, match="n_test 1000 and 10, rows 0 and 48"):
        hs.analyze(pd.concat([table, table.iloc[[0]].assign(n_test=10)]))


def test_mixed_metrics_of_a_dataset_are_told(table):
    table["metric"] = np.where(table.model == "net0", "top-1", "mean per-class")
    missing = hs.analyze(table, resamples=200).missing
    assert "a fair comparison on set0" in set(missing.what)


def test_upstream_accuracy_is_carried_to_other_rows(table):
    holed = table.assign(upstream_accuracy=table.upstream_accuracy.where(table.setting == "linear"))
    ours = hs.analyze(holed, resamples=200).correlations
    assert ours.equals(hs.analyze(table, resamples=200).correlations)


def test_tables_with_upstream_accuracies_of_two_kinds():
    analysis = hs.analyze("kornblith2019", "clip2021", resamples=200)
    assert len(analysis.cells) == 576 + 792
    assert analysis.upstream_name == "upstream accuracy"
    assert "one upstream accuracy for all models" in set(analysis.missing.what)
    alone = hs.analyze("clip2021", resamples=200).correlations
    both = analysis.correlations.query("setting == 'linear_probe_lbfgs'")
    assert np.allclose(both.estimate, alone.estimate)


def test_standard_errors_of_log_odds():
    columns = parse_mapping(
        "log_odds=mean_log_odds_over_12_datasets,se=se_error_bar_log_odds,"
        "upstream_accuracy=imagenet_top1_digitised,dataset:=mean of 12"
    )
    file = PUBLISHED / "kornblith2019_model_means_digitised.csv"
    cell = hs.analyze(file, columns=columns, resamples=200).cells.iloc[0]
    # MobileNet v2, fixed features: 1.0923 with a standard error of 0.0244.
    ends = 1.0923 + np.array([-1.96, 1.96]) * 0.0244
    assert (cell.low, cell.high) == pytest.approx(tuple(1 / (1 + np.exp(-ends))), abs=1e-4)


def test_percent_signs_say_the_unit(table):
    low = table.assign(
        accuracy=[f"{a:.2f}%" for a in table.accuracy],
        upstream_accuracy=[f"{100 * a:g} %" for a in table.upstream_accuracy],
    )
    analysis = hs.analyze(low, resamples=200)
    assert analysis.sources[0]["unit_rule"] == "percent signs"
    assert analysis.cells.accuracy.max() < 0.01


def test_an_index_of_any_kind(table):
    repeated = pd.concat([table[table.setting == s] for s in ("linear", "finetune")])
    repeated.index = [0] * 48
    assert len(hs.analyze(repeated, resamples=200).cells) == 48
    named = table.set_index(["model", "dataset"], drop=False)
    assert len(hs.analyze(named, resamples=200).cells) == 48
    with pytest.raises(
        TableError, match=r"row 0 \(net0, set0\): expected accuracy between 0 and 100"
    ):
        hs.analyze(repeated.assign(accuracy=-0.5))


def test_what_is_no_source():
    with pytest.raises(TableError, match="expected a path, a name or a DataFrame as source"):
        hs.analyze(None)


def test_columns_as_text(table):
    renamed = table.rename(columns={"model": "Model"})
    assert len(hs.analyze(renamed, columns="model=Model", resamples=200).cells) == 48


def test_a_dataset_called_all(table):
    with pytest.raises(TableError, match="stands for all datasets together: rename it"):
        hs.analyze(table.assign(dataset="all"))


@pytest.mark.parametrize("name", ["all", "set1", ""])
def test_groups_with_names_that_mean_something_else(table, name):
    with pytest.raises(TableError, match=f"a group cannot be called '{name}'"):
        hs.analyze(table, groups={"set0": name})


def test_nan_is_a_missing_cell(spoiled):
    def change(t):
        t.loc[0, "accuracy"] = np.nan
        return t

    outcome = spoiled(change)
    assert outcome.code == 0
    # Lines break where the path of the table, which is as long as it is, fills them.
    said = " ".join(outcome.out.split())
    assert "1 rows of" in said
    assert "they have no accuracy: those cells are missing" in said
    assert "left out (Logistic regression): model net0, cells missing: 1; of model_means, " in said


def test_all_nan(spoiled):
    assert "no row has an accuracy" in one_line(spoiled(lambda t: t.assign(accuracy=np.nan)))


def test_text_for_a_number(spoiled):
    def change(t):
        return t.astype({"accuracy": object}).assign(accuracy=["about .9", *t.accuracy[1:]])

    assert "row 2: expected a number in column 'accuracy', found 'about .9'" in one_line(
        spoiled(change)
    )


def test_infinity(spoiled):
    def change(t):
        t.loc[0, "accuracy"] = np.inf
        return t

    assert "expected a finite number in column 'accuracy', found inf" in one_line(spoiled(change))


def test_a_name_missing(spoiled):
    def change(t):
        t.loc[2, "model"] = ""
        return t

    assert "row 4: expected a name in column 'model', found nothing" in one_line(spoiled(change))


@pytest.mark.parametrize(
    "text",
    [
        lambda csv: b"\xef\xbb\xbf" + csv.encode(),
        lambda csv: csv.replace(",", ";"),
        lambda csv: csv.replace(",", "\t"),
        lambda csv: csv.replace(",", ";").replace(".", ","),
        lambda csv: csv.replace("\n", "\r\n"),
        lambda csv: csv + "\n\n",
    ],
    ids=["byte-order mark", "semicolons", "tabs", "decimal commas", "CRLF", "blank lines"],
)
def test_dialects_give_the_same(spoiled, text):
    outcome = spoiled(text=text)
    assert outcome.code == 0, outcome.err
    assert outcome.out == spoiled().out


def test_counts_may_have_thousands_apart(table):
    table = table.astype({"n_test": object}).assign(n_test="25,250")
    assert (hs.analyze(table, resamples=200).cells.n_test == 25250).all()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (lambda _: "", "has no rows"),
        (lambda csv: csv.splitlines()[0], "has no rows"),
        (lambda csv: csv + "one,two\n", "line 50: expected 7 cells as in the header, found 2"),
        (lambda _: b"\xff\xfe\x00a", "is not UTF-8 text"),
        (lambda csv: csv + '"' + "x" * 140_000 + '"', "not a CSV"),
    ],
)
def test_what_is_no_csv(spoiled, text, said):
    assert said in one_line(spoiled(text=text))


def test_a_source_that_is_not_there(cli, tmp_path):
    said = one_line(cli("analyze", tmp_path / "nothing.csv"))
    assert "expected a results store, a CSV, or one of the published tables" in said
    assert "kornblith2019-regularizers, clip2021; found nothing there" in said
    assert "found a folder without headstart.db" in one_line(cli("analyze", tmp_path))
    assert "nothing there (did you mean kornblith2019?)" in one_line(cli("analyze", "kornblit2019"))
    one_line(cli("analyze", "x" * 5000))


def test_two_columns_of_one_name(spoiled):
    said = one_line(spoiled(text=lambda csv: csv.replace("family", "model", 1)))
    assert "2 columns are called 'model'" in said


def test_sources_are_put_together(tmp_path, table):
    for setting, rows in table.groupby("setting"):
        rows.to_csv(tmp_path / f"{setting}.csv", index=False)
    both = hs.analyze(tmp_path / "linear.csv", tmp_path / "finetune.csv", resamples=200)
    whole = hs.analyze(table, resamples=200)
    assert both.settings.equals(whole.settings)
    assert [source["rows"] for source in both.sources] == [24, 24]


def test_sources_that_disagree(tmp_path, table):
    table.to_csv(tmp_path / "a.csv", index=False)
    table.assign(accuracy=0.5).to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(TableError, match=r"rows .*a\.csv:2 and .*b\.csv:2"):
        hs.analyze(tmp_path / "a.csv", tmp_path / "b.csv")


def test_results_that_other_protocols_gave_are_told_apart(table):
    linear = table[table.setting == "linear"]
    other = linear.assign(accuracy=linear.accuracy - 0.1, protocol="simclr2020", limit=np.nan)
    few = linear.assign(accuracy=linear.accuracy - 0.2, protocol="kornblith2019", limit=300)
    first = linear.assign(protocol="kornblith2019", limit=np.nan)
    cells = hs.analyze(pd.concat([first, other, few]), resamples=200).cells
    assert set(cells.setting) == {"linear (kornblith2019)", "linear (simclr2020)"}
    assert "set0 (limit 300)" in set(cells.dataset)
    assert "set0 (all images)" in set(cells.dataset)


def test_datasets_of_one_name_and_other_content_are_told_apart(table):
    """Two folders of one name; also where they give the same accuracy."""
    first, second = (table.assign(content=content) for content in ("0a1b2c3d", "99999999"))
    second = second[second.dataset == "set0"]
    names = set(hs.analyze(pd.concat([first, second]), resamples=200).cells.dataset)
    assert names == (set(table.dataset) - {"set0"}) | {"set0 (0a1b2c3d)", "set0 (99999999)"}


def test_a_table_that_says_no_content_joins_one_that_does(table):
    rows = table.assign(content=["0a1b2c3d" if row % 2 else None for row in range(len(table))])
    assert set(hs.analyze(rows, resamples=200).cells.dataset) == set(table.dataset)


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("ResNet-50", "ResNet"),
        ("resnet50", "resnet"),
        ("MobileNet v2 (1.4)", "MobileNet"),
        ("Inception-ResNet v2", "Inception-ResNet"),
        ("vit_base_patch16_224", "vit"),
        ("EfficientNet-NoisyStudent-B0", "EfficientNet-NoisyStudent"),
        ("efficientnet_lite1", "efficientnet_lite"),
        ("SimCLRv2-R50x1", "SimCLR"),
        ("mobilenetv2_100", "mobilenet"),
        ("CLIP-RN50", "CLIP-RN"),
        ("50 layers", "50 layers"),
    ],
)
def test_families_by_name(model, family):
    assert family_of(model) == family


def test_guessed_families_are_told(table):
    assert hs.analyze(table, resamples=200).sources[0]["families"] == "given"
    guessed = hs.analyze(table.drop(columns="family"), resamples=200)
    assert guessed.sources[0]["families"] == "guessed"
    assert set(guessed.cells.family) == {"net"}


@pytest.mark.parametrize("suffix", ["toml", "csv"])
def test_groups_from_a_file(tmp_path, table, suffix):
    text = {
        "toml": 'hard = ["set0", "set1"]\neasy = ["set2"]\n',
        "csv": "dataset,group\nset0,hard\nset1,hard\nset2,easy\n",
    }
    file = tmp_path / f"groups.{suffix}"
    file.write_text(text[suffix])
    found = hs.analyze(table, groups=file, resamples=200).correlations
    counts = found.drop_duplicates("group").set_index("group").n_datasets
    assert counts[["all", "hard", "easy"]].tolist() == [4, 2, 1]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("g.toml", 'hard = ["set9"]', "dataset 'set9' is not in the table; it has: set0, set1"),
        ("g.toml", 'hard = "set0"', "expected 'hard' to be a list of datasets"),
        ("g.toml", "hard = [", "is not a TOML file"),
        ("g.toml", 'a = ["set0"]\nb = ["set0"]', "dataset 'set0' is in two groups"),
        ("g.csv", "a,b\n1,2\n", "expected columns dataset and group, found a, b"),
    ],
)
def test_groups_that_cannot_be(spoiled, tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    assert said in one_line(spoiled(None, "--groups", tmp_path / name))


def test_groups_file_missing(spoiled, tmp_path):
    assert "groups.toml" in one_line(spoiled(None, "--groups", tmp_path / "groups.toml"))
