"""The table of faults in docs/reliability.md, written by the tests that do them.

Where $HEADSTART_WRITE_RELIABILITY is 1, a complete run of the tests that the page names writes what
they noted.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"
START, END = "<!-- faults -->\n", "<!-- end of faults -->\n"
WRITE = "HEADSTART_WRITE_RELIABILITY"

rows: dict[str, tuple[str, str]] = {}


@pytest.fixture
def outcome(request) -> Callable[[str, str], None]:
    """Note what a fault did, for the page."""

    def note(fault: str, what: str) -> None:
        rows[request.node.nodeid] = (fault, what)

    return note


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write the table into the page, if that is asked for and all went well."""
    shared = "PYTEST_XDIST_WORKER" in os.environ
    if os.environ.get(WRITE) != "1" or exitstatus or shared or not rows:
        return
    lines = [f"| {fault} | {what} |" for fault, what in rows.values()]
    table = "\n".join(["| fault | outcome |", "| --- | --- |", *lines, ""])
    before, _, rest = PAGE.read_text().partition(START)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + START + table + END + after)
