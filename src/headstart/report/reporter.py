"""What a reporter is, and those whose files are data: CSV, JSON.

A reporter is an output format of an analysis, chosen by name or by a file's suffix: one file and
one entry point, an object with `label`, `suffixes` and `write` (`Reporter`), registered as
``headstart.reporter`` under the name of its format. Own ones are also ``html`` (`report_page`),
``latex`` (`latex`), ``card`` and ``notebook`` (`results_card`).
"""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd

from headstart.errors import AnalysisError
from headstart.files import replaced, writable_folder
from headstart.registry import REPORTERS
from headstart.shown_text import harmless

if TYPE_CHECKING:
    from headstart.analysis import Analysis

__all__ = [
    "CsvTable",
    "JsonTables",
    "Reporter",
    "TextReporter",
    "csv_table",
    "csv_text",
    "find_reporter",
    "safe_cell",
    "to_csv",
    "write_folder",
    "write_report",
]


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


COLUMNS = [
    *("setting", "model", "row", "dataset", "value", "unit", "low", "high", "n_seeds", "seed_sd"),
    *("best", "not_different", "difference", "difference_low", "difference_high"),
]
# Where a spreadsheet may see a cell that begins like a formula (OWASP, CSV injection): also one of
# full width, and behind what divides cells in other countries. Also in templates/page.js.
FORMULA = re.compile(r'(^|[;\t\r\n])(?=[\s"]*[=+@\uff1d\uff0b\uff0d\uff20-])')
NEGATIVE = re.compile(r"-[0-9.]+(e[+-]?[0-9]+)?")


class CsvTable(TextReporter):
    """The reporter of `csv_text`: every accuracy with its marks, in one table."""

    label = "CSV"
    suffixes = (".csv",)

    def text(self, analysis: "Analysis") -> str:
        """Return one long table."""
        return csv_text(analysis)


class JsonTables(TextReporter):
    """A reporter: every table as a list of records under its name, sources and options."""

    label = "Tables"
    suffixes = (".json",)

    def text(self, analysis: "Analysis") -> str:
        """Return all tables; numbers have 15 digits."""
        content: dict[str, Any] = {
            name: json.loads(table.to_json(orient="records", double_precision=15))
            for name, table in analysis.tables().items()
        }
        content |= {"sources": list(analysis.sources), "options": [analysis.options]}
        return harmless(json.dumps(content, indent=1, ensure_ascii=False))


def csv_table(analysis: "Analysis") -> Any:
    """Return every accuracy and every mean in one long table.

    Its columns are ``setting``, ``model``, ``row`` (``cell``, or for means over datasets, which
    have no ``dataset``, ``mean`` of the log odds and ``mean_accuracy``), ``dataset``, ``value``,
    ``unit`` (``proportion``, for a mean ``log odds``), ``low`` and ``high`` of its 95 % interval,
    ``n_seeds`` of a cell and their standard deviation in log odds, ``best`` of its dataset and
    setting, ``not_different`` significantly from that best (None where untested), and its
    ``difference`` from the best with the interval, in the unit of the row.
    """
    cells = analysis.cells.rename(columns={"accuracy": "value"}).assign(row="cell")
    means = analysis.model_means.rename(columns={"mean": "value"}).assign(row="mean")
    cells = cells.assign(unit="proportion")
    means = means.assign(unit="log odds", dataset=None, n_seeds=None, seed_sd=None)
    hundred = means.drop(columns="value").rename(columns={"accuracy": "value"}).assign(
        row="mean_accuracy", unit="proportion", low=None, high=None, difference=None,
        difference_low=None, difference_high=None,
    )  # fmt: skip
    parts = [part for part in (cells, means, hundred) if len(part)]
    if not parts:
        return pd.DataFrame(columns=COLUMNS)
    rows = [row for part in parts for row in part[COLUMNS].to_dict("records")]
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.assign(n_seeds=table.n_seeds.astype("Int64"))


def csv_text(analysis: "Analysis") -> str:
    """Return `csv_table` as CSV."""
    return to_csv(csv_table(analysis))


def to_csv(table: pd.DataFrame) -> str:
    """Return a table as CSV in which a spreadsheet takes no name for a formula.

    A name that begins like one gets an apostrophe before it (OWASP, CSV injection). No terminal
    takes a part for a command.
    """
    names = [column for column in table if not pd.api.types.is_numeric_dtype(table[column])]
    safe = table.assign(**{str(column): table[column].map(safe_cell) for column in names})
    return str(safe.to_csv(index=False, header=[safe_cell(str(column)) for column in table]))


def safe_cell(value: Any) -> Any:
    """Return a cell that is no formula, if it is a text.

    Examples
    --------
    >>> safe_cell("=1+1"), safe_cell("a;=1+1"), safe_cell("-0.5")
    ("'=1+1", "a;'=1+1", '-0.5')
    """
    if not isinstance(value, str) or NEGATIVE.fullmatch(value):
        return value
    return harmless(FORMULA.sub(r"\1'", value))


def write_folder(
    analysis: "Analysis", folder: Path, references: pd.DataFrame | None = None
) -> tuple[str, ...]:
    """Write every table that has rows as CSV, and every figure as PNG, SVG and PDF.

    The folder is made where it is missing; figures, whose names are returned, go to its folder
    ``figures``. `references` are lines of the figure ``settings``, as
    `headstart.analysis.read_references` returns them.
    """
    # Figures need Altair, which the other formats do without.
    from headstart.analysis import match_names
    from headstart.figures import available, save

    lines = {}
    if references is not None:
        same = match_names("dataset", references["dataset"], analysis.cells["dataset"])
        lines["references"] = references.assign(dataset=references["dataset"].replace(same))
    writable_folder(folder)
    for name, table in analysis.tables().items():
        if not table.empty:
            with replaced(folder / f"{name}.csv") as temporary:
                temporary.write_text(to_csv(table), encoding="utf-8", newline="")
    names = available(analysis.tables(), analysis.predictor)
    if names:
        figures = writable_folder(folder / "figures")
        for name in names:
            save(analysis.figure(name, **(lines if name == "settings" else {})), figures / name)
    return tuple(names)
