import shutil

import pytest

from headstart.cli import demo
from headstart.cli.demo import is_stamped, put_stamp
from headstart.store import ResultStore
from stores import add_result, make_store

PAGE = "<!doctype html>\n<html>\n<head>\n<title>A page</title>\n</head>\n<p>Café</p>\n</html>\n"


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path / "results.db", {"a": 0.5, "b": 0.6})


@pytest.fixture
def page(tmp_path, store):
    page = tmp_path / "page.html"
    page.write_text(PAGE, encoding="utf-8")
    assert not is_stamped(page, store)
    put_stamp(page, store)
    return page


def test_a_page_is_known_again_and_otherwise_unchanged(page, store):
    assert is_stamped(page, ResultStore(store.path))
    lines = page.read_text(encoding="utf-8").splitlines(keepends=True)
    assert "headstart-stamp" in lines.pop(3)
    assert "".join(lines) == PAGE


@pytest.mark.parametrize("change", [
    lambda content: content[:-5], lambda content: content.replace(b"A page", b"B page"),
    lambda content: content.replace(b'content="', b'content="0', 1),
    lambda content: content + b"\n", lambda content: b"", lambda content: PAGE.encode(),
], ids=["cut off", "edited", "another stamp", "longer", "empty", "without stamp"])  # fmt: skip
def test_a_page_that_is_damaged_or_foreign_is_not(page, store, change):
    page.write_bytes(change(page.read_bytes()))
    assert not is_stamped(page, store)


def test_no_page(tmp_path, store):
    assert not is_stamped(tmp_path / "none.html", store)
    assert not is_stamped(tmp_path, store)


def test_another_result_is_another_page(page, store):
    add_result(store, "c", 0.7)
    assert not is_stamped(page, store)


def test_another_place_is_another_page(page, store, tmp_path):
    shutil.copytree(tmp_path, tmp_path / "copy")
    assert not is_stamped(page, ResultStore(tmp_path / "copy" / store.path.name))


def test_another_program_is_another_page(page, store, tmp_path, monkeypatch):
    package = tmp_path / "package"
    (package / "folder").mkdir(parents=True)
    (package / "folder" / "code.py").write_text("1")
    monkeypatch.setattr(demo, "PACKAGE", package)
    assert not is_stamped(page, store)
    page.write_text(PAGE, encoding="utf-8")
    put_stamp(page, store)
    (package / "folder" / "code.pyc").write_text("what an interpreter keeps")
    assert is_stamped(page, store)
    (package / "folder" / "code.py").write_text("2")
    assert not is_stamped(page, store)
