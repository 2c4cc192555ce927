"""An error that is expected: its code, and the values that it is about; never its wording."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from headstart.errors import HeadstartError


@contextmanager
def refused(code: str, **values: object) -> Iterator[pytest.ExceptionInfo[HeadstartError]]:
    """Expect an error with this code, a message of one line, and at least these values."""
    with pytest.raises(HeadstartError) as error:
        yield error
    found = {name: error.value.values.get(name) for name in values}
    assert (error.value.code, found) == (code, values), str(error.value)
    assert len(str(error.value).splitlines()) == 1
