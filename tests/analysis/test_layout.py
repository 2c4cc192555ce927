"""What stands across a table, and how it is recognized; small tables with cells known by eye."""

import io

import numpy as np
import pandas as pd
import pytest

from headstart.analysis.tables.results_sources import read_sources
from headstart.analysis.tables.tidy_table import ReadOptions
from refusals import refused


def read(tmp_path, text, columns=None, name="t.csv", **options):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return read_sources([tmp_path / name], columns, ReadOptions(**options))


def cells(source, *by) -> dict:
    by = by or ("model", "dataset")
    frame = source.frame.assign(accuracy=(100 * source.frame.accuracy).round(6))
    return frame.set_index(list(by)).accuracy.to_dict()


SQUARE = {("a", "pets"): 90.0, ("a", "cars"): 80.0, ("b", "pets"): 91.5, ("b", "cars"): 81.5}


@pytest.mark.parametrize(("text", "columns"), [
    ("model,pets,cars\na,90,80\nb,91.5,81.5\n", None),
    ("Method,Pets,Cars,Avg.,Params (M)\na,90,80,85,25\nb,91.5,81.5,86.5,26\n", None),
    # Names of rows without a header.
    ("pets\tcars\na\t90\t80\nb\t91.5\t81.5\n", None),
    ("rank,Backbone,pets,cars\n1,a,90,80\n2,b,91.5,81.5\n", None),
    (",pets,cars\na,90,80\nb,91.5,81.5\n", None),
    (",paper,pets,cars\n0,a,90,80\n1,b,91.5,81.5\n", "model=paper"),
    ("model,pets_top1,cars_acc,year\na,90,80,2020\nb,91.5,81.5,2021\n", None),
    ("model,pets err,Cars Error (%)\na,10,20\nb,8.5,18.5\n", None),
    ("model,pets,cars,Dim,pets_n\na,90,80,768,3669\nb,91.5,81.5,512,3669\n", None),
    ("model,pets,cars\n,%,%\na,90,80\nb,91.5,81.5\n", None),
    ("model,pets,cars\n[a](https://x.org),90,80\n[b](https://y.org),91.5,81.5\n", None),
    ("dataset,a,b\npets,90,91.5\ncars,80,81.5\nAverage,85,86.5\n", None),
    ("Model,a,b\npets,90,91.5\ncars,80,81.5\n", None), (",a,b\npets,90,91.5\ncars,80,81.5\n", None),
    ("model,Pets (%),Cars (%)\na,90,80\nb,91.5,81.5\n", None),
    ("model,Pets \N{DOWNWARDS ARROW},Cars \N{DOWNWARDS ARROW}\na,10,20\nb,8.5,18.5\n", None),
    ("model,pets,pets_std,cars,cars_std\na,90,1.1,80,2.1\nb,91.5,1.2,81.5,2.2\n", None),
])  # fmt: skip
def test_models_across_or_in_rows(tmp_path, text, columns):
    found = cells(read(tmp_path, text, columns))
    assert {(model, dataset.lower()): v for (model, dataset), v in found.items()} == SQUARE


def test_names_that_nobody_knows(tmp_path):
    text = ",x,y\np,90,80\nq,91.5,81.5\n"
    with refused("table.orientation"):
        read(tmp_path, text)
    assert cells(read(tmp_path, text, wide=True))["p", "y"] == 80
    assert cells(read(tmp_path, text, "model=#1"))["p", "y"] == 80
    assert cells(read(tmp_path, text, "dataset=#1"))["y", "p"] == 80


@pytest.mark.parametrize("text", [
    ",Linear,,Fine-tuned,\nModel,pets,cars,pets,cars\na,90,80,91,81\n",
    "setting,linear,linear,finetune,finetune\ndataset,pets,cars,pets,cars\nmodel,,,,\n"
    "a,90,80,91,81\n",
    ",pets,,cars,\nmodel,LP,FT,LP,FT\na,90,91,80,81\n".replace("LP", "linear"),
    "model,dataset,linear,finetune\na,pets,90,91\na,cars,80,81\n",
])  # fmt: skip
def test_settings_in_the_header(tmp_path, text):
    found = cells(read(tmp_path, text), "dataset", "setting")
    kinds = {(dataset, "ft" if setting.lower()[0] == "f" else "lp"): value
             for (dataset, setting), value in found.items()}  # fmt: skip
    assert kinds == {("pets", "lp"): 90, ("cars", "lp"): 80, ("pets", "ft"): 91, ("cars", "ft"): 81}


def test_groups_of_datasets_in_the_header(tmp_path):
    text = ",Natural,,Structured\nmodel,pets,cars,dSprites\na,90,80,50\n"
    source = read(tmp_path, text)
    assert cells(source, "dataset") == {"pets": 90, "cars": 80, "dSprites": 50}
    assert set(source.frame.setting) == {"transfer"}


def test_measures_and_spreads_in_the_header(tmp_path):
    text = ",pets,,cars,\nmodel,acc,std,acc,std\na,90,1.5,80,2.5\n"
    frame = read(tmp_path, text).frame
    assert frame.se.tolist() == pytest.approx([0.015, 0.025])
    assert read(tmp_path, text, spread="sd:4").frame.se.tolist() == pytest.approx([0.0075, 0.0125])


@pytest.mark.parametrize(("below", "numbers", "left_out"), [
    (("acc", "n"), "{0},3669", "n"), (("accuracy", "f1"), "{0},55.5", "f1"),
    (("test_acc", "val_acc"), "{0},99", "val_acc"), (("train", "test"), "99,{0}", "train"),
    (("mean", "std", "n"), "{0},0.3,5", "n"), (("error", "n"), "{1},100", "n"),
    (("err", "std"), "{1},0.3", None),
    (("acc", "acc_stderr"), "{0},0.3", None), (("top1", "precision"), "{0},50", "precision"),
])  # fmt: skip
@pytest.mark.parametrize("first", ["model", "dataset", "measures above"])
def test_other_measures_below_a_dataset_are_no_settings(tmp_path, below, numbers, left_out, first):
    value = {("a", "pets"): 90, ("a", "cars"): 80, ("b", "pets"): 70, ("b", "cars"): 60}
    rows, over = (("pets", "cars"), "ab") if first == "dataset" else ("ab", ("pets", "cars"))
    pairs = [(one, measure) for one in over for measure in below]
    table = [[""], [first.split()[0] if first != "measures above" else "model"]]
    for one, measure in pairs:
        table[0].append(one)
        table[1].append(measure)
    for row in rows:
        ends = [value.get((row, one), value.get((one, row))) for one in over]
        table.append([row, *",".join(numbers.format(v, 100 - v) for v in ends).split(",")])
    if first == "measures above":
        table[0][1:], table[1][1:] = table[1][1:], table[0][1:]
    source = read(tmp_path, "".join(f"{','.join(map(str, row))}\n" for row in table))
    assert cells(source) == value
    assert set(source.frame.setting) == {"transfer"}
    if left_out:
        assert any("left out" in note and left_out in note for note in source.facts[0]["reading"])


def test_a_data_frame_with_levels():
    columns = pd.MultiIndex.from_product([["linear", "finetune"], ["pets", "cars"]])
    for index in (pd.Index(["a"], name="model"), pd.Index(["a"], name="Backbone"), ["a"]):
        frame = pd.DataFrame([[90, 80, 91, 81]], index=index, columns=columns)
        found = cells(read_sources([frame]), "model", "setting", "dataset")
        assert found["a", "finetune", "cars"] == 81
        assert found["a", "linear", "pets"] == 90


def test_the_imagenet_column_is_the_upstream_accuracy(tmp_path):
    wide = read(
        tmp_path, "model,ImageNet,pets,cars\nresnet50,76.1,92.1,89.1\nvgg16,71.6,90.2,86.1\n"
    )
    assert set(wide.frame.dataset) == {"pets", "cars"}
    assert wide.frame.upstream_accuracy.tolist() == pytest.approx([0.761, 0.761, 0.716, 0.716])
    rows = read(tmp_path, "dataset,a,b\nImageNet-1k,76.1,71.6\npets,90,91\n")
    assert rows.frame.upstream_accuracy.tolist() == pytest.approx([0.761, 0.716])
    long = read(tmp_path, 'model,"ImageNet, top-1",dataset,setting,accuracy\na,76.1,pets,ft,92.1\n')
    assert long.frame.upstream_accuracy.tolist() == pytest.approx([0.761])


@pytest.mark.parametrize("mapping", ['upstream_accuracy="A, ""b"" c",model=net',
                                     'upstream_accuracy=A, "b" c,model=net'])  # fmt: skip
def test_headers_with_commas_and_quotes(tmp_path, mapping):
    text = 'net,"A, ""b"" c",dataset,setting,accuracy\nx,76.1,pets,ft,92.1\n'
    frame = read(tmp_path, text, mapping).frame
    assert frame.upstream_accuracy.tolist() == pytest.approx([0.761])


def test_a_name_of_several_columns(tmp_path):
    text = "Arch,Pretraining,pets\nViT,IN1k,90\nViT,CLIP,91\nResNet,,80\n"
    with refused("table.rows_per_model") as error:
        read(tmp_path, text)
    joined = cells(read(tmp_path, text, error.value.values["suggestion"]), "model")
    assert joined == {"ViT IN1k": 90, "ViT CLIP": 91, "ResNet": 80}


@pytest.mark.parametrize(
    ("text", "code", "values"),
    [
        ("Arch,Data,pets\nViT,IN,90\n,CLIP,91\n", "table.name_missing", {"rows": ["3 (pets)"]}),
        ("model,pets,cars\na,92.1(3),80\nb,91.5(2),81\n", "table.cells", {"count": 2}),
        # With commas it may as well be a decimal comma.
        ("model,pets\na,90,5\nb,91,5\n", "table.row_width", {}),
        ("Method,Backbone,pets\nMAE,ViT-B,90\n", "table.column_ambiguous",
         {"found": ["Method", "Backbone"]}),
        (",pets,\nmodel,acc,mAP\na,90,1.5\n", "table.column_twice", {}),
        ("model,dataset,metric,accuracy\na,pets,top-1,90\na,pets,top-5,99\n",
         "table.rows_disagree", {"column": "metric"}),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path, text, code, values):
    with refused(code, **values):
        read(tmp_path, text, "model=Arch+Data" if text.startswith("Arch") else None)


def test_averages_are_no_datasets(tmp_path):
    source = read(tmp_path, "model,dataset,accuracy\na,pets,90\na,cars,80\na,Average,85\n")
    assert cells(source, "dataset") == {"pets": 90, "cars": 80}
    assert "rows left out: dataset Average" in source.facts[0]["reading"]
    # A dataset of that name has other numbers.
    own = read(tmp_path, "model,dataset,accuracy\na,pets,90\na,cars,80\na,mean,50\n")
    assert cells(own, "dataset") == {"pets": 90, "cars": 80, "mean": 50}


def test_averages_are_no_models(tmp_path):
    for text in (
        "model,pets,cars\na,90,80\nb,92,82\nmean,91,81\n",
        "dataset,a,b,Average\npets,90,92,91\ncars,80,82,81\n",
        "model,dataset,accuracy\na,pets,90\na,cars,80\nb,pets,92\nb,cars,82\navg,pets,91\navg,cars,81\n",
    ):
        source = read(tmp_path, text)
        assert sorted(source.frame.model.unique()) == ["a", "b"]
        assert any("left out" in note for note in source.facts[0]["reading"])
    own = read(tmp_path, "model,dataset,accuracy\na,pets,90\nb,pets,92\nmean,pets,50\n")
    assert cells(own, "model") == {"a": 90, "b": 92, "mean": 50}


def test_one_name_in_two_spellings_is_said(tmp_path):
    rows = "model,dataset,accuracy\nResNet-18,Food101,60\nresnet18,pets,70\nvit,food101,50\n"
    reading = " ".join(read(tmp_path, rows).facts[0]["reading"])
    assert "datasets 'Food101' and 'food101' are taken for 2" in reading
    assert "models 'ResNet-18' and 'resnet18' are taken for 2" in reading


def test_imagenet_alone_is_the_dataset(tmp_path):
    source = read(tmp_path, "model,ImageNet\na,76\nb,80\n")
    assert cells(source) == {("a", "ImageNet"): 76, ("b", "ImageNet"): 80}


def test_error_rates_are_converted(tmp_path):
    expected = {"a": 92.1, "b": 90.0}
    for text, columns, options in (
        ("model,err\na,7.9\nb,10\n", None, {}),
        ("model,Top-1 error (%)\na,7.9\nb,10\n", None, {}),
        ("model,x\na,7.9\nb,10\n", "error=x", {}),
        ("model,accuracy\na,7.9\nb,10\n", None, {"measure": "error"}),
        ("model,accuracy,metric\na,7.9,top-1 error\nb,10,top-1 error\n", None, {}),
        ("model,pets\na,0.079\nb,0.1\n", None, {"measure": "error"}),
    ):
        source = read(tmp_path, text, columns, **options)
        assert cells(source, "model") == expected, text
        assert any("converted" in note for note in source.facts[0]["reading"])
    for text, measure in (
        ("model,ImageNet,pets\na,24,7.9\nb,20,10\n", "error"),
        ("model,ImageNet \u2193,pets \u2193\na,24,7.9\nb,20,10\n", "accuracy"),
        ("dataset,a,b\nImageNet,24,20\npets,7.9,10\n", "error"),
    ):
        frame = read(tmp_path, text, measure=measure).frame
        assert frame.accuracy.tolist() == pytest.approx([0.921, 0.9])
        assert frame.upstream_accuracy.tolist() == pytest.approx([0.76, 0.8])
    both = read(tmp_path, "model,error,accuracy\na,7.9,92.1\n")
    assert cells(both, "model") == {"a": 92.1}


def test_what_a_table_leaves_out_is_said(tmp_path):
    source = read(tmp_path, "model,accuracy\na,90\nb,80\n", name="food101.csv")
    assert set(source.frame.dataset) == {"food101"}
    assert set(source.frame.setting) == {"transfer"}
    reading = " ".join(source.facts[0]["reading"])
    assert "no column dataset" in reading
    assert "no column setting" in reading
    wide = read(tmp_path, "model,paper,pets,year\na,x,90,2020\nb,y,80,2021\n")
    assert "columns left out: year, paper" in wide.facts[0]["reading"]


def test_capitals_and_signs_of_a_header_do_not_count(tmp_path):
    text = (
        'MODEL,Data Set,Setting,Accuracy,N test,Params (M),GMACs\na,pets,ft,90,"3,669",25.6,4.1\n'
    )
    frame = read(tmp_path, text).frame
    row = frame.iloc[0]
    assert (row.dataset, row.n_test) == ("pets", 3669)
    assert (row.parameters, row.multiply_adds) == pytest.approx((25.6e6, 4.1e9))


def test_a_file_of_its_own_names(tmp_path):
    for name, value in (("a.csv", 90), ("b.csv", 0.8)):
        (tmp_path / name).write_text(f"net,score\nx,{value}\n")
    source = read_sources(
        [f"{tmp_path}/a.csv?dataset:=food101", f"{tmp_path}/b.csv?dataset:=pets,unit:=proportion"],
        "model=net,setting:=linear",
    )
    assert cells(source, "dataset", "setting") == {
        ("food101", "linear"): 90,
        ("pets", "linear"): 80,
    }
    odd = tmp_path / "odd?dataset:=x.csv"
    odd.write_text("model,accuracy\na,90\n")
    assert read_sources([odd]).facts[0]["name"] == str(odd)
    with refused("table.mapping_name"):
        read_sources([f"{tmp_path}/a.csv?datset:=x"])


def test_duplicated_rows_are_counted(tmp_path):
    text = "model,dataset,setting,accuracy\na,pets,ft,90\na,pets,ft,90\nb,pets,ft,80\n"
    source = read(tmp_path, text)
    assert source.facts[0]["duplicates"] == 1
    assert cells(source, "model") == {"a": 90, "b": 80}
    with refused("table.rows_disagree"):
        read(tmp_path, text + "a,pets,ft,91\n")
    average = read(tmp_path, text + "a,pets,ft,91\n", duplicates="average")
    assert average.frame.groupby("model").accuracy.apply(list).to_dict() == {
        "a": pytest.approx([0.9, 0.9, 0.91]), "b": pytest.approx([0.8]),
    }  # fmt: skip
    assert average.frame.groupby("model").seed.apply(list)["a"] == [0, 1, 2]


def test_options_that_are_none():
    for option in ({"unit": "%"}, {"measure": "loss"}, {"spread": "sd"}, {"duplicates": "drop"}):
        with refused("table.option", option=next(iter(option))):
            ReadOptions(**option)


def test_large_tables_are_read_at_once(monkeypatch):
    """A column is parsed once, whatever the number of rows: no cell is looked at by itself."""
    import headstart.analysis.tables.column_names as columns

    calls = []
    real = columns.parse_numbers
    monkeypatch.setattr(columns, "parse_numbers", lambda *a: calls.append(1) or real(*a))
    numbers = np.random.default_rng(0).uniform(50, 99, (200, 200)).round(2)
    frame = pd.DataFrame(numbers).add_prefix("d").assign(model=[f"m{i}" for i in range(200)])
    text = io.StringIO()
    frame.to_csv(text, index=False)
    source = read_sources([pd.read_csv(io.StringIO(text.getvalue()))])
    assert len(source.frame) == 40_000
    assert len(calls) == 200
