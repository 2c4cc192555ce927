"""The tables of a paper as LaTeX."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import count

from headstart.analysis import Analysis
from headstart.report.model_tables import accuracy_table
from headstart.report.page_model import (
    Column,
    Names,
    PageCell,
    PageTable,
    correction_sentence,
    digits_wide,
    names_of,
)
from headstart.report.reporter import TextReporter
from headstart.report.result_tables import comparison_tables, correlation_table

__all__ = ["LatexTables", "labels", "latex_tables"]

# Characters that are special in LaTeX. After the end of a row, [ and * would be arguments of \\.
SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\char34{}",
    "`": r"\textasciigrave{}", "[": "{[}", "]": "{]}", "*": "{*}",
    # What pdflatex sets in math mode.
    "\N{PLUS-MINUS SIGN}": r"$\pm$", "\N{MINUS SIGN}": "$-$",
    "\N{RIGHTWARDS ARROW}": r"$\rightarrow$", "\N{GREEK SMALL LETTER RHO}": r"$\rho$",
    "\N{GREEK SMALL LETTER TAU}": r"$\tau$",
}  # fmt: skip
# Of a page of 550 pt: lines of \footnotesize, how many of them a line of the caption takes and the
# rules of a panel, letters in a line of the caption. Longer tables are split.
PAGE_LINES, CAPTION_LINE, RULES, CAPTION_LETTERS = 56.0, 1.3, 1.5, 75.0
# A line of text (345 pt) in digits of \footnotesize, and the room between columns (6 pt).
LINE_WIDTH, GAP = 79.0, 1.4
# Size of an interval's characters by those of its number.
SCRIPT = 0.95
# A correlation, in a heading.
R = re.compile(r"\br\b(?=,|$)")
# Letters with these marks are in the fonts of pdflatex.
ACCENTS = "\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327\u0328"
TYPOGRAPHY = "\u2013\u2014\u2018\u2019\u201c\u201d\u2026"
UNICODE = (
    "% Some names have letters that pdflatex has no font for: compile with xelatex or lualatex,\n"
    "% in a font that has them (\\usepackage{fontspec})."
)


@dataclass(frozen=True)
class LatexTables(TextReporter):
    """The reporter of `latex_tables`; `intervals` below each accuracy are an option."""

    intervals: bool = False
    label = "LaTeX"
    suffixes = (".tex",)

    def text(self, analysis: Analysis) -> str:
        """Return the tables."""
        return latex_tables(analysis, intervals=self.intervals)


def latex_tables(analysis: Analysis, digits: int = 1, *, intervals: bool = False) -> str:
    """Return the accuracies, one table per setting, correlations and comparisons as LaTeX.

    `digits` are the decimals of a percentage; with `intervals` an accuracy has its 95 % interval
    below it. The tables need the package ``booktabs``; names with letters beyond those of
    pdflatex's fonts also need xelatex or lualatex, which a comment at the top then says. A table
    that is wider than a line is folded: its columns go on in a second panel below.
    """
    names = names_of(analysis)
    tables = [
        *(
            replace(accuracy_table(analysis, names, setting, digits), key=f"transfer-{key}")
            for setting, key in labels(names.settings).items()
        ),
        overall_correlations(analysis, names),
        *(
            replace(table, key=f"transfer-{table.key}")
            for table in comparison_tables(analysis, names)
            if table.key != "unshared"
        ),
    ]
    body = "\n\n".join(floats(table, analysis, intervals) for table in tables if table.rows)
    # What pdflatex can print: Latin letters, with or without accents.
    letters = {one for one in unicodedata.normalize("NFD", body) if not one.isascii()}
    first = ["% \\usepackage{booktabs}", *[UNICODE] * (not letters <= {*ACCENTS, *TYPOGRAPHY})]
    return "\n".join(first) + "\n\n" + body + "\n"


def overall_correlations(analysis: Analysis, names: Names) -> PageTable:
    """Return the correlations over all datasets that are known."""
    correlations = analysis.correlations
    table = correlation_table(analysis, names, set(correlations["group"]) - {"all"})
    table = table.without(lambda column: column.label == "Dataset group")
    known = correlations[correlations["group"] == "all"].dropna(subset="estimate")
    ends = ", with 95 % confidence intervals" if known["low"].notna().any() else ""
    return replace(
        table,
        key="transfer-correlations",
        caption=f"{table.caption} over all datasets{ends}",
        rows=table.rows if len(known) else [],
        note="",
    )


def escaped(text: str) -> str:
    r"""Escape a name for LaTeX.

    Examples
    --------
    >>> print(escaped("a_b & 50 %"))
    a\_b \& 50 \%
    """
    # Control and format characters, such as marks of direction, print nothing and stop pdflatex.
    seen = "".join(c for c in " ".join(text.split()) if unicodedata.category(c)[0] != "C")
    return "".join(SPECIAL.get(c, c) for c in seen).replace("--", "-{}-")


def floats(table: PageTable, analysis: Analysis, intervals: bool) -> str:
    """Return a table as one float, or as several of about the same length if it is long.

    The columns of names come again in each panel.
    """
    n_names = next(i for i, column in enumerate(table.columns) if column.numeric)
    widths = [width(table, i, intervals) for i in range(len(table.columns))]
    panels = folded(widths, n_names)
    text = caption(table, analysis)
    heads = [max(len(table.columns[i].lines(widths[i], digits_wide)) for i in p) for p in panels]
    room = PAGE_LINES - CAPTION_LINE * (1 + len(text) / CAPTION_LETTERS) - sum(heads)
    height = len(panels) * (2 if intervals and table.intervals else 1)
    size = max(1, int((room - RULES * len(panels)) / height))
    n = -(-len(table.rows) // size)
    size = -(-len(table.rows) // n)
    lines = []
    for i in range(n):
        part = replace(table, rows=table.rows[i * size : (i + 1) * size])
        of, label = ("", "") if n == 1 else (f" Part {i + 1} of {n}.", f"-part{i + 1}")
        lines += [
            r"\begin{table}[t]",
            r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
            rf"\caption{{{text}{of}}}",
            rf"\label{{tab:{table.key}{label}}}",
            "\n\n\\medskip\n".join(tabular(part, panel, intervals) for panel in panels),
            r"\end{table}" + "\n" * (i + 1 < n),
        ]
    return "\n".join(lines)


def caption(table: PageTable, analysis: Analysis) -> str:
    """Return what a table holds, what its marks mean by which tests, and where it comes from."""
    parts = [f"{table.caption}.", table.note, table.marker_legend]
    parts += [correction_sentence(analysis)] if "Underlined" in table.marker_legend else []
    named = []
    for source in analysis.sources:
        words = str(source.get("description") or source.get("name") or "")
        named.append(words + (" (digitised)" if source.get("digitised") else ""))
    parts += [f"Source: {'; '.join(named)}."] if any(named) else []
    return escaped(" ".join(filter(None, parts)))


def folded(widths: list[float], n_names: int) -> list[list[int]]:
    """Return the columns of each panel: names and as many numbers as a line has room for.

    Examples
    --------
    >>> folded([20, 15, 15, 15, 15], 1)
    [[0, 1, 2], [0, 3, 4]]
    """
    names = list(range(n_names))
    room = LINE_WIDTH - sum(widths[i] + GAP for i in names)

    def filled_up(most: float) -> list[list[int]]:
        panels: list[list[int]] = [[]]
        left = most
        for i in range(n_names, len(widths)):
            if panels[-1] and widths[i] + GAP > left:
                panels.append([])
                left = most
            panels[-1].append(i)
            left -= widths[i] + GAP
        return panels

    fewest = len(filled_up(room))
    # The narrowest panels of this number: all have about as many columns.
    even = next(p for k in range(1, 51) if len(p := filled_up(room * k / 50)) == fewest)
    return [names + panel for panel in even]


def width(table: PageTable, i: int, intervals: bool) -> float:
    """Return the width of a column in digits; headings break at the ends of words."""
    widths = [digits_wide(line) for line in table.columns[i].lines(0)]
    for cell in (row.cells[i] for row in table.rows):
        beside, below = asides(cell, intervals)
        widths += [digits_wide(f"{cell.text} {beside}"), SCRIPT * digits_wide(below)]
    return max(widths)


def asides(cell: PageCell, intervals: bool) -> tuple[str, str]:
    """Return what stands beside a number, its standard error, and below it, its interval."""
    if cell.note.startswith("\N{PLUS-MINUS SIGN}"):
        return cell.note, ""
    return "", cell.note.partition(";")[0] if intervals else ""


def tabular(table: PageTable, columns: list[int], intervals: bool) -> str:
    lines = []
    for row in table.rows:
        cells = [(row.cells[i], table.columns[i].numeric) for i in columns]
        below = [asides(cell, intervals)[1] for cell, _ in cells]
        lines.append(" & ".join(entry(cell, numeric) for cell, numeric in cells) + r" \\")
        if any(below):
            small = [rf"\scriptsize {plain(text)}" if text else "" for text in below]
            lines.append(" & ".join(small) + r" \\")
    align = "".join("r" if table.columns[i].numeric else "l" for i in columns)
    heads = [heading(table.columns[i], width(table, i, intervals)) for i in columns]
    return "\n".join([
        rf"\begin{{tabular}}{{{align}}}", r"\toprule", " & ".join(heads) + r" \\", r"\midrule",
        *lines, r"\bottomrule", r"\end{tabular}",
    ])  # fmt: skip


def heading(column: Column, most: float) -> str:
    lines = column.lines(most, digits_wide)
    text = [R.sub("$r$", escaped(line)) for line in lines]
    align = "r" if column.numeric else "l"
    many = rf"\begin{{tabular}}[b]{{@{{}}{align}@{{}}}}%s\end{{tabular}}"
    return text[0] if len(text) == 1 else many % r"\\".join(text)


def entry(cell: PageCell, numeric: bool) -> str:
    text = plain(cell.text) if numeric else escaped(cell.text)
    marked = {"best": r"\textbf{%s}", "same": r"\underline{%s}"}.get(cell.marker, "%s") % text
    beside = escaped(asides(cell, intervals=False)[0])
    return f"{marked} {beside}".rstrip()


def plain(text: str) -> str:
    """Return a number or an interval, in math mode where it has a sign."""
    text = text.replace("\N{MINUS SIGN}", "-").replace("\N{EN DASH}", "--")
    return " to ".join(
        f"${part}$" if part[:1] in "-<>" and part != "--" else part for part in text.split(" to ")
    )


def labels(settings: Iterable[str]) -> dict[str, str]:
    """Return for each setting a unique label of plain letters, for LaTeX and names of files."""
    given: dict[str, str] = {}
    for setting in settings:
        plainly = "".join(c if c.isalnum() and c.isascii() else "-" for c in setting.lower())
        names = (f"{plainly}-v{n}" if n > 1 else plainly for n in count(1))
        given[setting] = next(name for name in names if name not in given.values())
    return given
