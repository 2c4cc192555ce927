"""Functions in files: what models and datasets share. Networks of them: tests/models."""

import sys

import pytest

from headstart.errors import DatasetError, ModelError, UnknownNameError
from headstart.functions import call_function, is_function, locate_function


@pytest.mark.parametrize(("text", "expected"), [
    ("a/data.py:load", True), ("data.py:load", True), ("~/x y.py:_f2", True),
    ("data.py", False), ("hf:user/name", False), (":load", False), ("data.py:", False),
    ("data.py:a.b", False), ("data.py:2", False), (".py:load", False),
])  # fmt: skip
def test_what_is_a_reference(text, expected):
    assert is_function(text) is expected


def test_a_reference_is_located_without_running_it(tmp_path):
    file = tmp_path / "data.py"
    file.write_text("raise SystemExit")
    assert locate_function(f"{file}:load", "dataset", DatasetError) == (file, "load")


@pytest.mark.parametrize("wrong", [DatasetError, ModelError])
def test_errors_are_of_the_kind_asked_for(tmp_path, wrong):
    (tmp_path / "data.py").write_text("def load():\n    return {}['a\\nb']\n")
    with pytest.raises(wrong, match=r"data\.py, line 2: KeyError: 'a"):
        call_function(tmp_path / "data.py", "load", wrong)
    with pytest.raises(wrong, match=r"thing '.*none\.py:load': there is no file"):
        locate_function(f"{tmp_path}/none.py:load", "thing", wrong)
    with pytest.raises(wrong, match="'load' names no function: expected path"):
        locate_function("load", "thing", wrong)
    with pytest.raises(UnknownNameError, match="did you mean load"):
        call_function(tmp_path / "data.py", "lod", wrong)


def test_what_is_imported_from_beside_is_forgotten(tmp_path):
    before = set(sys.path)
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "beside_it.py").write_text(f"NUMBER = {number}\n")
        (folder / "data.py").write_text("from beside_it import NUMBER\ndef load(): return NUMBER\n")
        assert call_function(folder / "data.py", "load", DatasetError) == number
    assert "beside_it" not in sys.modules
    assert set(sys.path) == before
