"""Tables of paths and labels."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headstart.datasets.names import DatasetName
from headstart.datasets.sources.table import TableSource
from headstart.errors import DatasetError, DatasetMissingError

FILES = [f"{i}.png" for i in range(6)]


@pytest.fixture
def folder(tmp_path):
    for name in FILES:
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def read(name):
    return TableSource().read(DatasetName.parse(str(name)), Path())


def write(path, *rows, encoding="utf-8"):
    path.write_text("".join(f"{row}\n" for row in rows), encoding=encoding)
    return path


def names(archive, part="all"):
    return [path.name for path in archive.parts[part].images.paths]


def test_a_table_of_paths_and_labels(folder):
    archive = read(write(folder / "t.csv", "path,label", "1.png,dog", "0.png,cat", "2.png,dog"))
    assert archive.classes == ("cat", "dog")
    assert list(archive.parts) == ["all"]
    part = archive.parts["all"]
    assert part.images.where(0) == str(folder / "1.png")
    assert names(archive) == ["1.png", "0.png", "2.png"]
    assert part.labels.tolist() == [1, 0, 1]
    assert part.labels.dtype == np.int64
    assert part.rows.tolist() == [0, 1, 2]
    assert archive.groups == {}


@pytest.mark.parametrize(("header", "options"), [
    ("x,filename,class", ""), ("x,Image,Target", ""), ("x,image_path,labels", ""),
    ("label,file,kind", "?label=kind"), ("path,a b,label", "?path=a b"),
    ("a,b,c", "?path=b&label=c"),
])  # fmt: skip
def test_columns_are_found_or_named(folder, header, options):
    table = write(folder / "t.csv", header, "u,0.png,cat", "v,1.png,dog")
    archive = read(f"{table}{options}")
    assert names(archive) == ["0.png", "1.png"]
    assert archive.classes == ("cat", "dog")


def test_text_is_taken_as_it_is(folder):
    """No cell becomes a number or nothing; blanks around text are not part of it."""
    rows = ["0.png,NA", "1.png, null", "2.png,007 ", " 3.png,True", '4.png,"a,b"', "", "5.png,ü"]
    archive = read(write(folder / "t.csv", "path, label ", *rows, encoding="utf-8-sig"))
    labels = archive.parts["all"].labels
    found = [archive.classes[label] for label in labels]
    assert found == ["NA", "null", "007", "True", "a,b", "ü"]
    assert names(archive) == FILES


def test_numbers_are_sorted_as_numbers(folder):
    table = write(folder / "t.tsv", "path\tlabel", "0.png\t10", "1.png\t9", "2.png\t-1")
    assert read(table).classes == ("-1", "9", "10")
    table = write(folder / "t.tsv", "path\tlabel", "0.png\t10", "1.png\t9", "2.png\tx")
    assert read(table).classes == ("10", "9", "x")


def test_where_paths_start(folder):
    (folder / "tables").mkdir()
    table = folder / "tables" / "t.csv"
    write(table, "path,label", "../0.png,a", f"{folder}/1.png,b")
    assert names(read(table)) == ["0.png", "1.png"]
    write(table, "path,label", "0.png,a", "1.png,b")
    assert names(read(f"{table}?root=..")) == names(read(f"{table}?root={folder}"))
    assert read(f"{table}?root=..").parts["all"].images.paths[0].samefile(folder / "0.png")


@pytest.mark.parametrize(("column", "options"), [
    ("split", ""), ("Fold", ""), ("set", "?split=set"),
])  # fmt: skip
def test_a_column_of_splits(folder, column, options):
    table = write(
        folder / "t.csv", f"path,label,{column}",
        "0.png,b,test", "1.png,a,Val", "2.png,b,train", "3.png,a,train", "4.png,a,TEST",
    )  # fmt: skip
    archive = read(f"{table}{options}")
    assert list(archive.parts) == ["train", "validation", "test"]
    assert names(archive, "train") == ["2.png", "3.png"]
    assert names(archive, "validation") == ["1.png"]
    assert names(archive, "test") == ["0.png", "4.png"]
    assert archive.parts["test"].labels.tolist() == [1, 0]
    assert archive.parts["test"].rows.tolist() == [0, 1]


def test_a_column_of_splits_that_is_none(folder):
    table = write(folder / "t.csv", "path,label,fold", "0.png,a,1", "1.png,b,2")
    assert list(read(f"{table}?split=").parts) == ["all"]
    table = write(folder / "t.csv", "path,label,split", "0.png,a,train", "1.png,b,test")
    assert list(read(f"{table}?split=").parts) == ["all"]


def test_groups(folder):
    rows = ["0.png,a,p9,train", "1.png,b,p1,test", "2.png,b,p9,train", "3.png,b,p4,train"]
    table = write(folder / "t.csv", "path,label,patient,split", *rows)
    assert read(table).groups == {}
    groups = read(f"{table}?group=patient").groups
    assert {part: numbers.tolist() for part, numbers in groups.items()} == {
        "train": [2, 2, 1], "test": [0],
    }  # fmt: skip
    groups = read(f"{table}?group=patient&split=").groups
    assert groups["all"].tolist() == [2, 0, 2, 1]
    assert groups["all"].dtype == np.int64


def test_several_labels_in_a_cell(folder):
    rows = ["0.png,dog|cat", "1.png,", "2.png, cat | cat |", "3.png,emu"]
    table = write(folder / "t.csv", "path,label", *rows)
    name = f"{table}?sep=|"
    archive = read(name)
    assert archive.classes == ("cat", "dog", "emu")
    expected = [[1, 1, -1], [-1, -1, -1], [1, -1, -1], [-1, -1, 1]]
    assert archive.parts["all"].labels.tolist() == expected
    assert archive.parts["all"].labels.dtype == np.int64
    assert TableSource().describe(DatasetName.parse(name)).metric == "voc-map-11point"
    write(table, "path,label", "0.png,dog|cat", "1.png,dog")
    whole = f"{table}?sep="
    assert TableSource().describe(DatasetName.parse(whole)).metric == "top-1"
    assert read(whole).classes == ("dog", "dog|cat")


def test_parquet(folder):
    table = folder / "t.parquet"
    columns = {"path": FILES[:3], "label": [10, 9, 10], "big": [b"x" * 100] * 3}
    pq.write_table(pa.table(columns), table)
    archive = read(table)
    assert archive.classes == ("9", "10")
    assert archive.parts["all"].labels.tolist() == [1, 0, 1]
    as_categories = pa.array(["b", "a", "b"]).dictionary_encode()
    pq.write_table(pa.table(columns | {"label": as_categories}), table)
    assert read(table).classes == ("a", "b")
    pq.write_table(pa.table(columns | {"label": [2.0, 1.0, 2.0]}), table)
    assert read(table).classes == ("1", "2")


def test_parquet_with_lists_of_labels(folder):
    table = folder / "t.parquet"
    pq.write_table(pa.table({"path": FILES[:3], "label": [["b", "a"], [], ["b"]]}), table)
    asked = DatasetName.parse(str(table))
    assert TableSource().describe(asked).metric == "voc-map-11point"
    archive = TableSource().read(asked, Path())
    assert archive.classes == ("a", "b")
    assert archive.parts["all"].labels.tolist() == [[1, 1], [-1, -1], [-1, 1]]
    pq.write_table(pa.table({"path": FILES[:2], "label": [["b", "a"], None]}), table)
    with pytest.raises(DatasetError, match=r"data row 2 has no label \(column 'label'; 1 of 2"):
        read(table)


@pytest.mark.parametrize(("rows", "options", "message"), [
    (["path,label", "0.png,a"], "?label=kind",
     r"/t\.csv has no column 'kind' \(asked for by label=kind\): it has 'path', 'label'$"),
    (["path,label", "0.png,a"], "?group=patient", "no column 'patient'"),
    (["path,label", "0.png,a"], "?split=set", "no column 'set'"),
    (["a;b", "0.png;a"], "",
     r"has no column of paths \(path, file, filename, image, .*\): name it with \?path=COLUMN; "
     r"it has 'a', 'b'"),
    (["path,kind", "0.png,a"], "", r"no column of labels \(label, class, target, labels, "),
    (["path,label", "0.png,a", "1.png, ", "2.png,"], "",
     r"data row 2 has no label \(column 'label'; 2 of 3 rows have none\): fill it in or remove"),
    (["path,label", ",a", "1.png,b"], "", r"data row 1 has no path \(column 'path'; 1 of 2"),
    (["path,label,g", "0.png,a,x", "1.png,b,"], "?group=g", r"data row 2 has no group"),
    (["path,label", "0.png,a", "no.png,b", "none.png,b"], "",
     r"2 of 3 images are missing, first /.*/no\.png: pass \?root=DIR for the folder that their "
     r"paths start from, or \?allow_missing=yes to measure on what is left$"),
    (["path,label,split", "0.png,a,train", "1.png,b,other"], "",
     r"data row 2 has the split 'other' \(column 'split', with the values 'other', 'train'\): exp"),
    (["path,label,split", "0.png,a,train", "1.png,b,"], "", "data row 2 has the split ''"),
    (["path,label,fold", "0.png,a,1", "1.png,b,2"], "?split=fold", "has the split '1'"),
    (["path,label,split", "0.png,a,train", "1.png,b,train"], "",
     r"column 'split' has only train: expected train, and validation or test or both; leave that "
     r"column out with \?split= to have splits drawn"),
    (["path,label", "0.png,a", "1.png,b", "./0.png,b"], "",
     r"data rows 1 and 3 are the same image /.*0\.png, labelled 'a' and 'b': expected one row"),
    (["path,label", "0.png,a", "0.png,a"], "", "data rows 1 and 2 are the same image"),
    (["path,label,split,g", "0.png,a,train,x", "1.png,b,test,x"], "?group=g",
     r"group 'x' \(column 'g'\) has images in both train and test: put them on one side, or leave"),
    (["path,label"], "", r"has no rows: expected one per image"),
    ([], "", r"cannot be read as CSV: No columns"),
    (["path,label", "0.png,a,b,c"], "", r"cannot be read as CSV: "),
    (["path,label", "0.png,a", "1.png,b,c"], "", r"cannot be read as CSV: .*Expected 2 fields"),
])  # fmt: skip
def test_tables_that_are_no_dataset(folder, rows, options, message):
    table = write(folder / "t.csv", *rows)
    with pytest.raises(DatasetError, match=message) as error:
        read(f"{table}{options}")
    assert "\n" not in str(error.value)
    assert str(table) in str(error.value)


def test_missing_images_are_a_dataset_that_is_missing(folder):
    with pytest.raises(DatasetMissingError):
        read(write(folder / "t.csv", "path,label", "no.png,b"))


def test_missing_images_may_be_left_out(folder):
    rows = ["no.png,a,x,train", "0.png,b,y,train", "1.png,a,x,train", "2.png,b,z,test"]
    table = write(folder / "t.csv", "path,label,g,split", *rows)
    archive = read(f"{table}?group=g&allow_missing=yes")
    assert archive.missing == {"train": 1}
    train = archive.parts["train"]
    assert names(archive, "train") == ["0.png", "1.png"]
    assert (train.labels.tolist(), train.rows.tolist()) == ([1, 0], [1, 2])
    assert archive.groups["train"].tolist() == [1, 0]
    assert archive.parts["test"].rows.tolist() == [0]


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.parquet"])
def test_files_of_another_kind(folder, name):
    (folder / name).write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe\x00")
    kind = name.partition(".")[2].upper()
    with pytest.raises(DatasetError, match=rf"{name} cannot be read as {kind}: ") as error:
        read(folder / name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("columns", [
    {"path": FILES[:2], "label": [{"bytes": 1}, {"bytes": 2}]},
    {"path": FILES[:2], "label": [b"a", b"b"]},
    {"path": FILES[:2], "label": [[[1]], [[2]]]},
])  # fmt: skip
def test_cells_that_are_no_text(folder, columns):
    pq.write_table(pa.table(columns), folder / "t.parquet")
    with pytest.raises(DatasetError, match=r"column 'label' holds a value of type \w+ in data row"):
        read(folder / "t.parquet")


def test_a_long_header_is_cut(folder):
    table = write(folder / "t.csv", ",".join(f"c{i}" for i in range(100)))
    with pytest.raises(DatasetError, match=r"it has 'c0', .*'c19' and 80 more$"):
        read(table)


def test_a_table_that_is_not_there(tmp_path):
    asked = DatasetName.parse(f"{tmp_path}/t.csv?sep=|")
    with pytest.raises(DatasetMissingError, match=r"dataset table /.*/t\.csv does not exist"):
        TableSource().read(asked, tmp_path)
    presence = TableSource().presence(asked, tmp_path)
    assert (presence.present, presence.place) == (False, f"there is no file {tmp_path}/t.csv")
    assert TableSource().describe(asked).title == "t.csv"
    write(tmp_path / "t.csv", "path,label")
    presence = TableSource().presence(asked, tmp_path)
    assert (presence.present, presence.place) == (True, f"{tmp_path}/t.csv")


def test_names_of_tables(tmp_path):
    (tmp_path / "odd.csv").mkdir()
    recognised = ["t.csv", "a/b.TSV", "~/t.parquet", f"{tmp_path}/none.csv"]
    assert [name for name in recognised if not TableSource().recognises(name)] == []
    others = ["photos", "t.xlsx", "csv", f"{tmp_path}/odd.csv", "data.py:csv"]
    assert [name for name in others if TableSource().recognises(name)] == []


def test_a_table_that_is_not_there_has_its_near_names_told(tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels.csv").touch()
    asked = DatasetName.parse(f"{tmp_path}/label.csv")
    message = rf"label\.csv does not exist: did you mean {tmp_path}/labels\.csv\?$"
    with pytest.raises(DatasetMissingError, match=message):
        TableSource().read(asked, tmp_path)
