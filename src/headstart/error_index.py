"""The index of errors: every code, what it means and its messages, read from the source.

Nothing is registered by hand: the package's own source is parsed for the places that make an
error. `headstart explain` prints an entry, docs/errors.md lists them all.
"""

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from headstart.errors import HeadstartError, UnknownNameError

__all__ = ["PAGES", "CodedError", "Construction", "constructions", "error_index", "explained"]

SOURCE = Path(__file__).parent
ROOT = HeadstartError.__name__
# Where a class may be one of errors: its name or that of its base says so.
ERROR_CLASS = re.compile(r"^ *class (\w*Error\b|\w+\(.*Error\b)", re.MULTILINE)
# The page of the docs about each subject: the first part of a code.
PAGES: Mapping[str, str] = {
    "ablation": "pretraining.md",
    "analysis": "analysis.md",
    "cache": "commands.md",
    "command": "commands.md",
    "dataset": "datasets.md",
    "device": "performance.md",
    "embedding": "embedding.md",
    "executor": "studies.md",
    "export": "deploy.md",
    "features": "methods.md",
    "function": "models.md",
    "figure": "analysis.md",
    "image": "datasets.md",
    "labels": "datasets.md",
    "log": "training.md",
    "miniature": "miniature.md",
    "metric": "analysis.md",
    "model": "models.md",
    "name": "commands.md",
    "output": "commands.md",
    "plan": "studies.md",
    "plugin": "architecture.md",
    "pretrain": "pretraining.md",
    "probe": "probe.md",
    "program": "commands.md",
    "ranking": "rank.md",
    "report": "analysis.md",
    "results": "studies.md",
    "setting": "methods.md",
    "split": "datasets.md",
    "statistics": "analysis.md",
    "storage": "storage.md",
    "store": "store.md",
    "study": "studies.md",
    "table": "analysis.md",
    "test": "studies.md",
    "toml": "studies.md",
    "training": "training.md",
    "upstream": "models.md",
    "weights": "models.md",
}


class Construction(NamedTuple):
    """One place in the source that makes an error; `path` is relative to the package.

    `code` is the literal one, or that of the class, None if neither is specific; `message` a
    template with values in braces, "" where the source computes it.
    """

    path: str
    line: int
    kind: str
    code: str | None
    message: str

    @property
    def module(self) -> str:
        path = self.path.removesuffix(".py").removesuffix("/__init__")
        return f"headstart.{path.replace('/', '.')}"


@dataclass(frozen=True)
class CodedError:
    """All that is known of a code: its class, the first line of that one's docstring, messages.

    Messages are templates, values in braces; `modules` are where such an error is made.
    """

    code: str
    kind: str
    meaning: str
    messages: tuple[str, ...]
    modules: tuple[str, ...]

    @property
    def page(self) -> str:
        """The page of the docs about its subject."""
        return f"docs/{PAGES.get(self.code.partition('.')[0], 'errors.md')}"

    def text(self) -> list[str]:
        """Return all of it, one line per fact."""
        facts = [f"{self.code}: {self.meaning}", *(f"  {message}" for message in self.messages)]
        return [*facts, f"see {self.page}; class headstart.errors.{self.kind}"]


class _Class(NamedTuple):
    """A class of errors: what `ast` knows of it."""

    bases: tuple[str, ...]
    code: str | None
    meaning: str
    message: str


def error_index(wanted: str | None = None) -> dict[str, CodedError]:
    """Return all codes in alphabetical order, or the wanted one alone, which is far quicker."""
    classes = _error_classes()
    found: dict[str, list[Construction]] = {}
    for one in constructions(wanted):
        if one.code is not None and wanted in (None, one.code):
            found.setdefault(one.code, []).append(one)
    return {
        code: CodedError(
            code,
            of_code[0].kind,
            classes[of_code[0].kind].meaning,
            tuple(dict.fromkeys(one.message for one in of_code if one.message)),
            tuple(dict.fromkeys(one.module for one in of_code)),
        )
        for code, of_code in sorted(found.items())
    }


def explained(code: str) -> CodedError:
    """Return what is known of a code.

    Raises
    ------
    UnknownNameError
        There is none of this name; the nearest are named.
    """
    if code not in (index := error_index(wanted=code)):
        raise UnknownNameError("error code", code, error_index())
    return index[code]


@cache
def constructions(wanted: str | None = None) -> Sequence[Construction]:
    """Return all places that make an error, by path and line; with `wanted` at least those of it.

    A ``code=`` that passes on the code of another error (``code=error.code``) is none of its own.
    """
    classes = _error_classes()
    # A code is a literal where an error is made, or that of the error's class.
    marks = [f'"{wanted}"', *(name for name, of in classes.items() if of.code == wanted)]
    found = []
    for path, text in _texts().items():
        if "Error" not in text or (wanted and not any(mark in text for mark in marks)):
            continue
        for node in ast.walk(_parsed(path)):
            if not isinstance(node, ast.Call) or (kind := _name(node.func)) not in classes:
                continue
            given = next((word.value for word in node.keywords if word.arg == "code"), None)
            if isinstance(given, ast.Attribute) and given.attr == "code":
                continue
            code = str(given.value) if isinstance(given, ast.Constant) else None
            if given is None:
                code = classes[kind].code
                code = code if code and "." in code else None
            message = classes[kind].message or _message(node.args)
            found.append(Construction(path, node.lineno, kind, code, message))
    return found


@cache
def _texts() -> Mapping[str, str]:
    return {
        path.relative_to(SOURCE).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(SOURCE.rglob("*.py"))
    }


@cache
def _parsed(path: str) -> ast.Module:
    return ast.parse(_texts()[path])


@cache
def _error_classes() -> Mapping[str, _Class]:
    """Find the classes under `HeadstartError`, with the code of each or of its base."""
    all_ = {
        node.name: _class(node)
        for path, text in _texts().items()
        if ERROR_CLASS.search(text)
        for node in ast.walk(_parsed(path))
        if isinstance(node, ast.ClassDef)
    }
    found = {ROOT: all_[ROOT]._replace(code=None)}
    while new := {
        name: of for name, of in all_.items() if name not in found and found.keys() & set(of.bases)
    }:
        for name, of in new.items():
            parent = next(found[base] for base in of.bases if base in found)
            code, message = of.code or parent.code, of.message or parent.message
            found[name] = of._replace(code=code, message=message)
    return found


def _class(node: ast.ClassDef) -> _Class:
    code = next(
        (
            each.value.value
            for each in node.body
            if isinstance(each, ast.Assign | ast.AnnAssign)
            and isinstance(each.value, ast.Constant)
            and "code"
            in map(_name, each.targets if isinstance(each, ast.Assign) else [each.target])
        ),
        None,
    )
    # A class that writes its own message passes it to the constructor above it.
    own = [
        call
        for call in ast.walk(node)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "__init__"
    ]
    message = _message(own[0].args) if own and node.name != ROOT else ""
    bases = tuple(_name(base) for base in node.bases)
    meaning = (ast.get_docstring(node) or "").partition("\n")[0]
    return _Class(bases, str(code) if code else None, meaning, message)


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _message(arguments: Sequence[ast.expr]) -> str:
    return _template(arguments[0]) if arguments else ""


def _template(node: ast.expr) -> str:
    """Write a string expression as a template; "" if it holds no text of its own."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(
            _placeholder(part.value) if isinstance(part, ast.FormattedValue) else _template(part)
            for part in node.values
        )
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        sides = (_template(side) or _placeholder(side) for side in (node.left, node.right))
        return "".join(sides)
    return ""


def _placeholder(node: ast.expr) -> str:
    """Write a value in braces by the name in it that says the most."""
    names = [each for each in map(_named, ast.walk(node)) if each]
    return "{" + (names[0] if names else "...") + "}"


def _named(node: ast.AST) -> str:
    """Return the name of a variable or an attribute; not of a method that is called."""
    if isinstance(node, ast.Attribute):
        return "" if node.attr in ("join", "format") else node.attr.strip("_")
    return node.id.strip("_") if isinstance(node, ast.Name) else ""
