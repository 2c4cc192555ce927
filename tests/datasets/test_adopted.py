import json

import pytest

from headstart.datasets.sources.study_datasets import Place, adopt, adopted, place_of
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


@pytest.mark.parametrize("record", [
    b"", b"{", b"[]", b"3", b"null", b'"folder"', b"{}", b'{"folder": "/x"}', b'{"form": "hub"}',
    b'{"folder": 3, "form": "hub"}', b"\xff\xfe\x00",
])  # fmt: skip
def test_a_damaged_record_is_no_record(tmp_path, record):
    adopt("dtd", Place(tmp_path, "hub"), tmp_path)
    (file,) = (tmp_path / "datasets").iterdir()
    assert json.loads(file.read_text()) == {"folder": str(tmp_path), "form": "hub"}
    file.write_bytes(record)
    assert adopted("dtd", tmp_path) is None
    adopt("dtd", Place(tmp_path), tmp_path)
    assert adopted("dtd", tmp_path) == Place(tmp_path)


def test_a_record_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "datasets").write_text("a file where a folder has to be")
    with refused("storage.not_folder"):
        adopt("dtd", Place(tmp_path), tmp_path)


def test_parquet_files_tell_a_copy_of_the_hub(tmp_path):
    assert place_of("dtd", tmp_path) == Place(tmp_path, "archive")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").touch()
    assert place_of("dtd", tmp_path).form == "archive"
    (tmp_path / "data" / "deep").mkdir(parents=True)
    (tmp_path / "data" / "deep" / "train-0.parquet").touch()
    assert place_of("dtd", tmp_path) == Place(tmp_path, "hub")
