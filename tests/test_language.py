"""Telltale wording that is hard to read, in source, docs and README (the language rules).

Each pattern stands for a kind of sentence. What it finds is rewritten, never exempted: `NOT_DONE`
lists the places that have not been read for it yet, and only shrinks.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "headstart"
UNIT = (
    "batch|candidate|class|column|dataset|epoch|GPU|image|label|line|model|network|pair|result|row"
    "|run|second|setting|split|step|thread|trial|worker"
)
PATTERNS = {
    "per, not a (one row per result)": rf"\b(one|rows?|labels|images|steps|classes) an? ({UNIT})\b",
    "per, not a (one line per fact)": r"\b[Aa] (row|line|column|panel|folder) an? (?!few|lot)\w",
    "an active verb, not 'is told'": r"\b(is|are|was|be) told\b|\btold (apart|by)\b",
    "whoever": r"\b[Ww]hoever\b",
    "invalid, not 'will not do'": r"\bwill not do\b",
    "broken symlink": r"\bleads nowhere\b",
    "missing, not 'for want of'": r"\bfor want of\b",
    "resume, not 'carries on'": r"\bcarr(y|ies) on\b",
    "pass --x, not 'say --x'": r"\bsay --\w",
    "help is a noun phrase": r"help=\s*\"Of ",
}
DOCSTRING = re.compile(r"(Give|Say|Tell|Hear)s?\b")
# Pages still to be read; delete an entry once it is done.
NOT_DONE: dict[str, set[str]] = {".": set(), "src/headstart": set(), "docs": {"decisions"}}


def pages() -> list[Path]:
    folders = ((SOURCE, "*.py"), (ROOT / "docs", "*.md"))
    found = [ROOT / n for n in ("README.md", "CONTRIBUTING.md") if n not in NOT_DONE["."]]
    for folder, pattern in folders:
        done = NOT_DONE[folder.relative_to(ROOT).as_posix()]
        found += [
            path
            for path in sorted(folder.rglob(pattern))
            if path.relative_to(folder).parts[0] not in done
        ]
    return found


def telltales(text: str, pattern: str) -> list[str]:
    return [match[0] for match in re.finditer(pattern, text)]


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_wording(pattern):
    found = {path.relative_to(ROOT).as_posix(): telltales(path.read_text(), pattern)
             for path in pages()}  # fmt: skip
    assert {path: hits for path, hits in found.items() if hits} == {}


def test_docstrings_return_and_do_not_give():
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = [
        f"{path.relative_to(ROOT)}:{node.body[0].lineno}"
        for path in pages()
        if path.suffix == ".py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, kinds) and DOCSTRING.match(ast.get_docstring(node) or "")
    ]
    assert found == []


@pytest.mark.parametrize(("sentence", "kind"), [
    ("A table: one row a result.", "per, not a (one row per result)"),
    ("Which ones is told by its source.", "an active verb, not 'is told'"),
    ("a link that leads nowhere", "broken symlink"),
    ("'a' will not do", "invalid, not 'will not do'"),
    ("the same command carries on", "resume, not 'carries on'"),
    ('typer.Option(help="Of the bootstrap.")', "help is a noun phrase"),
])  # fmt: skip
def test_the_patterns_find_what_they_stand_for(sentence, kind):
    assert telltales(sentence, PATTERNS[kind])
