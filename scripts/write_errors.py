"""Write docs/errors.md: all codes of errors, from the source."""

from itertools import groupby
from pathlib import Path

from headstart.error_index import PAGES, error_index

PAGE = Path(__file__).parents[1] / "docs" / "errors.md"
HEAD = """\
# Errors

An error of `headstart` is one line on the error stream and exit code 2; `--verbose` adds its code
in brackets, and `headstart explain CODE` prints what is below. In Python every error is a
`HeadstartError` with the same `code` and the `values` that its message is about. Codes are stable
across versions, messages are not: programs match codes. Where a command prints JSON, nothing is
printed on the standard output if it fails.

This page is generated from the source by `make docs`. Words in braces stand for values.
"""


def page() -> str:
    """Return the page: one section per subject, one line per code."""
    lines = [HEAD]
    for subject, entries in groupby(error_index().values(), lambda one: one.code.partition(".")[0]):
        found = list(entries)
        about = PAGES[subject]
        lines += [f"## {subject}\n", f"See [{about}]({about}).\n"]
        for one in found:
            shown = "; ".join(f"`{message.replace('`', '')}`" for message in one.messages)
            lines += [f"- **{one.code}** ({one.kind}){': ' if shown else ''}{shown}"]
        lines += [""]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
