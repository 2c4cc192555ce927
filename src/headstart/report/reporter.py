"""What a reporter is: an output format of an analysis, chosen by name or by a file's suffix.

A reporter is one file and one entry point: an object with `label`, `suffixes` and `write`
(`Reporter`), registered as ``headstart.reporter`` under the name of its format. Own ones
are ``html`` (`report_page`), ``latex`` (`latex`), ``csv`` and ``json`` (`data_files`).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from headstart.errors import AnalysisError
from headstart.files import replaced
from headstart.registry import REPORTERS

if TYPE_CHECKING:
    from headstart.analysis import Analysis

__all__ = ["Reporter", "TextReporter", "find_reporter", "write_report"]


class Reporter(Protocol):
    """One output format of an analysis.

    `label` is what the command line calls the file; `suffixes` are the endings of files, with their
    dot and in lower case, that mean this format.
    """

    @property
    def label(self) -> str: ...

    @property
    def suffixes(self) -> Sequence[str]: ...

    def write(self, analysis: "Analysis", target: Path) -> None:
        """Write an analysis to a file in a folder that is there, whole or not at all.

        Its tables (`Analysis.tables`) hold all numbers; a reporter computes none.
        """
        ...


class TextReporter(ABC):
    """A reporter whose file is a text."""

    @abstractmethod
    def text(self, analysis: "Analysis") -> str:
        """Return the text of an analysis."""

    def write(self, analysis: "Analysis", target: Path) -> None:
        """Write the text to a file, whole or not at all."""
        with replaced(target) as temporary:
            temporary.write_text(self.text(analysis), encoding="utf-8", newline="")


def find_reporter(
    target: Path, format_name: str | None = None, formats: Iterable[str] = ()
) -> Reporter:
    """Return the reporter of a format of `headstart.registry.REPORTERS`, or of a file's suffix.

    Without a `format_name` the suffix of `target` decides: among `formats`, or all if empty.

    Raises
    ------
    UnknownNameError
        No format of this name.
    AnalysisError
        No format with this suffix (code ``report.suffix``).

    Examples
    --------
    >>> find_reporter(Path("a.TEX")).label, find_reporter(Path("a.txt"), "csv").label
    ('LaTeX', 'CSV')
    """
    if format_name is not None:
        found: Reporter = REPORTERS[format_name]
        return found
    known: dict[str, None] = {}
    for found in map(REPORTERS.__getitem__, formats or REPORTERS):
        if target.suffix.lower() in found.suffixes:
            return found
        known |= dict.fromkeys(found.suffixes)
    raise AnalysisError(
        f"unknown suffix '{target.suffix}' of {target}: expected {', '.join(known)}"
        + ("" if formats else f"; or pass --format {'|'.join(REPORTERS)}"),
        code="report.suffix",
        target=str(target),
        suffix=target.suffix,
        known=list(known),
    )


def write_report(analysis: "Analysis", target: str | Path, format_name: str | None = None) -> Path:
    """Write an analysis to a file, in the format of its suffix or in the one named; return it.

    Raises
    ------
    UnknownNameError, AnalysisError
        No such format, or no format with this suffix.
    StorageError
        The file cannot be written.
    """
    target = Path(target)
    find_reporter(target, format_name).write(analysis, target)
    return target
