"""Every error has a stable code, found in the source by `headstart.error_index`."""

import re
from pathlib import Path

import pytest

from headstart import errors
from headstart.error_index import PAGES, constructions, error_index, explained
from headstart.errors import UnknownNameError

ROOT = Path(__file__).parents[1]


def test_each_error_has_a_literal_code_of_a_subject_and_a_fault():
    """``code="subject.fault"`` where it is made, or a class that is as specific."""
    assert [
        f"{one.path}:{one.line} {one.kind}" for one in constructions()
        if not re.fullmatch(r"[a-z]+\.[a-z0-9_]+", one.code or "")
    ] == []  # fmt: skip


def test_a_code_has_one_meaning():
    classes = {}
    for one in constructions():
        classes.setdefault(one.code, set()).add(one.kind)
    assert {code: kinds for code, kinds in classes.items() if len(kinds) > 1} == {}


def test_an_entry_has_meaning_messages_modules_and_page():
    found = explained("store.trial_unknown")
    assert (found.kind, found.modules) == ("StoreError", ("headstart.store.results_frame",))
    assert found.meaning == errors.StoreError.__doc__.partition("\n")[0]
    assert found.messages[0].startswith("no trial of {name} matches ")
    assert found.page == "docs/store.md"
    # Of a class whose constructor writes the message.
    assert explained("image.broken").messages[0].startswith("image {where} does not decode")


def test_one_code_is_explained_without_the_modules_that_do_not_make_it():
    index = error_index()
    # Codes of a class, which stand nowhere else, among them.
    for code in [*list(index)[::20], "name.unknown", "image.broken", "weights.misfit"]:
        assert explained(code) == index[code]
    few = constructions(wanted="model.too_large")
    assert len({one.path for one in few}) < 10 < len({one.path for one in constructions()})


def test_an_unknown_code_suggests_the_nearest():
    with pytest.raises(UnknownNameError) as error:
        explained("store.trial_unknwn")
    assert error.value.code == "name.unknown"
    assert error.value.near[0] == "store.trial_unknown"


def test_every_subject_has_a_page_of_the_docs():
    subjects = {code.partition(".")[0] for code in error_index()}
    assert subjects - PAGES.keys() == set()
    assert [page for page in set(PAGES.values()) if not (ROOT / "docs" / page).is_file()] == []


def test_the_documented_codes_are_up_to_date():
    """`make docs` writes them."""
    from runpy import run_path

    text = run_path(str(ROOT / "scripts" / "write_errors.py"))["page"]()
    assert (ROOT / "docs" / "errors.md").read_text() == text
