"""Functions in files: what models and datasets share. Networks of them: tests/models."""

import sys

import pytest

from headstart.functions import call_function, is_function, locate_function
from refusals import refused


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
    assert locate_function(f"{file}:load", "dataset") == (file, "load")
    with refused("function.file_missing", file=f"{tmp_path}/none.py"):
        locate_function(f"{tmp_path}/none.py:load", "dataset")
    with refused("function.reference_invalid", name="load"):
        locate_function("load", "dataset")


@pytest.mark.parametrize(("text", "line", "kind"), [
    ("def load():\n    return {}['a\\nb']\n", 2, "KeyError"),
    ("x = 1\ndef f(:\n", 2, "SyntaxError"),
    ("\nimport nosuchmodule\n", 2, "ModuleNotFoundError"),
    ("raise SystemExit(3)\n", 1, "SystemExit"),
])  # fmt: skip
def test_what_fails_in_a_file_is_named_with_its_line(text, line, kind, tmp_path):
    (tmp_path / "data.py").write_text(text)
    with refused("function.failed", line=line, kind=kind):
        call_function(tmp_path / "data.py", "load")


def test_a_network_in_place_of_a_function(tmp_path):
    (tmp_path / "net.py").write_text("from torch import nn\nnet = nn.Linear(3, 4)\n")
    with refused("function.not_function", name="net"):
        call_function(tmp_path / "net.py", "net")


def test_a_function_that_the_file_lacks(tmp_path):
    (tmp_path / "data.py").write_text("def load(): pass\n")
    with refused("name.unknown", name="lod", near=["load"]):
        call_function(tmp_path / "data.py", "lod")


def test_what_is_imported_from_beside_is_forgotten(tmp_path):
    before = set(sys.path)
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "beside_it.py").write_text(f"NUMBER = {number}\n")
        (folder / "data.py").write_text("from beside_it import NUMBER\ndef load(): return NUMBER\n")
        assert call_function(folder / "data.py", "load") == number
    assert "beside_it" not in sys.modules
    assert set(sys.path) == before
