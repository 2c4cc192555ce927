"""An error that is expected: its code, and the values that it is about; never its wording."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pydantic import ValidationError

from headstart.errors import HeadstartError


@contextmanager
def refused(code: str, **values: object) -> Iterator[pytest.ExceptionInfo[HeadstartError]]:
    """Expect an error with this code, a message of one line, and at least these values."""
    with pytest.raises(HeadstartError) as error:
        yield error
    _check(error.value, code, values)


@contextmanager
def invalid(kind: str, *place: str) -> Iterator[None]:
    """Expect a field at this place that pydantic refuses for an error of this type."""
    with pytest.raises(ValidationError) as error:
        yield
    (one,) = error.value.errors()
    assert (one["type"], one["loc"]) == (kind, place)


def ended(outcome, code: str, **values: object) -> None:
    """Check that a command (the fixture `cli`) ended with this error, in one line."""
    assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
    assert outcome.err.startswith("error: ")
    _check(outcome.error, code, values)


def _check(error: HeadstartError, code: str, values: dict[str, object]) -> None:
    found = {name: error.values.get(name) for name in values}
    assert (error.code, found) == (code, values), str(error)
    assert len(str(error).splitlines()) == 1
