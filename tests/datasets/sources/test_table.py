"""Tables of paths and labels."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headstart.datasets.dataset_name import DatasetName
from headstart.datasets.parquet_dataset import ParquetImages
from headstart.datasets.sources.table import TableSource
from headstart.errors import DatasetMissingError
from hub_files import IMAGE, encoded
from refusals import refused

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


def names(raw, part="all"):
    return [path.name for path in raw.parts[part].images.paths]


def with_column(path, head, values, labels=("a", "b")):
    """Write a table of the six files with one more column; what is short is repeated."""
    cells = [(labels[i % len(labels)], values[i % len(values)]) for i in range(6)]
    rows = [f'{i}.png,"{label}",{value}' for i, (label, value) in enumerate(cells)]
    return write(path, f"path,label,{head}", *rows)


def test_a_table_of_paths_and_labels(folder):
    raw = read(write(folder / "t.csv", "path,label", "1.png,dog", "0.png,cat", "2.png,dog"))
    assert raw.classes == ("cat", "dog")
    assert list(raw.parts) == ["all"]
    part = raw.parts["all"]
    assert part.images.where(0) == str(folder / "1.png")
    assert names(raw) == ["1.png", "0.png", "2.png"]
    assert part.labels.tolist() == [1, 0, 1]
    assert part.labels.dtype == np.int64
    assert part.rows.tolist() == [0, 1, 2]
    assert part.groups is None


@pytest.mark.parametrize(("header", "options"), [
    ("x,filename,class", ""), ("x,Image,Target", ""), ("x,image_path,labels", ""),
    ("label,file,kind", "?label=kind"), ("path,a b,label", "?path=a b"),
    ("a,b,c", "?path=b&label=c"), ("class id,filepaths,labels", ""), ("x,ImageId,breed", ""),
    ("Width,Path,ClassId", ""), ("lesion_id,image_id,dx", ""), ("x,filenames,categories", ""),
])  # fmt: skip
def test_columns_are_found_or_named(folder, header, options):
    table = write(folder / "t.csv", header, "u,0.png,cat", "v,1.png,dog")
    raw = read(f"{table}{options}")
    assert names(raw) == ["0.png", "1.png"]
    assert raw.classes == ("cat", "dog")


def test_text_is_taken_as_it_is(folder):
    """No cell becomes a number or nothing; blanks around text are not part of it."""
    rows = ["0.png,NA", "1.png, null", "2.png,007 ", " 3.png,True", '4.png,"a,b"', "", "5.png,ü"]
    raw = read(write(folder / "t.csv", "path, label ", *rows, encoding="utf-8-sig"))
    labels = raw.parts["all"].labels
    found = [raw.classes[label] for label in labels]
    assert found == ["NA", "null", "007", "True", "a,b", "ü"]
    assert names(raw) == FILES


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
    raw = read(f"{table}{options}")
    assert list(raw.parts) == ["train", "validation", "test"]
    assert names(raw, "train") == ["2.png", "3.png"]
    assert names(raw, "validation") == ["1.png"]
    assert names(raw, "test") == ["0.png", "4.png"]
    assert raw.parts["test"].labels.tolist() == [1, 0]
    assert raw.parts["test"].rows.tolist() == [0, 1]


def test_a_column_of_splits_that_is_none(folder):
    for head, values in (("fold", "12"), ("split", ["train", "test"])):
        table = with_column(folder / "t.csv", head, values)
        assert list(read(f"{table}?split=").parts) == ["all"]
    assert list(read(with_column(folder / "t.csv", "phase", ["new", "full"])).parts) == ["all"]


def test_groups(folder):
    rows = ["0.png,a,p9,train", "1.png,b,p1,test", "2.png,b,p9,train", "3.png,b,p4,train"]
    table = write(folder / "t.csv", "path,label,patient,split", *rows)
    assert read(table).parts["test"].groups is None
    parts = read(f"{table}?group=patient").parts
    assert {name: part.groups.tolist() for name, part in parts.items()} == {
        "train": [2, 2, 1], "test": [0],
    }  # fmt: skip
    groups = read(f"{table}?group=patient&split=").parts["all"].groups
    assert groups.tolist() == [2, 0, 2, 1]
    assert groups.dtype == np.int64


def test_several_labels_in_a_cell(folder):
    rows = ["0.png,dog|cat", "1.png,", "2.png, cat | cat |", "3.png,emu"]
    table = write(folder / "t.csv", "path,label", *rows)
    name = f"{table}?sep=|"
    raw = read(name)
    assert raw.classes == ("cat", "dog", "emu")
    expected = [[1, 1, -1], [-1, -1, -1], [1, -1, -1], [-1, -1, 1]]
    assert raw.parts["all"].labels.tolist() == expected
    assert raw.parts["all"].labels.dtype == np.int64
    assert TableSource().describe(DatasetName.parse(name)).metric == "voc-map-11point"
    write(table, "path,label", "0.png,dog|cat", "1.png,dog")
    whole = f"{table}?sep="
    assert TableSource().describe(DatasetName.parse(whole)).metric == "top-1"
    assert read(whole).classes == ("dog", "dog|cat")


def lines(head="path,label", form="{0},{1}"):
    return [head, *(form.format(name, "ab"[i % 2]) for i, name in enumerate(FILES))]


def text(rows, end="\n"):
    return end.join([*rows, ""])


@pytest.mark.parametrize("content", [
    text(lines("path;label", "{0};{1}")).encode(),
    text(lines("path\tlabel", "{0}\t{1}")).encode(),
    text(lines("path|label", "{0}|{1}")).encode(),
    text(lines("note;path,x;label", "1,5;{0};{1}")).encode().replace(b"path,x", b"path"),
    text(["sep=;", *lines("path;label", "{0};{1}")], "\r\n").encode(),
    text(lines(), "\r\n").encode("utf-8-sig"),
    text(lines("path\tlabel", "{0}\t{1}"), "\r\n").encode("utf-16"),
    text(lines()).encode("utf-16-le"), text(lines()).encode("utf-16-be"),
    text(lines()).encode("utf-32"),
    text(lines('"path","label"', '"{0}","{1}"')).encode(),
    text(lines("file_name,label")).encode(), text(lines("Image Index,Finding Labels")).encode(),
    text(lines("img_filename,y")).encode(), text(lines("Id,Breed")).encode(),
    text(lines("label,file_name", "{1},{0}")).encode(),
    # A separator at the end of each line, as some programs write it.
    text(["path,label", *lines("", "{0},{1},")[1:]]).encode(),
])  # fmt: skip
@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
def test_tables_as_other_programs_write_them(folder, content, name):
    (folder / name).write_bytes(content)
    raw = read(folder / name)
    assert names(raw) == FILES
    assert raw.classes == ("a", "b")
    assert raw.parts["all"].labels.tolist() == [0, 1] * 3


@pytest.mark.parametrize(("cell", "found"), [
    ("0", "0.png"), (r"sub\7.jpg", "7.jpg"), (r".\sub\7", "7.jpg"), ("SUB.PNG", "sub.png"),
    ("sub/a.b", "a.b.jpg"), ("sub/cafe\u0301", "caf\u00e9.jpg"), ("sub/7.jpg", "7.jpg"),
])  # fmt: skip
def test_paths_as_other_systems_write_them(folder, cell, found):
    (folder / "sub").mkdir()
    for name in ("sub/7.jpg", "sub/7.txt", "sub/a.b.jpg", "sub/caf\u00e9.jpg", "sub.png"):
        (folder / name).write_bytes(b"")
    table = write(folder / "t.csv", "image,label", f"{cell},a", "1.png,b")
    assert names(read(table)) == [found, "1.png"]


LISTS = pa.array([[[1]], [[2]]])


@pytest.mark.parametrize(("path", "labels", "code"), [
    ("two", ["a", "b"], "dataset.path_unclear"), ("0.jpg", ["a", "b"], "dataset.images_missing"),
    ("https://example.org/1.png", ["a", "b"], "dataset.web_address"),
    ("x" * 300, ["a", "b"], "dataset.images_missing"),
    ("\0", ["a", "b"], "dataset.images_missing"),
    # Labels that are no text.
    ("0.png", [{"bytes": 1}, {"bytes": 2}], "dataset.cell_type"),
    ("0.png", [b"a", b"b"], "dataset.cell_type"), ("0.png", LISTS, "dataset.cell_type"),
])  # fmt: skip
def test_cells_that_are_no_path_or_no_label(folder, path, labels, code):
    for name in ("two.png", "two.jpg"):
        (folder / name).write_bytes(b"")
    columns = {"path": [path, "1.png"], "label": labels}
    pq.write_table(pa.table(columns), folder / "t.parquet")
    with refused(code) as error:
        read(folder / "t.parquet")
    missing = code == "dataset.images_missing"
    assert isinstance(error.value, DatasetMissingError) == missing


@pytest.mark.parametrize(("head", "values", "parts_note"), [
    ("split", ["train_set", "val_set", "test_set"],
     "train_set (as train), val_set (as validation), test_set (as test)"),
    ("partition", ["Training", "holdout"], "Training (as train), holdout (as test)"),
    ("Set", ["TRAIN", "TEST"], "TRAIN, TEST"),
    ("subset", ["train2014", "val2014"], "train2014 (as train), val2014 (as validation)"),
    ("fold", ["trainval", "test"], "trainval (as train), test"),
    ("Usage", ["train", "eval"], "train, eval (as test)"),
    # Whatever it is called.
    ("aufteilung", ["train", "test"], "train, test"),
    ("is_train", ["1", "0"], "1 (as train), 0 (as test)"),
    ("is_training_image", ["True", "False"], "True (as train), False (as test)"),
    ("is_test", ["0", "1"], "0 (as train), 1 (as test)"),
    ("is_train", ["1.0", "0.0"], "1 (as train), 0 (as test)"),
])  # fmt: skip
def test_columns_of_splits_are_understood(folder, head, values, parts_note):
    raw = read(with_column(folder / "t.csv", head, values))
    assert raw.parts_note == f"column '{head}': {parts_note}"
    for number, part in enumerate(raw.parts):
        assert names(raw, part) == FILES[number :: len(values)]
    assert len(raw.parts) == len(values)


@pytest.mark.parametrize(("head", "values"), [
    ("split", "012"), ("split", ["PublicTest", "PrivateTest", "Training"]), ("fold", "12345"),
    ("set", ["A", "B"]), ("partition", ["train", "test_id", "test_ood"]),
    ("split", ["train", "eval", "test"]), ("split", ["train", "train_noisy", "test"]),
    ("is_valid", ["True", "False"]), ("is_val", ["0", "1"]), ("is_train", ["1", "2"]),
    ("Usage", ["Training", "PublicTest"]), ("split", ["train", "other"]), ("split", ["train", ""]),
    # Validation, or a row in order?
    ("valid", ["True", "False"]), ("val", ["0", "1"]), ("train_test", ["tr", "te"]),
    ("train/val/test", ["a", "b", "c"]),
])  # fmt: skip
def test_columns_of_splits_that_cannot_be_told(folder, head, values):
    table = with_column(folder / "t.csv", head, values)
    split = [values[i % len(values)] for i in range(6)]
    with refused("dataset.split_unknown", found=tuple(sorted(set(split))), column=head):
        read(table)
    # Both ways out that the message offers.
    assert list(read(f"{table}?split=").parts) == ["all"]
    if all(values):
        first, *_, last = dict.fromkeys(split)
        raw = read(f"{table}?train={first}&test={last}")
        assert list(raw.parts) == ["train", "test"]
        assert names(raw, "train") == [f"{i}.png" for i in range(6) if split[i] == first]


@pytest.mark.parametrize("start", [
    "/kaggle/input/birds/", "C:\\data\\birds\\", "../birds/", "/", "data/",
])  # fmt: skip
def test_paths_of_another_machine_start_at_the_root(folder, start):
    """What all paths have is taken off, where they do not start as the machine has them."""
    (folder / "images" / "sub").mkdir(parents=True)
    for name in ("1.png", "2.png", "3.png"):
        (folder / "images" / "sub" / name).touch()
    rows = [f"{start}sub/{i}.png,{'ab'[i % 2]}" for i in (1, 2, 3)]
    table = write(folder / "t.csv", "path,label", *rows)
    with refused("dataset.images_missing", found=3):
        read(table)
    raw = read(f"{table}?root=images")
    assert names(raw) == ["1.png", "2.png", "3.png"]
    shown = start.replace("\\", "/")
    assert raw.notes == (f"paths: '{shown}' stands for the folder root=images",)
    write(table, "path,label", *rows, f"/elsewhere/{'1.png'},a")
    with refused("dataset.images_missing"):
        read(f"{table}?root=images")


@pytest.mark.parametrize(("start", "kind"), [
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "a Git LFS pointer"),
    (b"<!DOCTYPE html><html><body>Sign in</body></html>", "an HTML page: a failed download?"),
    (b"PK\x03\x04" + bytes(99), "a ZIP archive"), (b"\x1f\x8b\x08", "a gzip archive"),
    (bytes(99), "zero bytes"), (b'{"error": "rate limit"}', "JSON text: a failed download?"),
    (b"\x89PNG\r\n\x1a\n\xff\xfe\x00", None),
])  # fmt: skip
@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.parquet"])
def test_downloads_that_are_no_table_are_named(folder, name, start, kind):
    (folder / name).write_bytes(start)
    with refused("dataset.unreadable") as error:
        read(folder / name)
    assert kind is None or error.value.values["found"].startswith(kind)


@pytest.mark.parametrize(("labels", "found"), [
    (("1", "1.0"), ("1", "1.0")), (("0.0", "1", "0"), ("0.0", "0")),
    (("2", "-2.00", "-2"), ("-2.00", "-2")), (("1", "10", "0.1"), None), (("7", "007"), None),
    (("a 1", "a 1.0"), None), (("1.5", "2.5"), None),
])  # fmt: skip
def test_one_number_written_in_two_ways(folder, labels, found):
    rows = [f"{i}.png,{label}" for i, label in enumerate(labels)]
    table = write(folder / "t.csv", "path,label", *rows)
    if found is None:
        assert len(read(table).classes) == len(labels)
        return
    with refused("dataset.labels_alike", found=found):
        read(table)


@pytest.mark.parametrize(("head", "cells", "parts", "parts_note"), [
    ("train,val,test", ["1,0,0", "1,0,0", "0,1,0", "0,1,0", "0,0,1", "0,0,1"], "ttvvee",
     "columns train, val (as validation), test"),
    ("is_test,is_train", ["0,1", "0,1", "0,1", "0,1", "1,0", "1,0"], "ttttee",
     "columns is_train (as train), is_test (as test)"),
    ("is_valid,is_test", ["False,False", "False,False", "True,False", "True,False", "False,True",
     "False,True"], "ttvvee",
     "columns the rest (as train), is_valid (as validation), is_test (as test)"),
    ("train,valid", ["1.0,0.0", "1.0,0.0", "0.0,1.0", "0.0,1.0", "0.0,0.0", "0.0,0.0"], "ttvvee",
     "columns train, valid (as validation), the rest (as test)"),
    ("train,test", ["1,0", "1,0", "0,0", "0,0", "0,1", "0,1"], 3, ""),
    ("train,val,test", ["1,0,0", "1,1,0", "0,1,0", "0,1,0", "0,0,1", "0,0,1"], 2, ""),
])  # fmt: skip
@pytest.mark.parametrize("labels", ["label", "cat,dog"])
def test_a_column_per_split(folder, labels, head, cells, parts, parts_note):
    """As a column per class; none of them is a class."""
    label = ["a", "b", "a", "b", "a", "b"] if labels == "label" else ["1,0", "0,1"] * 3
    rows = [f"{i}.png,{label[i]},{cells[i]}" for i in range(6)]
    table = write(folder / "t.csv", f"path,{labels},{head}", *rows)
    if isinstance(parts, int):
        with refused("dataset.split_unknown", found=parts):
            read(table)
        return
    raw = read(table)
    assert raw.parts_note == parts_note
    assert len(raw.classes) == 2
    for part, letter in (("train", "t"), ("validation", "v"), ("test", "e")):
        files = [f"{i}.png" for i in range(6) if parts[i] == letter]
        assert (names(raw, part) if files else []) == files


def test_values_of_splits_are_named(folder):
    table = with_column(folder / "t.csv", "split", "0123")
    raw = read(f"{table}?train=0+1&validation=2&test=3")
    assert names(raw, "train") == ["0.png", "1.png", "4.png", "5.png"]
    assert raw.parts_note == ("column 'split': 0 + 1 (as train), 2 (as validation), 3 (as test)")
    raw = read(f"{table}?train=0&test=3")
    assert raw.parts_note == "column 'split': 0 (as train), 3 (as test); not used: 1, 2"
    for options, code in [
        ("train=0&test=9", "split_unknown"), ("train=0&test=0", "split_twice"),
        ("train=0", "split_missing"), ("split=&train=0&test=1", "column_missing"),
    ]:  # fmt: skip
        with refused(f"dataset.{code}"):
            read(f"{table}?{options}")


@pytest.mark.parametrize("head", ["fold", "kfold", "k-fold", "cv_fold"])
def test_folds_that_pandas_wrote_as_floats(folder, head):
    table = with_column(folder / "t.csv", head, ["0.0", "1.0", "2.0"])
    with refused("dataset.split_unknown"):
        read(table)
    assert names(read(f"{table}?train=0+1&test=2"), "test") == ["2.png", "5.png"]


@pytest.mark.parametrize(("head", "cells", "separator"), [
    ("labels", ["cat|animal", "dog", "cat"], "|"), ("label", ["cat;dog", "dog", "cat"], ";"),
    ("tags", ["cat, animal", "dog", "cow"], ","), ("label", ["a,b", "b,c", "c,a"], ","),
    ("labels", ["haze primary", "clear primary", "haze", "clear"], " "),
    ("labels", ["['cat', 'dog']", "['dog']", "['cow']"], None),
])  # fmt: skip
def test_cells_that_hold_several_labels_are_not_classes_of_their_own(
    folder, head, cells, separator
):
    rows = [f'{i}.png,"{cells[i % len(cells)]}"' for i in range(6)]
    table = write(folder / "t.csv", f"path,{head}", *rows)
    with refused("dataset.labels_joined", separator=separator):
        read(table)
    assert read(f"{table}?sep=").classes == tuple(sorted(set(cells)))
    if separator:
        parts = {name.strip() for cell in cells for name in cell.split(separator)}
        raw = read(f"{table}?sep={separator}")
        assert set(raw.classes) == parts
        assert raw.parts["all"].labels.shape == (6, len(parts))


@pytest.mark.parametrize(("head", "cells"), [
    ("label", ["tench, Tinca tinca", "goldfish, Carassius auratus", "maillot, tank suit"]),
    ("labels", ["ice cream", "hot dog"]), ("labels", ["polar bear", "brown bear"]),
    ("label", ["a b", "b a", "a"]), ("class", ["AC/DC", "R&B"]),
])  # fmt: skip
def test_names_of_several_words_are_one_label(folder, head, cells):
    rows = [f'{i}.png,"{cells[i % len(cells)]}"' for i in range(6)]
    assert set(read(write(folder / "t.csv", f"path,{head}", *rows)).classes) == set(cells)


def test_a_column_per_class(folder):
    rows = [f"{i}.png,{int(i % 2 == 0)},{float(i % 2 == 1)},0" for i in range(6)]
    table = write(folder / "t.csv", "image,MEL,NV,VASC", *rows)
    raw = read(table)
    assert raw.classes == ("MEL", "NV")
    assert raw.parts["all"].labels.tolist() == [0, 1] * 3
    assert "VASC" in raw.notes[1]
    assert TableSource().describe(DatasetName.parse(str(table))).metric == "top-1"
    # Others beside them: which are classes has to be said.
    rows = [f"{i}.png,{1},{i % 2},{20 + i}" for i in range(6)]
    table = write(folder / "t.csv", "image,MEL,NV,age", *rows)
    with refused("dataset.column_missing", found=("MEL", "NV")):
        read(table)
    named = f"{table}?label=MEL+NV"
    assert read(named).parts["all"].labels.tolist() == [[1, -1], [1, 1]] * 3
    assert TableSource().describe(DatasetName.parse(named)).metric == "voc-map-11point"
    for column, code in [("age", "dataset.cell_type"), ("x", "dataset.column_unknown")]:
        with refused(code):
            read(f"{table}?label=MEL+{column}")


@pytest.mark.parametrize("kind", ["struct", "binary"])
def test_images_in_a_table(folder, kind):
    contents = [encoded(40 + 20 * i) for i in range(6)]
    cells = [{"bytes": c, "path": f"{i}.png"} for i, c in enumerate(contents)]
    images = pa.array(cells, IMAGE) if kind == "struct" else pa.array(contents)
    columns = {"image": images, "label": list("ababab"), "split": ["train", "test"] * 3}
    pq.write_table(pa.table(columns), folder / "t.parquet")
    raw = read(folder / "t.parquet")
    assert isinstance(raw.parts["train"].images, ParquetImages)
    test = raw.parts["test"]
    assert test.labels.tolist() == [1, 1, 1]
    levels = [np.asarray(test.images.decode(row)).mean() - 60 for row in range(3)]
    assert np.round(np.array(levels) / 20).tolist() == [1, 3, 5]


def test_images_that_a_table_only_names(folder):
    """As the hub's library writes images that it does not embed."""
    cells = [{"bytes": None, "path": name} for name in FILES]
    columns = {"image": pa.array(cells, IMAGE), "label": list("ababab")}
    pq.write_table(pa.table(columns), folder / "t.parquet")
    assert names(read(folder / "t.parquet")) == FILES


def test_a_name_in_two_spellings_is_one_class(folder):
    table = write(folder / "t.csv", "path,label", "0.png,caf\u00e9", "1.png,cafe\u0301", "2.png,b")
    raw = read(table)
    assert raw.classes == ("b", "caf\u00e9")
    assert raw.parts["all"].labels.tolist() == [1, 1, 0]


def test_parquet(folder):
    table = folder / "t.parquet"
    columns = {"path": FILES[:3], "label": [10, 9, 10], "big": [b"x" * 100] * 3}
    pq.write_table(pa.table(columns), table)
    raw = read(table)
    assert raw.classes == ("9", "10")
    assert raw.parts["all"].labels.tolist() == [1, 0, 1]
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
    raw = TableSource().read(asked, Path())
    assert raw.classes == ("a", "b")
    assert raw.parts["all"].labels.tolist() == [[1, 1], [-1, -1], [-1, 1]]
    pq.write_table(pa.table({"path": FILES[:2], "label": [["b", "a"], None]}), table)
    with refused("dataset.cell_empty", found=2):
        read(table)


@pytest.mark.parametrize(("rows", "options", "code", "found"), [
    (["path,label", "0.png,a"], "?label=kind", "column_unknown", "kind"),
    (["path,label", "0.png,a"], "?group=patient", "column_unknown", "patient"),
    (["path,label", "0.png,a"], "?split=set", "column_unknown", "set"),
    (["a;b", "0.png;a"], "", "column_missing", ("a", "b")),
    (["path,kind", "0.png,a"], "", "column_missing", ("path", "kind")),
    (["path,label,label", "0.png,a,b"], "", "column_twice", "label"),
    (["path,label, label", "0.png,a,b"], "", "column_twice", "label"),
    (["path,label", "0.png,a", "1.png, ", "2.png,"], "", "cell_empty", 2),
    (["path,label", ",a", "1.png,b"], "", "cell_empty", 1),
    (["path,label,g", "0.png,a,x", "1.png,b,"], "?group=g", "cell_empty", 2),
    (["path,label", "0.png,a", "no.png,b", "none.png,b"], "", "images_missing", 2),
    (["path,label,fold", "0.png,a,1", "1.png,b,2"], "?split=fold", "split_unknown", ("1", "2")),
    (["path,label,split", "0.png,a,train", "1.png,b,train"], "", "split_missing", ["train"]),
    (["path,label", "0.png,a", "1.png,b", "./0.png,b"], "", "image_twice", None),
    (["path,label", "0.png,a", "0.png,a"], "", "image_twice", None),
    (["path,label"], "", "empty", None), ([], "", "unreadable", None),
    (["0.png,a", "1.png,b"], "", "column_missing", ("0.png", "a")),
    (["path,label", "0.png,a,b,c"], "", "row_too_long", 1),
    (["path,label", "", "0.png,a", "1.png,b,c"], "", "row_too_long", 2),
    (["sep=;", "path;label", "0.png;a", "1.png;b;c"], "", "row_too_long", 2),
    # What is between an open quotation mark and the end of the file is no label.
    (["path,label", "0.png,a", '1.png,"b', "2.png,a"], "", "unreadable", None),
    # Read as UTF-8, which these bytes are not.
    (["path,label", "0.png,K\udcf6ln", "1.png,Bonn"], "", "unreadable", None),
])  # fmt: skip
def test_tables_that_are_no_dataset(folder, rows, options, code, found):
    table = folder / "t.csv"
    table.write_text("".join(f"{row}\n" for row in rows), errors="surrogateescape")
    with refused(f"dataset.{code}", **({} if found is None else {"found": found})) as error:
        read(f"{table}{options}")
    assert str(table) in str(error.value)


@pytest.mark.parametrize(("name", "text"), [
    # As the imagefolder of Hugging Face has it.
    ("metadata.jsonl", '{"file_name": "0.png", "label": 7}\n\n{"label": 8, "file_name": "1.png"}'),
    ("t.json", '[{"path": "0.png", "class": "7"}, {"path": "1.png", "class": 8, "more": {}}]'),
    ("t.json", '{"0.png": "7", "1.png": "8"}'),
    # Lines in a file called .json; a line separator of Unicode ends none.
    ("t.json", '{"image": "0.png", "label": "7", "t": "\u2028"}\n{"image": "1.png", "label": "8"}'),
])  # fmt: skip
def test_json_tables(folder, name, text):
    (folder / name).write_text(text, encoding="utf-8")
    raw = read(folder / name)
    assert raw.classes == ("7", "8")
    assert names(raw) == ["0.png", "1.png"]


def test_json_lists_of_1_and_0_are_no_labels(folder):
    table = folder / "t.jsonl"
    rows = enumerate(([1, 0, 0], [0, 1, 1], [0, 0, 0]))
    write(table, *(f'{{"path": "{i}.png", "labels": {flags}}}' for i, flags in rows))
    with refused("dataset.labels_flags", found=0):
        read(table)


def test_json_lists_are_several_labels(folder):
    table = folder / "t.json"
    table.write_text('{"0.png": ["a", "b"], "1.png": [], "2.png": "b"}')
    raw = read(table)
    assert raw.classes == ("a", "b")
    assert raw.parts["all"].labels.tolist() == [[1, 1], [-1, -1], [-1, 1]]


@pytest.mark.parametrize(("name", "text", "code"), [
    ("t.jsonl", '{"path": "0.png", "label": "a"}\n{"path": ', "unreadable"),
    ("t.jsonl", '["0.png", "a"]', "unreadable"),
    ("t.json", "", "unreadable"), ("t.json", "3", "unreadable"), ("t.json", "[", "unreadable"),
    ("t.json", "[" * 100_000, "unreadable"),
    # COCO's annotations; classes with lists of their images.
    ("t.json", '{"images": [], "annotations": []}', "unreadable"),
    ("t.json", '{"a": ["0.png"], "b": ["1.png"]}', "unreadable"),
    ("t.json", "<!doctype html>", "unreadable"),
    ("t.json", "[]", "column_missing"), ("t.json", '[{"a": 1}]', "column_missing"),
    ("t.json", '[{"path": "0.png", "label": {"a": 1}}]', "cell_type"),
    ("t.json", '[{"path": "0.png", "label": "a"}, {"path": "1.png"}]', "cell_empty"),
])  # fmt: skip
def test_json_that_is_no_table(folder, name, text, code):
    (folder / name).write_text(text)
    with refused(f"dataset.{code}") as error:
        read(folder / name)
    assert str(folder / name) in str(error.value)


def test_a_group_is_in_one_part(folder):
    table = write(folder / "t.csv", "path,label,split,g", "0.png,a,train,x", "1.png,b,test,x")
    with refused("dataset.group_split", group="x", parts=("train", "test")):
        read(f"{table}?group=g")


def test_missing_images_may_be_left_out(folder):
    rows = ["no.png,a,x,train", "0.png,b,y,train", "1.png,a,x,train", "2.png,b,z,test"]
    table = write(folder / "t.csv", "path,label,g,split", *rows)
    raw = read(f"{table}?group=g&allow_missing=yes")
    assert raw.missing == {"train": 1}
    train = raw.parts["train"]
    assert names(raw, "train") == ["0.png", "1.png"]
    assert (train.labels.tolist(), train.rows.tolist()) == ([1, 0], [1, 2])
    assert train.groups.tolist() == [1, 0]
    assert raw.parts["test"].rows.tolist() == [0]


def test_a_table_that_is_not_there(tmp_path):
    table = tmp_path / "t.csv"
    asked = DatasetName.parse(f"{table}?sep=|")
    (tmp_path / "u.csv").touch()
    with refused("dataset.missing"):
        TableSource().read(asked, tmp_path)
    assert TableSource().presence(asked, tmp_path) == (False, f"there is no file {table}")
    assert TableSource().describe(asked).title == "t.csv"
    write(table, "path,label")
    assert TableSource().presence(asked, tmp_path) == (True, str(table))


def test_names_of_tables(tmp_path):
    (tmp_path / "odd.csv").mkdir()
    recognised = ["t.csv", "a/b.TSV", "~/t.parquet", "t.json", "T.JSONL", f"{tmp_path}/none.csv"]
    assert [name for name in recognised if not TableSource().recognises(name)] == []
    others = ["photos", "t.xlsx", "csv", f"{tmp_path}/odd.csv", "data.py:csv"]
    assert [name for name in others if TableSource().recognises(name)] == []
