"""What all nouns share: a frozen base class, digests, and readable validation errors."""

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import date, time
from types import MappingProxyType
from typing import Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, ValidationError

__all__ = ["Invalid", "Noun", "digest", "first_invalid"]

# Longer values are cut: one line has to hold them.
LONGEST = 60


class Noun(BaseModel):
    """A frozen value; an unknown or wrong field raises pydantic.ValidationError."""

    # An infinite gap (nothing is certified) must come back from JSON as one, not as null.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    def replace(self, **changes: Any) -> Self:
        """Return a copy with other fields, validated."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self)(**{**fields, **changes})


def digest(value: Any) -> str:
    """Hexadecimal SHA-256 of a JSON value in canonical form (sorted keys, no spaces).

    Floats are written by ``repr``, the shortest text that reads back as the same float64. NaN and
    infinity raise ValueError.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class Invalid(NamedTuple):
    """One value that is not what it has to be.

    `place` are the keys and list indices that lead to it (empty for several fields together),
    `shown` is the value in one line, `expected` a noun phrase.
    """

    place: tuple[str | int, ...]
    shown: str
    expected: str
    kind: str


Words = Callable[[Mapping[str, Any]], str]


def _fixed(text: str) -> Words:
    return lambda _: text


# By the beginning of the type of pydantic's error; the longest beginning counts.
EXPECTED: Mapping[str, Words] = MappingProxyType(
    {
        "int": _fixed("an integer"),
        "float": _fixed("a number"),
        "decimal": _fixed("a number"),
        "finite_number": _fixed("a finite number"),
        "bool": _fixed("true or false"),
        "string": _fixed("text in quotes"),
        "bytes": _fixed("text in quotes"),
        "path": _fixed("a path"),
        "tuple": _fixed("a list, [...]"),
        "list": _fixed("a list, [...]"),
        "dict": _fixed("a table, {...}"),
        "model": _fixed("a table, {...}"),
        "missing": _fixed("a value"),
        "extra_forbidden": _fixed("no such key"),
        "greater_than": lambda context: f"more than {_number(context['gt'])}",
        "greater_than_equal": lambda context: f"{_number(context['ge'])} or more",
        "less_than": lambda context: f"less than {_number(context['lt'])}",
        "less_than_equal": lambda context: f"{_number(context['le'])} or less",
        "multiple_of": lambda context: f"a multiple of {_number(context['multiple_of'])}",
        "too_short": lambda context: f"at least {context['min_length']} value(s)",
        "too_long": lambda context: f"at most {context['max_length']} values",
        "literal_error": lambda context: str(context["expected"]).replace("'", ""),
        "enum": lambda context: str(context["expected"]).replace("'", ""),
        "value_error": lambda context: _single_line(str(context["error"])),
    }
)


def first_invalid(error: ValidationError) -> Invalid:
    """Return the first thing that is wrong.

    Examples
    --------
    >>> from pydantic import TypeAdapter
    >>> try:
    ...     TypeAdapter(int).validate_python("a")
    ... except ValidationError as error:
    ...     first_invalid(error)[1:3]
    ("'a'", 'an integer')
    """
    first = error.errors()[0]
    kind = str(first["type"])
    known = max((name for name in EXPECTED if kind.startswith(name)), key=len, default=None)
    context = first.get("ctx", {})
    expected = EXPECTED[known](context) if known else "another kind of value"
    # Of a union each alternative has a place of its own, by the name of its type.
    place = tuple(part for part in first["loc"] if part not in ("str", "int", "float"))
    return Invalid(place, _shown(first["input"]), expected, kind)


def _shown(value: Any) -> str:
    """Write a value as a study file has it."""
    written = str(value) if isinstance(value, date | time) else repr(value)
    return _single_line({"True": "true", "False": "false"}.get(written, written))


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _single_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST * 3 else f"{line[: LONGEST * 3]}..."
