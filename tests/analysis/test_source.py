"""Tables as people have them, and what is said of those that cannot be."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import headstart as hs
from headstart.analysis.tables.canonical_names import family_of
from headstart.analysis.tables.column_names import parse_mapping
from headstart.analysis.tables.results_sources import read_sources
from headstart.analysis.tables.tidy_table import ReadOptions
from refusals import refused
from tables import quick

PUBLISHED = Path(__file__).parent / "published"


def test_a_good_table_is_analysed(spoiled):
    outcome = spoiled()
    assert outcome.code == 0
    assert "48 results, accuracies in proportion (all at most 1)" in outcome.out


@pytest.mark.parametrize(("file", "columns", "cells"), [
    ("tll_model_selection_finetune.csv", "upstream_accuracy=imagenet_top1", 80),
    ("simclr_byol_supcon_tables.csv", "upstream_accuracy=imagenet_top1", 216),
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
])  # fmt: skip
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


def spoil(column, value, row=0):
    """Return a change of one cell of the table."""

    def change(table):
        table = table.astype({column: object}) if isinstance(value, str) else table.copy()
        table.loc[row, column] = value
        return table

    return change


def also(row=0, **values):
    """Return a change that repeats a row with other values."""
    return lambda table: pd.concat([table, table.iloc[[row]].assign(**values)])


def filled(**values):
    return lambda table: table.assign(**values)


def unnumbered(table):
    table = table.astype({"accuracy": object})
    table.loc[[0, 4, 9], "accuracy"] = ["about .9", "x1", "high"]
    return table


def partly_percent(table):
    table.loc[table.index[:5], "accuracy"] *= 100
    return table


REFUSED = [
    *((lambda t, c=column: t.rename(columns={c: "other name"}), "table.column_missing",
       {"column": column}) for column in ("model", "dataset", "setting", "accuracy")),
    (lambda t: t.rename(columns={"family": "model"}), "table.column_twice", {"count": 2}),
    (lambda _: None, "table.source", {}),
    (filled(dataset="all"), "table.dataset_all", {}),
    (filled(accuracy=np.nan), "table.no_accuracy", {}),
    (spoil("model", "", 2), "table.name_missing", {"column": "model", "rows": [2]}),
    (unnumbered, "table.cells",
     {"count": 3, "cells": [(0, "accuracy", "about .9"), (4, "accuracy", "x1"),
                            (9, "accuracy", "high")]}),
    (partly_percent, "table.unit_mixed", {"group": "set0"}),
    # Upstream accuracies have to have log odds.
    *((filled(upstream_accuracy=value), "table.range", {"count": 48}) for value in (0.0, 1.0)),
    *((filled(**{column: value}), "table.range", {"count": 48}) for column, value in (
        ("n_test", -5), ("n_test", 0.5), ("n_test", 1e300), ("seed", 1.5), ("se", -0.01),
        ("steps", 0), ("steps", 10**400))),
    # pandas reads the real part of one, and nanoseconds of the other.
    *((filled(accuracy=value), "table.cells", {"count": 48})
      for value in (0.5 + 1j, pd.Series([0.5 + 1j] * 48, dtype=object),
                    pd.Timestamp("2020-01-01"), pd.Timedelta(1, "s"))),
    (also(7, accuracy=0.123), "table.rows_disagree",
     {"column": "accuracy", "rows": [7, 48],
      "cell": {"model": "net1", "dataset": "set3", "setting": "linear"}}),
    (also(n_test=10), "table.rows_disagree", {"column": "n_test", "values": [1000, 10]}),
    (lambda t: t.drop(columns="setting").assign(setting="linear"), "table.rows_disagree",
     {"rows": [0, 24]}),
    (also(seed=0, accuracy=0.5), "table.seed_missing", {}),
    (spoil("upstream_accuracy", 0.7), "table.upstream_differs",
     {"model": "net0", "setting": "linear", "found": [0.7, 0.65]}),
]  # fmt: skip


@pytest.mark.parametrize(("change", "code", "values"), REFUSED)
def test_tables_that_are_refused(table, change, code, values):
    with refused(code, **values) as error:
        read_sources([change(table)])
    if code == "table.column_missing":
        assert "other name" in error.value.values["found"]


@pytest.mark.parametrize("unit", [None, "percent", "proportion"])
@pytest.mark.parametrize(("column", "value"), [
    ("accuracy", 100.5), ("accuracy", -0.1), ("accuracy", np.inf), ("upstream_accuracy", -1),
])  # fmt: skip
def test_accuracies_out_of_range(table, column, value, unit):
    if unit != "proportion":
        table[["accuracy", "upstream_accuracy"]] *= 100
    table.loc[3, column] = value
    with refused("table.range", cells=[(3, column, value)]):
        read_sources([table], None, ReadOptions(unit=unit))


@pytest.mark.parametrize(("mapping", "code", "values"), [
    ("model", "table.mapping", {"found": "model"}),
    ("modell=Model", "table.mapping_name", {"name": "modell", "near": ["model"]}),
    ("model=Mdel", "table.column_missing", {"column": "Mdel", "near": ["model"]}),
    ("model=model+Mdel", "table.column_missing", {"column": "Mdel", "near": ["model"]}),
    ("model=#9", "table.column_missing", {"column": "#9"}),
])  # fmt: skip
def test_a_wrong_mapping(table, mapping, code, values):
    with refused(code, **values):
        read_sources([table], mapping)


@pytest.mark.parametrize(("text", "code"), [
    (lambda _: "", "table.empty"), (lambda csv: csv.splitlines()[0], "table.empty"),
    (lambda csv: csv + "one,two\n", "table.row_width"),
    (lambda _: b"\xff\xfe\x00\xd8\x00a", "table.not_text"),
    (lambda csv: csv + "\x07", "table.not_text"),
    (lambda csv: csv + '"' + "x" * 140_000 + '"', "table.csv"),
    (lambda csv: csv + '"never closed', "table.csv"),
])  # fmt: skip
def test_what_is_no_csv(tmp_path, table, text, code):
    content = text(table.to_csv(index=False))
    (tmp_path / "t.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with refused(code):
        read_sources([tmp_path / "t.csv"])


def test_a_source_that_is_not_there(tmp_path):
    for source in (tmp_path / "nothing.csv", tmp_path, "nothing.csv?model:=a"):
        with refused("table.not_found"):
            read_sources([source])
    with refused("table.not_found", near=["kornblith2019"]):
        read_sources(["kornblit2019"])
    with refused("storage.unusable"):
        read_sources(["x" * 5000])


def test_rows_that_disagree_are_named_with_their_files(tmp_path, table):
    files = [tmp_path / "a.csv", tmp_path / "b.csv"]
    for file, change in zip(files, ({}, {"accuracy": 0.5}), strict=True):
        table.assign(**change).to_csv(file, index=False)
    with refused("table.rows_disagree", rows=[f"{file}:2" for file in files]):
        read_sources(files)


@pytest.mark.parametrize(("groups", "code", "values"), [
    *(({"set0": name}, "table.group_name", {"group": name}) for name in ("all", "set1", "")),
    ('hard = ["set9"]', "table.group_dataset", {"dataset": "set9"}),
    ('hard = "set0"', "table.group_form", {"group": "hard"}), ("hard = [", "toml.syntax", {}),
    ('a = ["set0"]\nb = ["set0"]', "table.group_twice", {"dataset": "set0"}),
    ("a,b\n1,2\n", "table.group_columns", {"found": ["a", "b"]}), (None, "storage.unusable", {}),
])  # fmt: skip
def test_groups_that_cannot_be(tmp_path, table, groups, code, values):
    if not isinstance(groups, dict):
        file = tmp_path / ("g.csv" if groups and groups[1] == "," else "g.toml")
        if groups is not None:
            file.write_text(groups)
        groups = file
    with refused(code, **values):
        hs.analyze(table, groups=groups, resamples=200)


def test_a_stated_unit_and_a_mapping_repair_a_table(spoiled):
    def change(table):
        table[["accuracy", "upstream_accuracy"]] *= 100
        table.loc[0, "accuracy"] = 0.4
        return table.rename(columns={"model": "Model", "accuracy": "acc"})

    mapping = ("--columns", "model=Model,accuracy=acc")
    mixed = spoiled(change, *mapping).error
    assert mixed.code == "table.unit_mixed"
    assert sorted(value > 1 for value in mixed.values["values"]) == [False, True]

    def sign(table):
        table["accuracy"] = table["accuracy"].astype(str)
        table.loc[0, "accuracy"] = "0.5%"
        return table

    assert spoiled(sign).error.values["values"][1] == "0.5%"
    stated = spoiled(change, *mapping, "--unit", "percent")
    assert stated.code == 0
    assert "accuracies in percent (stated)" in stated.out


def test_each_column_and_each_dataset_has_a_unit(table):
    """Upstream accuracies in percent; of the accuracies, one dataset's."""
    change = table.assign(upstream_accuracy=100 * table.upstream_accuracy)
    change.loc[change.dataset == "set2", "accuracy"] *= 100
    found, expected = read_sources([change]), read_sources([table])
    assert np.allclose(found.frame.accuracy, expected.frame.accuracy)
    assert np.allclose(found.frame.upstream_accuracy, expected.frame.upstream_accuracy)
    assert found.facts[0]["unit"] == "percent and proportion"
    assert "set0, set1, set3" in found.facts[0]["unit_rule"]


def test_cells_that_agree_are_one(table):
    twice = hs.analyze(pd.concat([table, table.iloc[[7]]]), resamples=200)
    assert len(twice.cells) == 48
    assert (twice.cells.n_seeds == 1).all()


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
    assert analysis.predictor.label == "upstream accuracy"
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
    index = table.set_index(["model", "dataset"])
    assert len(hs.analyze(index, resamples=200).cells) == 48
    with refused("table.range") as error:
        read_sources([repeated.assign(accuracy=-0.5)])
    assert error.value.values["cells"][1] == (1, "accuracy", -0.5)


@pytest.mark.parametrize("value", [1e200, -1e300, pytest.param(10**400, id="1e400")])
def test_a_predictor_whose_square_is_too_large_is_refused(table, value):
    with refused("table.range", count=48):
        quick(table.assign(p=value), predictor="p:number")


def test_a_table_of_another_library_is_read_as_pandas_has_it(table):
    expected = read_sources([table]).frame
    found = read_sources([pa.Table.from_pandas(table)]).frame
    pd.testing.assert_frame_equal(found, expected)
    with refused("table.source"):
        read_sources([pa.array([0.5])])


def test_nan_is_a_missing_cell(spoiled):
    def change(t):
        t.loc[0, "accuracy"] = np.nan
        return t

    outcome = spoiled(change)
    assert outcome.code == 0
    # Lines break where the path of the table, which is as long as it is, fills them.
    said = " ".join(outcome.out.split())
    assert "1 cell of" in said
    assert "no accuracy given: missing" in said
    assert "Logistic regression: 6 models on 4 datasets, 23 of 24 cells; means over" in said


def test_sources_are_put_together(tmp_path, table):
    for setting, rows in table.groupby("setting"):
        rows.to_csv(tmp_path / f"{setting}.csv", index=False)
    both = hs.analyze(tmp_path / "linear.csv", tmp_path / "finetune.csv", resamples=200)
    whole = hs.analyze(table, resamples=200)
    assert both.settings.equals(whole.settings)
    assert [source["rows"] for source in both.sources] == [24, 24]


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


@pytest.mark.parametrize(("model", "family"), [
    ("ResNet-50", "ResNet"), ("resnet50", "resnet"), ("MobileNet v2 (1.4)", "MobileNet"),
    ("Inception-ResNet v2", "Inception-ResNet"), ("vit_base_patch16_224", "vit"),
    ("EfficientNet-NoisyStudent-B0", "EfficientNet-NoisyStudent"),
    ("efficientnet_lite1", "efficientnet_lite"), ("SimCLRv2-R50x1", "SimCLR"),
    ("mobilenetv2_100", "mobilenet"), ("CLIP-RN50", "CLIP-RN"), ("50 layers", "50 layers"),
])  # fmt: skip
def test_families_by_name(model, family):
    assert family_of(model) == family


def test_guessed_families_are_told(table):
    assert hs.analyze(table, resamples=200).sources[0]["families"] == "given"
    guessed = hs.analyze(table.drop(columns="family"), resamples=200)
    assert guessed.sources[0]["families"] == "guessed"
    assert set(guessed.cells.family) == {"net"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("suffix", ["toml", "csv"])
def test_groups_from_a_file(tmp_path, table, suffix, encoding):
    text = {
        "toml": 'hard = ["set0", "set1"]\neasy = ["set2"]\n',
        "csv": "dataset,group\nset0,hard\nset1,hard\nset2,easy\n",
    }
    file = tmp_path / f"groups.{suffix}"
    file.write_text(text[suffix], encoding=encoding)
    found = hs.analyze(table, groups=file, resamples=200).correlations
    counts = found.drop_duplicates("group").set_index("group").n_datasets
    assert counts[["all", "hard", "easy"]].tolist() == [4, 2, 1]
