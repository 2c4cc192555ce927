"""Parse numbers as people write them in tables: ``92.1 ± 0.3``, ``**92,1 %**``, ``n.a.``."""

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

__all__ = ["Bad", "NumberKind", "Numbers", "is_missing", "parse_numbers", "without_markup"]

NumberKind: TypeAlias = Literal["score", "accuracy", "count", "size"]
# Dashes, the minus sign and the multiplication sign by their names: they look like others.
DASHES = ("\N{EN DASH}", "\N{EM DASH}", "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}")
MISSING = frozenset({
    "", "na", "n/a", "n.a.", "n.a", "#n/a", "nan", "none", "null", "<na>", "-", "--", "---",
    *DASHES, "?", "??", "x", "✗", "/", "\\", ".", "..", "...", "…", "oom", "oot", "timeout",
    "out of memory", "fail", "failed", "diverged", "tbd", "tba", "n/r", "nr", "not reported",
    "missing", "pending",
})  # fmt: skip
NUMBER = r"[+-]?(?:\d[\d.,' \u2009\u202f]*\d|\d|[.,]\d+)(?:[eE][+-]?\d+)?"
PLUS_MINUS = r"(?:±|\+\s*/\s*-|\+-)"
CELL = re.compile(
    rf"(?P<value>{NUMBER})\s*(?P<percent>%)?\s*"
    rf"(?:{PLUS_MINUS}\s*(?P<spread>{NUMBER}\s*%?)"
    rf"|[(\[]\s*(?P<sign>{PLUS_MINUS})?\s*(?P<bracket>{NUMBER}\s*%?)\s*[)\]])?\s*(?P<after>%)?"
)
SCRIPT = re.compile(
    r"(?P<kind>[_^])\s*\{?\s*(?P<sign>±|\+\s*/\s*-|\+-)?\s*(?P<number>[+-]?[\d.,]+\s*%?)\s*\}?"
)
# What authors put beside a number: emphasis, footnotes, arrows.
MARKS = re.compile(r"[*†‡§¶‖↑↓⇑⇓`#✓✝¹²³⁰⁴-⁹ᵃ-ᶻ]|<[^<>]*>")
# An arrow in a bracket is the sign of a difference: (↑0.5).
ARROW = re.compile(r"[(\[]\s*[↑↓▲▼Δ⇑⇓]\s*[+-]?")
# What stands behind a number with its sign compares with another row, too: 93.5 ↑0.5, 93.5 +0.5.
BARE_DIFFERENCE = re.compile(r"(?<=[\d%])(?:\s*[↑↓▲▼⇑⇓]\s*[+-]?|\s+\+)\s*(\d[\d.,]*\s*%?)$")
# A number with its sign in a column of accuracies: the difference from another row.
SIGNED = re.compile(r"[$({\s]*\+")
CITATION = re.compile(r"(?<=\S)\s*\[\d+(?:\s*[,–-]\s*\d+)*\]$")  # noqa: RUF001
COMMAND = re.compile(r"\\[a-zA-Z]+\*?(?:\[[^\]]*\](?=\s*\{))?")
ARGUMENT = re.compile(
    r"\\(?:rotatebox|scalebox|raisebox|colorbox|cellcolor|rowcolor"
    r"|color|textcolor|definecolor|cite[a-z]*|ref|label|footnote[a-z]*"
    r"|vspace|hspace|rule|fontsize|phantom|hphantom)\*?\s*(?:\[[^\]]*\])?\s*\{[^{}]*\}"
)
SYMBOLS = {"\\pm": "±", "\\%": "%", "\\&": "&", "\\_": "_", "\\#": "#", "\\$": "$", "\\times": "x",
           "\\,": " ", "\\ ": " ", "\\;": " ", "\\!": "", "~": " ", "\\uparrow": "↑",
           "\\downarrow": "↓", "\\Delta": "Δ", "\\dagger": "†", "\\ddagger": "‡", "\\dag": "†",
           "---": "—", "--": "\N{EN DASH}", "\\textpm": "±", "\\checkmark": "✓",
           "\\infty": "inf"}  # fmt: skip
# Authors' own macros for a spread: 92.1\\std{0.3}.
MACRO = re.compile(r"\\(?:std|stdv|stdev|sd|se|stderr|pmstd|pms)(?=\s*\{)")
SYMBOL = re.compile("|".join(
    re.escape(one) + (r"(?![a-zA-Z])" if one[-1].isalpha() else "")
    for one in sorted(SYMBOLS, key=len, reverse=True)
))  # fmt: skip
BRACES = re.compile(r"(?<![_^])\{([^{}]*)\}")
SCRIPT_MARKS = re.compile(r"[_^]\{([†‡*§¶a-zA-Z,]*)\}|\^([†‡*§¶])")
# A footnote that is a letter.
ENDING = re.compile(r"\$?\^\{?[a-zA-Z,]+\}?\$?\s*$")
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")
THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:[.,' \u2009\u202f]\d{3})+")
SEPARATED = re.compile(r"\d[.,' \u2009\u202f]\d")
SUFFIXES = {"k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9, "t": 1e12}


class Bad(NamedTuple):
    """A cell that is no number: its row (or line), its column, and what stands there."""

    row: Any
    column: str
    text: str


class Numbers(NamedTuple):
    """A column of n cells.

    `value` and `spread` (n,) float64, NaN where there is none; `percent` (n,) whether a percent
    sign stands there; `bad` cells that are no numbers; `differences` counts brackets such as
    ``(+0.5)``, which compare with another row and are no spread.
    """

    value: npt.NDArray[np.float64]
    spread: npt.NDArray[np.float64]
    percent: npt.NDArray[np.bool_]
    bad: list[Bad]
    differences: int


def is_missing(text: str) -> bool:
    """Return whether a cell says that there is no number: empty, ``-``, ``N/A``, ``OOM``, ..."""
    return text.strip().strip("*").lower() in MISSING


def parse_numbers(
    cells: Sequence[Any], rows: Sequence[Any], column: str, kind: NumberKind = "score"
) -> Numbers:
    """Parse a column of cells, numbers or text.

    A comma is the decimal sign where the column has no points; in a column of counts, commas,
    points and spaces may set thousands apart. A letter may follow a count or a size (25.6M).

    Parameters
    ----------
    cells, rows
        Each cell, and what its row is called in a message.
    column
        What the column is called in a message.
    kind
        "accuracy" (of which one with a sign, ``+1.4``, is bad: it is the difference from another
        row), "score" (any other number), "count" (a whole number) or "size" (parameters, rates).
    """
    quick = _quick(cells, kind)
    if quick is not None:
        nothing = np.full(len(quick), np.nan)
        return Numbers(quick, nothing, np.zeros(len(quick), dtype=bool), [], 0)
    parts = [_NumberParts.of(cell, kind) for cell in cells]
    texts = [text for part in parts for text in (part.value, part.spread) if text]
    number = _reader(texts, kind)
    value, spread = np.full((2, len(parts)), np.nan)
    bad = []
    for i, part in enumerate(parts):
        try:
            value[i] = number(part.value) if part.value is not None else np.nan
            spread[i] = number(part.spread) if part.spread is not None else np.nan
        except ValueError:
            part = part._replace(fault=True)
        # 0.91 ± 0.4 % may be of proportions or of percent; 91 ± 0.4 % is of percent.
        mixed = part.spread_percent and not part.percent and abs(value[i]) <= 1
        if part.fault or mixed or _is_no_spread(value[i], spread[i], part):
            value[i] = spread[i] = np.nan
            bad.append(Bad(rows[i], column, " ".join(str(cells[i]).split())))
    percent = np.array([part.percent or part.spread_percent for part in parts], dtype=bool)
    return Numbers(value, spread, percent, bad, sum(part.difference for part in parts))


def without_markup(text: str) -> str:
    r"""Take LaTeX and HTML out of a cell: what is left is its text.

    Examples
    --------
    >>> without_markup(r"\textbf{ResNet-50}$^\dagger$~\cite{he2016}")
    'ResNet-50†'
    """
    if "<" in text:
        text = re.sub(r"<su([bp])>(.*?)</su\1>", lambda m: f"{'_^'[m[1] == 'p']}{{{m[2]}}}", text)
        text = re.sub(r"<[^<>]*>", "", text)
    if "\\" not in text and "$" not in text and "{" not in text:
        return " ".join(text.split())
    if "\\" in text or "~" in text:
        text = MACRO.sub("±", text)
        text = SYMBOL.sub(lambda found: SYMBOLS[found[0]], ARGUMENT.sub("", text))
    text = COMMAND.sub("", text).replace("$", "")
    if "^" in text or "_" in text:
        text = SCRIPT_MARKS.sub(r"\1\2", text)
    # A subscript's braces are what tells its number from the one before it.
    for _ in range(text.count("{") and 2):
        text = BRACES.sub(r"\1", text)
    return " ".join(text.split())


def _quick(cells: Sequence[Any], kind: NumberKind) -> npt.NDArray[np.float64] | None:
    """Take a column of plain numbers at once; None where a cell needs a look."""
    column = pd.Series(cells)
    types = pd.api.types
    # pandas takes dates for nanoseconds, and numpy the real part of a complex number.
    if column.dtype.kind in "bcmM" or types.is_bool_dtype(column):
        return None
    if types.is_numeric_dtype(column):
        return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
    if any(
        isinstance(cell, bool | complex)
        or (kind == "count" and "." in str(cell))
        or (kind == "accuracy" and SIGNED.match(str(cell)))
        for cell in cells
    ):
        return None
    try:
        return np.asarray(pd.to_numeric(column, errors="raise"), dtype=np.float64)
    # Of an integer above 1e308 the last.
    except (ValueError, TypeError, OverflowError):
        return None


class _NumberParts(NamedTuple):
    """A cell, taken apart; the numbers are text, whose decimal sign the column settles."""

    value: str | None = None
    spread: str | None = None
    percent: bool = False
    bracket: bool = False
    spread_percent: bool = False
    difference: bool = False
    fault: bool = False

    @classmethod
    def of(cls, cell: Any, kind: NumberKind) -> "_NumberParts":
        if cell is None or cell is pd.NA or (isinstance(cell, float) and np.isnan(cell)):
            return cls()
        if isinstance(cell, bool | np.bool_):
            return cls(fault=True)
        if kind == "accuracy" and SIGNED.match(str(cell)):
            return cls(fault=True)
        text = str(cell).replace("−", "-").replace("\xa0", " ")  # noqa: RUF001
        text = without_markup(ENDING.sub("", text))
        text = BARE_DIFFERENCE.sub(r" (+\1)", ARROW.sub("(+", text))
        text = MARKS.sub("", CITATION.sub("", text.strip())).strip()
        if text.lower() in MISSING:
            return cls()
        if re.fullmatch(r"[a-z]", text[-1:], re.IGNORECASE) and kind in ("count", "size"):
            return cls(value=text)
        text, script, difference, fault = _without_scripts(text)
        if text[:1] == "(" and text.endswith((")", ")%")) and text.count("(") == 1:
            text = text.replace("(", "").replace(")", "")
        found = CELL.fullmatch(text)
        if not found or fault:
            return cls(fault=True)
        spread, bracket = found["spread"] or script, False
        if found["bracket"]:
            if found["bracket"][0] in "+-" and not found["sign"]:
                difference = True
            else:
                spread, bracket = found["bracket"], not found["sign"]
        percent = bool(found["percent"] or found["after"])
        number = spread and spread.rstrip("% ")
        return cls(found["value"], number, percent, bracket, number != spread, difference)


def _without_scripts(text: str) -> tuple[str, str | None, bool, bool]:
    """Take sub- and superscripts off: text, spread, whether a difference, whether not understood.

    A superscript that is a whole number is a footnote, a signed number compares with another row.
    """
    spread, difference, fault = None, False, False
    for found in SCRIPT.finditer(text):
        number = found["number"]
        if number[0] in "+-" and not found["sign"]:
            difference = True
        elif found["sign"] or "." in number or "," in number:
            fault |= spread is not None
            spread = number
        else:
            fault |= found["kind"] == "_"
    return SCRIPT.sub("", text).strip(), spread, difference, fault


def _reader(texts: list[str], kind: NumberKind) -> Callable[[str], float]:
    """Return what reads the numbers of a column as all of them are written."""
    suffixes = kind in ("count", "size")
    commas = [text for text in texts if "," in text]
    points = any("." in text for text in texts)
    apart = [text for text in texts if SEPARATED.search(text)]
    thousands = suffixes and bool(apart) and all(THOUSANDS.fullmatch(text) for text in apart)
    # Parameters in millions have three decimals as often as not.
    thousands = thousands and not (kind == "size" and points)
    decimal_comma = bool(commas) and all(map(DECIMAL_COMMA.fullmatch, commas)) and not points

    def number(text: str) -> float:
        factor = 1.0
        if suffixes and text[-1:].lower() in SUFFIXES:
            factor, text = SUFFIXES[text[-1].lower()], text[:-1].strip()
        if thousands:
            text = re.sub(r"[.,' \u2009\u202f]", "", text)
        elif decimal_comma:
            text = text.replace(",", ".")
        return factor * float(text)

    return number


def _is_no_spread(value: float, spread: float, part: _NumberParts) -> bool:
    """Return whether a spread cannot be one: ``92.1 (98.5)``, ``92.1 (3)``, a negative one.

    A bracket without a sign may hold anything; one of another precision than its number, or as
    large as half of it, is a second measure, a rank or a reference.
    """
    if np.isnan(spread):
        return False
    if not part.bracket:
        return spread < 0
    decimals = any(sign in (part.value or "") for sign in ".,")
    whole = not any(sign in (part.spread or "") for sign in ".,")
    return spread < 0 or spread > abs(value) / 2 or (decimals and whole)
