import json

import pytest

from headstart.datasets.sources.study_datasets import (
    Place,
    adopt,
    adopted,
    default_folder,
    place_of,
)
from refusals import refused


def test_where_a_dataset_is_is_remembered(tmp_path, monkeypatch):
    assert adopted("dtd", tmp_path) is None
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    adopt("dtd", place_of("dtd", (tmp_path / "here").relative_to(tmp_path)), tmp_path)
    # From any folder.
    assert adopted("dtd", tmp_path) == Place(tmp_path / "here", "archive")
    assert adopted("food101", tmp_path) is None
    adopt("dtd", Place(tmp_path, "hub"), tmp_path)
    assert adopted("dtd", tmp_path) == Place(tmp_path, "hub")


@pytest.mark.parametrize(
    "record", ["", "{", "[]", "3", "null", '"folder"', "{}", '{"folder": "/x"}', '{"form": "hub"}',
               '{"folder": 3, "form": "hub"}']
)  # fmt: skip
def test_a_damaged_record_is_no_record(tmp_path, record):
    adopt("dtd", Place(tmp_path), tmp_path)
    (file,) = (tmp_path / "datasets").iterdir()
    file.write_text(record)
    assert adopted("dtd", tmp_path) is None
    adopt("dtd", Place(tmp_path), tmp_path)
    assert adopted("dtd", tmp_path) == Place(tmp_path)


def test_bytes_that_are_no_text_are_no_record(tmp_path):
    adopt("dtd", Place(tmp_path), tmp_path)
    (file,) = (tmp_path / "datasets").iterdir()
    file.write_bytes(b"\xff\xfe\x00")
    assert adopted("dtd", tmp_path) is None


def test_a_record_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "datasets").write_text("a file where a folder has to be")
    with refused("storage.not_folder"):
        adopt("dtd", Place(tmp_path), tmp_path)


def test_a_record_says_where_and_in_which_form(tmp_path):
    adopt("dtd", Place(tmp_path, "hub"), tmp_path)
    (file,) = (tmp_path / "datasets").iterdir()
    assert json.loads(file.read_text()) == {"folder": str(tmp_path), "form": "hub"}


def test_parquet_files_tell_a_copy_of_the_hub(tmp_path):
    assert place_of("dtd", tmp_path) == Place(tmp_path, "archive")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").touch()
    assert place_of("dtd", tmp_path).form == "archive"
    (tmp_path / "data" / "deep").mkdir(parents=True)
    (tmp_path / "data" / "deep" / "train-0.parquet").touch()
    assert place_of("dtd", tmp_path) == Place(tmp_path, "hub")


def test_downloads_have_a_folder_each(tmp_path):
    assert default_folder("dtd", tmp_path) == tmp_path / "datasets" / "dtd"
