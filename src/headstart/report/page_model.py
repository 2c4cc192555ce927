"""What pages and tables are made of: the tables of an analysis, names, columns, rows, cells.

A table is specified once, as columns of a tidy table (`Column`). `filled` makes text of its rows;
the page's template, `latex` and the terminal (`headstart.cli.terminal_tables`) lay that
text out. Files of data (`reporter`) hold the tidy tables themselves, under their own names.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import TYPE_CHECKING, Any

from headstart.spec.formatting import (
    CELL_TESTS,
    NO_AFFIXES,
    UNKNOWN,
    Affixes,
    Names,
    decimals,
    known,
    number,
    ranged,
    setting_label,
)
from headstart.stats import FEWEST_DATASETS

if TYPE_CHECKING:
    from headstart.analysis import Analysis

__all__ = [
    "DATASET",
    "INTERVAL",
    "MEANS_TEST",
    "MODEL",
    "NEVER",
    "OTHER",
    "SETTING",
    "Column",
    "Names",
    "PageCell",
    "PageTable",
    "Record",
    "Row",
    "cell_test",
    "correction_sentence",
    "digits_wide",
    "filled",
    "filter_keys",
    "marker_legend",
    "marker_of",
    "mean_and_error",
    "named",
    "names_of",
    "pivoted",
    "records",
    "tested",
    "too_few",
]


NO_NAMES = Names()


def names_of(subject: "Analysis") -> Names:
    """Return the names in the tables of an analysis."""
    return Names.of(vars(subject))


@dataclass(frozen=True)
class PageCell:
    """One cell."""

    text: str
    value: float | None = None  # the sort key, where it differs from the text
    # "best", "same" (not significantly different from it), "own" (a model among published ones).
    marker: str = ""
    note: str = ""  # a second, smaller line: an interval


Record = Mapping[str, Any]
NEVER = 9
# Letters that are narrower than a digit.
NARROW = frozenset(" .,:;'!|()[]/-ijlft")
# Letters that are wider; an underscore is a rule with room around it.
WIDE = frozenset("mwMW_\N{MINUS SIGN}")
# Where headings may break.
BREAKS = re.compile(r"(?<!\de-)(?<=[-_/\s])(?=\S)")


@dataclass(frozen=True)
class Column:
    """A column of a table, in every output."""

    label: str  # the heading
    # Where its values stand in a row: a column of the tidy table, two of them (the ends of an
    # interval), or a function of the row, which may return a whole `PageCell`.
    of: str | tuple[str, str] | Callable[[Record], Any] = ""
    # Makes text of a value that is known, or of either end of an interval.
    format: Callable[[Any], str] = str
    unit: str = ""  # behind the heading
    numeric: bool = True  # set to the right
    keys: dict[str, Any] = field(default_factory=dict)  # filter attributes
    code: bool = False
    note: str = ""  # below the table: what the values are, where the heading does not say it
    aside: Callable[[Record], str] | None = None  # a second, smaller line of the cell
    at: str | None = None  # in a pivoted table, the entry of the row that the values are of
    marked: bool = False  # as the best, or as not significantly different from it
    # 0 in every output; the higher, the earlier a narrow terminal leaves it out; `NEVER` on any.
    detail: int = 0
    # Whether the page leaves out what all names begin and end with, which `filled` finds.
    folded: bool = False
    affixes: Affixes = NO_AFFIXES
    # The heading of what is `aside`, which on the page then stands beside the texts, and the width
    # of its longest text in digits, which `filled` finds.
    second: str = ""
    room: float = 0

    @property
    def heading(self) -> str:
        """The label with the unit."""
        return f"{self.label} {self.unit}".rstrip()

    def lines(self, most: float, measure: Callable[[str], float] = len) -> list[str]:
        """Return the heading in lines of at most this width, broken after words and signs."""
        lines = [""]
        for word in BREAKS.split(self.heading):
            if lines[-1] and measure((lines[-1] + word).strip()) > most:
                lines.append("")
            lines[-1] += word
        return [line.strip() for line in lines]

    def cell(self, row: Record, marks: bool = True) -> PageCell:
        """Return the cell of a row, marked if the table has `marks`; a dash where it is unknown."""
        entry = row if self.at is None else row["at"].get(self.at)
        if entry is None:
            return PageCell(UNKNOWN)
        value: Any
        if isinstance(self.of, tuple):
            value, end = (entry.get(name) for name in self.of)
            text = ranged(value, end, self.format) or UNKNOWN
        else:
            value = self.of(entry) if callable(self.of) else entry.get(self.of)
            if isinstance(value, PageCell):
                return value
            text = (self.format(value) if known(value) else "") or UNKNOWN
        return PageCell(
            text,
            float(value) if self.numeric and isinstance(value, Real) and known(value) else None,
            marker_of(entry) if self.marked and marks else "",
            self.aside(entry) if self.aside else "",
        )


def named(
    label: str, of: str | Callable[[Record], Any], as_text: Callable[[Any], str] = str, **more: Any
) -> Column:
    """Return a column of names or other text."""
    return Column(label, of, as_text, numeric=False, **more)


SETTING = named("Setting", "setting", setting_label)
MODEL, OTHER = (named(label, label.lower(), folded=True) for label in ("Model", "Other"))
DATASET = named("Dataset", "dataset")


@dataclass(frozen=True)
class Row:
    """One row; its first cell is its heading."""

    cells: list[PageCell]
    keys: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PageTable:
    """A table with its caption; as many cells in a row as there are columns."""

    key: str  # the anchor
    caption: str
    columns: list[Column]
    rows: list[Row]
    keys: dict[str, Any] = field(default_factory=dict)  # filter attributes of the whole table
    note: str = ""  # how to read it
    marker_legend: str = ""  # what bold and underlined mean; empty where nothing is marked
    left_out: str = ""  # what names on the page begin and end with beyond what it shows

    @property
    def intervals(self) -> bool:
        """Return whether any cell has a second line that is not beside its text."""
        folded = [i for i, column in enumerate(self.columns) if not column.second]
        return any(row.cells[i].note for row in self.rows for i in folded)

    def without(self, left_out: Callable[[Column], bool]) -> "PageTable":
        """Return the table without some columns."""
        kept = [i for i, column in enumerate(self.columns) if not left_out(column)]
        rows = [replace(row, cells=[row.cells[i] for i in kept]) for row in self.rows]
        return replace(self, columns=[self.columns[i] for i in kept], rows=rows)


def filled(
    key: str,
    caption: str,
    columns: Sequence[Column],
    rows: Iterable[Record],
    names: Names = NO_NAMES,
    *,
    other: str = "model",
    keys: dict[str, Any] | None = None,
    note: str = "",
    marker_legend: str = "",
    marks: bool = True,
) -> PageTable:
    """Return a table with the text of its rows, without columns of which nothing is known.

    Notes of columns follow the note. `rows` are those of a tidy table (`records`) or of a pivoted
    one (`pivoted`). Where the page has a filter, they get attributes of the `names` in
    ``setting``, ``dataset``, ``model`` and ``other``, the last of the kind `other`.
    Columns that are `marked` have their marks where `marks` says so: a single model has none.
    """
    kinds = {"setting": "setting", "dataset": "dataset", "model": "model"}
    kinds["versus" if other == "setting" else "other"] = "other"
    rows = list(rows)
    cells = [[column.cell(row, marks) for row in rows] for column in columns]
    there = [i for i, column in enumerate(cells) if any(cell.text != UNKNOWN for cell in column)]
    made = [
        Row(
            [cells[i][j] for i in there],
            {
                **filter_keys(names, **{kind: row[of] for kind, of in kinds.items() if of in row}),
                **row.get("keys", {}),
            },
        )
        for j, row in enumerate(rows)
    ]
    rooms = [max((digits_wide(cell.note) for cell in column), default=0.0) for column in cells]
    folded = [i for i in there if columns[i].folded]
    affixes = Affixes.of(cell.text for i in folded for cell in cells[i])
    shown = [
        replace(columns[i], room=rooms[i], second=columns[i].second if rooms[i] else "",
                affixes=affixes if i in folded else NO_AFFIXES)
        for i in there
    ]  # fmt: skip
    text = " ".join(filter(None, dict.fromkeys([note, *(column.note for column in shown)])))
    return PageTable(
        key, caption, shown, made, keys or {}, text if made else "", marker_legend, affixes.note
    )


def digits_wide(text: str) -> float:
    """Return about how wide a text is in digits, in the letters of TeX or of a page."""
    return sum(
        0.6 if letter in NARROW else 1.6 if letter in WIDE else 1.4 if letter.isupper() else 1.0
        for letter in text.strip()
    )


def records(table: Any, names: Names, by: str = "") -> list[dict[str, Any]]:
    """Return a table's rows by setting in the order of the page, the highest `by` first."""
    place = names.places["setting"]
    rows: list[dict[str, Any]] = table.to_dict("records")
    if by:
        rows.sort(key=lambda row: -row[by] if known(row[by]) else 0)
    return sorted(rows, key=lambda row: place.get(row.get("setting", ""), len(place)))


def pivoted(rows: Iterable[Record], index: Sequence[str], by: str) -> list[dict[str, Any]]:
    """Return one row per value of the columns `index`: the entries by `by` are its ``at``.

    The rest of a row is that of its first entry.
    """
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        of = found.setdefault(
            tuple(row[name] for name in index), {n: v for n, v in row.items() if n != by}
        )
        of.setdefault("at", {})[str(row[by])] = row
    return list(found.values())


def mean_and_error(label: str, digits: int = 3, **more: Any) -> Column:
    """Return a column of means with their standard errors."""

    def error(row: Record) -> str:
        return f"± {number(row['se'], digits)}" if known(row.get("se")) else ""

    return Column(label, "mean", decimals(digits), aside=error, **more)


def filter_keys(names: Names, **what: Any) -> dict[str, Any]:
    """Return the filter attributes of a setting, dataset, model and other model: places in `names`.

    Examples
    --------
    >>> filter_keys(Names(("linear",), ("food", "pets"), ("a",)), dataset="pets", model="a")
    {'data-d': 1, 'data-m': 0}
    """
    second = {"other": "model", "versus": "setting"}
    found = {kind[0]: names.places[second.get(kind, kind)].get(str(name))
             for kind, name in what.items()}  # fmt: skip
    return {f"data-{short}": place for short, place in found.items() if place is not None}


INTERVAL = "95 % interval"
MEANS_TEST = "95 % intervals of the difference over datasets"


def too_few(means: Any) -> str:
    """Return why means over datasets were not tested, if there are too few datasets."""
    few = len(means) and means.of_datasets.max() < FEWEST_DATASETS
    return f" (at least {FEWEST_DATASETS} datasets are needed)" if few else ""


def marker_of(row: Record) -> str:
    """Return how a cell is marked: the best, or not significantly different from it."""
    for verdict, marker in (("best", "best"), ("not_different", "same")):
        if known(row.get(verdict)) and bool(row[verdict]):
            return marker
    return ""


def tested(table: Any) -> tuple[int, int]:
    """Count the rows that were held against the best, and those that were not.

    The best itself counts as neither, but several that are equal do.
    """
    if not len(table):
        return 0, 0
    by = [name for name in ("setting", "dataset") if name in table]
    best = table["best"].astype(bool)
    tied = best & (best.groupby([table[name] for name in by]).transform("sum") > 1)
    rest = [known(value) for value in table["not_different"][~best]]
    return sum(rest) + int(tied.sum()), len(rest) - sum(rest)


def cell_test(cells: Any) -> str:
    """Return the names of the tests by which cells were held against the best of their dataset."""
    used = set(cells["test"][cells["not_different"].notna() & ~cells["best"].astype(bool)])
    return "; ".join(name for test, name in CELL_TESTS.items() if test in used)


def marker_legend(cells: Any, means: Any) -> str:
    """Return what bold and underlined mean in a table, by which tests; no more than was tested.

    `cells` and `means` are the rows of single datasets and of means that the table shows, if any.
    """
    if not any(table.groupby("setting").model.nunique().gt(1).any() for table in (cells, means)):
        return ""  # One model is the best of none.
    (on_cells, cells_left), (on_means, means_left) = tested(cells), tested(means)
    tests = [*filter(None, [cell_test(cells)]), *([MEANS_TEST] if on_means else [])]
    if not tests:
        why = "" if cells_left else too_few(means)
        untested = f" Differences from the best were not tested{why}."
        return f"Bold: best.{untested if cells_left + means_left else ''}"
    legend = [
        f"Bold: best. Underlined: not significantly different from the best ({'; '.join(tests)}).",
        "Single datasets were not tested." if cells_left and not on_cells else "",
        f"Means were not tested{too_few(means)}." if means_left and not on_means else "",
        f"{cells_left:,} of {on_cells + cells_left:,} accuracies were not tested."
        if cells_left and on_cells
        else "",
    ]
    return " ".join(filter(None, legend))


def correction_sentence(subject: "Analysis") -> str:
    """State whether intervals and p-values are corrected for multiple comparisons."""
    tables = [one for one in (subject.model_means, subject.pairwise) if len(one)]
    used = {name for table in tables for name in table.correction.dropna()}
    if (used or {subject.options.get("correction")}) == {"simultaneous"}:
        return (
            "Intervals of differences and adjusted p-values are corrected for multiple comparisons "
            "(Bonferroni): all intervals of one family hold simultaneously."
        )
    return "No correction for multiple comparisons is applied."
