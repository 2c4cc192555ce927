"""What all nouns share: a frozen base class, digests, and readable validation errors."""

import hashlib
import json
from collections.abc import Mapping
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


# By the beginning of the type of pydantic's error; the longest beginning counts. In braces what
# pydantic knows of the error.
EXPECTED: Mapping[str, str] = MappingProxyType(
    {
        "int": "an integer",
        "float": "a number",
        "decimal": "a number",
        "finite_number": "a finite number",
        "bool": "true or false",
        "string": "text in quotes",
        "bytes": "text in quotes",
        "path": "a path",
        "tuple": "a list, [...]",
        "list": "a list, [...]",
        "dict": "a table, {{...}}",
        "model": "a table, {{...}}",
        "missing": "a value",
        "extra_forbidden": "no such key",
        "greater_than": "more than {gt}",
        "greater_than_equal": "{ge} or more",
        "less_than": "less than {lt}",
        "less_than_equal": "{le} or less",
        "multiple_of": "a multiple of {multiple_of}",
        "too_short": "at least {min_length} value(s)",
        "too_long": "at most {max_length} values",
        "literal_error": "{expected}",
        "enum": "{expected}",
        "value_error": "{error}",
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
    context = {
        name: f"{value:g}" if isinstance(value, float) else _single_line(str(value))
        for name, value in first.get("ctx", {}).items()
    }
    if "expected" in context:
        context["expected"] = context["expected"].replace("'", "")
    expected = EXPECTED[known].format_map(context) if known else "another kind of value"
    # Of a union each alternative has a place of its own, by the name of its type.
    place = tuple(part for part in first["loc"] if part not in ("str", "int", "float"))
    return Invalid(place, _shown(first["input"]), expected, kind)


def _shown(value: Any) -> str:
    """Write a value as a study file has it."""
    written = str(value) if isinstance(value, date | time) else repr(value)
    return _single_line({"True": "true", "False": "false"}.get(written, written))


def _single_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST * 3 else f"{line[: LONGEST * 3]}..."
