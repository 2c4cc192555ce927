"""Make a study from options and study files: lists, ranges of numbers, replaced keys."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headstart.errors import CommandError
from headstart.files import split_names
from headstart.study import Study, sweep_study

__all__ = ["integers", "read_study"]

# `0-4`, `0..4`, and a dash as word processors have it.
RANGE = re.compile(r"([0-9]+)\s*(?:-|\u2013|\.\.\.?)\s*([0-9]+)")
# More are a slip of the finger.
MOST = 10_000
SEEDS = (0, 2**32 - 1)
COUNTS = (1, 10**12)
# Options that hold several whole numbers, and what these may be.
INTEGERS: Mapping[str, tuple[int, int]] = {
    "seeds": SEEDS,
    "steps": COUNTS,
    "examples_per_class": COUNTS,
}


def read_study(
    file: Path | None, options: Mapping[str, Any], *, trust: bool = False
) -> tuple[Study, list[str]]:
    """Make a study of options, or of a file whose keys the options replace.

    Parameters
    ----------
    file
        A study file, or the name of a shipped study; None takes options alone.
    options
        By the names of the study's keys, and ``study`` for one of the further studies; None is not
        given.
    trust
        As `Study.from_toml` takes it. What an option names was typed by the user.

    Returns
    -------
    tuple
        The study, and a line for each key of the file that was replaced.
    """
    fields = {name: _value(name, value) for name, value in options.items() if value is not None}
    further = fields.pop("study", None)
    if file is None:
        return (sweep_study(further, fields) if further else Study(**fields)), []
    if further:
        raise CommandError(
            f"--study {further} goes without a study file: found {file} as well",
            code="command.conflict",
            option="--study",
            file=str(file),
        )
    study = Study.from_toml(file, trust=trust, replaced=fields)
    return study, [_replaced(file, name, fields[name]) for name in fields]


def integers(option: str, text: str, lowest: int, highest: int) -> list[int]:
    """Read integers and ranges of them, separated by commas.

    Parameters
    ----------
    option
        For the message: ``"seeds"``.
    text
        ``0,1,2``, ``0-4``, ``0..4`` (both ends belong to a range), or several of these.
    lowest, highest
        What each may be.

    Raises
    ------
    CommandError

    Examples
    --------
    >>> integers("seeds", "0-2, 7,9..10", 0, 100)
    [0, 1, 2, 7, 9, 10]
    """
    found: list[int] = []
    for part in (part.strip() for part in text.split(",") if part.strip()):
        if span := RANGE.fullmatch(part):
            first, last = int(span[1]), int(span[2])
            if last < first:
                raise _no_integers(
                    option, part, f"a range that ends after it begins: {last}-{first}"
                )
            if last - first >= MOST:
                raise _no_integers(option, part, f"at most {MOST:,} of them")
            numbers = list(range(first, last + 1))
        elif re.fullmatch(r"[+-]?[0-9]+(_[0-9]+)*", part):
            numbers = [int(part)]
        else:
            raise _no_integers(option, part, f"integers, for example {_example(lowest)}")
        for number in numbers:
            if not lowest <= number <= highest:
                raise _no_integers(option, part, f"integers from {lowest} to {highest}")
        found += numbers
    if not found:
        raise _no_integers(option, text, f"integers, for example {_example(lowest)}")
    if len(found) > MOST:
        raise _no_integers(option, text, f"at most {MOST:,} of them")
    return found


def _example(lowest: int) -> str:
    return f"{lowest},{lowest + 1},{lowest + 2} or {lowest}-{lowest + 4}"


def _no_integers(option: str, text: str, expected: str) -> CommandError:
    return CommandError(
        f"invalid {option} '{text[:60]}': expected {expected}",
        code="command.value",
        name=option,
        value=text,
        expected=expected,
    )


def _value(name: str, value: Any) -> Any:
    """Take the text of an option that holds several values apart."""
    if name in INTEGERS:
        return integers(name.replace("_", "-"), value, *INTEGERS[name])
    if name in ("models", "datasets", "settings"):
        return split_names(value)
    return value


def _replaced(file: Path, name: str, value: Any) -> str:
    shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"{file}: {name} from the command line: {shown}"
