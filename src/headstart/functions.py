"""Functions in the user's files: ``path/to/file.py:function``, called without arguments.

Naming one executes code. That is intended on the command line; a study file from elsewhere needs
`trust` for it (`Study.from_toml`).
"""

import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from headstart.errors import FunctionError, UnknownNameError

__all__ = ["call_function", "is_function", "locate_function"]

REFERENCE = re.compile(r"(?P<file>.+\.py):(?P<function>[A-Za-z_]\w*)")


def is_function(reference: str) -> bool:
    """Return whether a name without options refers to a function."""
    return REFERENCE.fullmatch(reference) is not None


def locate_function(reference: str, kind: str) -> tuple[Path, str]:
    """Return the file and the name of a function, without executing code.

    Parameters
    ----------
    reference
        Reference as typed.
    kind
        What it names, for messages: ``"model"``, ``"dataset"``.

    Raises
    ------
    FunctionError
        The reference is invalid, or its file is missing.
    """
    found = REFERENCE.fullmatch(reference)
    if found is None:
        raise FunctionError(
            f"'{reference}' names no function: expected path/to/file.py:function",
            code="function.reference_invalid",
            name=reference,
        )
    file = Path(os.path.expanduser(found["file"])).resolve()
    if not file.is_file():
        raise FunctionError(
            f"{kind} '{reference}': there is no file {file}",
            code="function.file_missing",
            file=str(file),
        )
    return file, found["function"]


def call_function(file: Path, function: str) -> Any:
    """Execute the file, call its function without arguments, and return its value.

    Raises
    ------
    UnknownNameError
        The file has no such function; the message suggests similar names.
    FunctionError
        For any exception in the user's code: one line with its location. For a network in place
        of the function that returns it.
    """
    with _in_one_line(file), _beside(file):
        # A module of its own, without bytecode; dataclasses and pickle look it up.
        module = ModuleType(f"headstart_function_{file.stem}")
        module.__file__ = str(file)
        sys.modules[module.__name__] = module
        exec(compile(file.read_bytes(), str(file), "exec"), vars(module))  # noqa: S102
        made = getattr(module, function, None)
        if callable(getattr(made, "forward", None)) and not isinstance(made, type):
            # A network: calling it would run it.
            raise FunctionError(
                f"{file}: {function} is a value of type {type(made).__name__}, not a function: "
                f"name a function that returns it, for example get_{function} of 'def "
                f"get_{function}(): return {function}'",
                code="function.not_function",
                file=str(file),
                name=function,
            )
        if callable(made):
            return made()
    known = [name for name, value in vars(module).items() if callable(value)]
    raise UnknownNameError(f"function of {file}", function, known)


@contextmanager
def _beside(file: Path) -> Iterator[None]:
    """Let the file import modules in its folder, as a script would; unload them afterwards.

    Otherwise a module of the same name in another folder would never be imported.
    """
    folder, before = str(file.parent), set(sys.modules)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)
        for name in set(sys.modules) - before:
            top = name.partition(".")[0]
            if (file.parent / f"{top}.py").is_file() or (file.parent / top).is_dir():
                del sys.modules[name]


@contextmanager
def _in_one_line(file: Path) -> Iterator[None]:
    """Convert any exception of the user's code to one line with its location."""
    try:
        yield
    except FunctionError:
        raise
    except (Exception, SystemExit) as error:
        kind, number = type(error).__name__, _line(error, file)
        line = f", line {number}" if number else ""
        reason = (str(error) or "without a message").strip().splitlines()[0]
        raise FunctionError(
            f"{file}{line}: {kind}: {reason}",
            code="function.failed",
            file=str(file),
            line=number,
            kind=kind,
        ) from error


def _line(error: Any, file: Path) -> int | None:
    """Return the line of the file where an error occurred; None if it is not of this file."""
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return error.lineno
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(file)]
    return lines[-1] if lines else None
