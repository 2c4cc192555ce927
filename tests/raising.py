"""What errors are recognised by: their code and values, never their wording."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from headstart.errors import HeadstartError

__all__ = ["raises"]


@contextmanager
def raises(code: str, **values: object) -> Iterator[pytest.ExceptionInfo[HeadstartError]]:
    """Expect an error of this code, of one line, with these values among its own."""
    with pytest.raises(HeadstartError) as error:
        yield error
    found = error.value
    assert (found.code, len(str(found).splitlines())) == (code, 1)
    assert {name: found.values.get(name) for name in values} == values
