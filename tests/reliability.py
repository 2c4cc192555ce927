"""The table of faults in docs/reliability.md, written by the tests that do them.

Where $HEADSTART_WRITE_RELIABILITY is 1, a run in which all went well writes what its tests noted: a
run of all that the page names the whole table, a part of it the rows of its faults.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"
START, END = "<!-- faults -->\n", "<!-- end of faults -->\n"
HEADING = "| fault | outcome |\n| --- | --- |\n"
WRITE = "HEADSTART_WRITE_RELIABILITY"
# Of pytest, as the page has them.
ALL = ["tests/faults", "tests/store/test_postgresql.py", "tests/test_artifacts.py"]

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
    whole = session.config.args == ALL and not session.config.option.keyword
    PAGE.write_text(written(PAGE.read_text(), dict(rows.values()), whole=whole))


def written(page: str, noted: Mapping[str, str], *, whole: bool) -> str:
    """Return the page with what was noted of faults in its table.

    Parameters
    ----------
    page
        Its text.
    noted
        Outcomes by fault, in the order of the tests.
    whole
        Whether that is the table; else its other rows stay, and a row of a new fault comes behind
        the one that was noted before it.
    """
    before, _, rest = page.partition(START)
    table, _, after = rest.partition(END)
    lines = table.removeprefix(HEADING).splitlines(keepends=True)
    found = {} if whole else {line.split(" | ")[0]: line for line in lines}
    order, last = list(found), ""
    for fault, what in noted.items():
        name = f"| {fault}"
        if name not in found:
            order.insert(order.index(last) + 1 if last else len(order), name)
        found[name], last = f"{name} | {what} |\n", name
    return before + START + HEADING + "".join(found[name] for name in order) + END + after
