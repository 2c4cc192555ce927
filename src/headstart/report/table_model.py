"""Tables of the page before they are HTML: columns, rows and cells with what they are about."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from headstart.report.formatting import interval, known, number, p_value, percent
from headstart.report.subject import Names, Subject

__all__ = [
    "Cell",
    "Column",
    "Row",
    "Table",
    "about",
    "between",
    "figure",
    "image_test",
    "key_words",
    "mark_of",
    "share",
    "significance",
    "sortable",
    "tested",
]


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes
    ----------
    text
        What it says.
    value
        What it is sorted by, where that is not its text.
    mark
        ``"best"``, ``"same"`` (not distinguishable from the best) or empty.
    note
        A second line, small: an interval.
    keys
        What it is about, for the page's choices: ``{"data-d": 3}``.
    """

    text: str
    value: float | None = None
    mark: str = ""
    note: str = ""
    keys: dict[str, Any] = field(default_factory=dict)

    @property
    def order(self) -> str:
        """What the page has to know to sort it, where its text does not say so itself."""
        if self.value is None:
            return ""
        order = f"{self.value:.8g}"
        return "" if order == self.text else order


@dataclass(frozen=True)
class Column:
    """A column's heading; numbers stand right."""

    label: str
    numeric: bool = True
    keys: dict[str, Any] = field(default_factory=dict)
    code: bool = False


@dataclass(frozen=True)
class Row:
    """One row, whose first cell names it."""

    cells: list[Cell]
    keys: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A table with its caption.

    Attributes
    ----------
    key
        The anchor.
    caption
        What it shows.
    columns, rows
        As many cells in a row as there are columns.
    keys
        What the whole table is about.
    note
        What has to be known to read it.
    key_words
        What underlining means, after what bold means; empty where nothing is marked.
    """

    key: str
    caption: str
    columns: list[Column]
    rows: list[Row]
    keys: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    key_words: str = ""

    @property
    def intervals(self) -> bool:
        """Whether any cell has a second line."""
        return any(cell.note for row in self.rows for cell in row.cells)


def about(names: Names, **what: Any) -> dict[str, Any]:
    """Say which setting, dataset, model and other model something is about, by place in `names`.

    Examples
    --------
    >>> about(Names(("linear",), ("food", "pets"), ("a",)), dataset="pets", model="a")
    {'data-d': 1, 'data-m': 0}
    """
    lists: dict[str, Sequence[str]] = {
        "setting": names.settings,
        "dataset": names.datasets,
        "model": names.models,
        "other": names.models,
        "versus": names.settings,
    }
    short = {"setting": "s", "dataset": "d", "model": "m", "other": "o", "versus": "v"}
    return {
        f"data-{short[kind]}": lists[kind].index(str(name))
        for kind, name in what.items()
        if str(name) in lists[kind]
    }


def figure(value: Any, digits: int = 2, plus: bool = False) -> Cell:
    """A cell that holds a number."""
    return Cell(number(value, digits, plus), sortable(value))


def share(value: Any, digits: int = 1) -> Cell:
    """A cell that holds a proportion in percent."""
    return Cell(percent(value, digits), sortable(value))


def significance(p: Any) -> Cell:
    """A cell that holds a p-value."""
    return Cell(p_value(p), sortable(p))


def between(low: Any, high: Any, digits: int = 2, scale: float = 1) -> Cell:
    """A cell that holds an interval, sorted by its lower end."""
    return Cell(interval(low, high, digits, scale) or number(None), sortable(low))


def sortable(value: Any) -> float | None:
    """Give what a number is sorted by: itself, where it is known."""
    return float(value) if known(value) else None


IMAGE_TESTS = {"mcnemar": "exact McNemar test", "permutation": "permutation test"}
MEANS_TEST = "95 % intervals of the difference over datasets"


def mark_of(row: Any) -> str:
    """Return how a cell is marked: the best, or not significantly different from it."""
    if known(row.best) and bool(row.best):
        return "best"
    return "same" if known(row.not_different) and bool(row.not_different) else ""


def tested(table: Any) -> tuple[int, int]:
    """Count the rows that were tested against the best, and those that were not.

    The best of all are neither: that they do not differ from themselves is no test.
    """
    rest = table[~table["best"].astype(bool)] if len(table) else table
    verdicts = [known(value) for value in rest["not_different"]] if len(rest) else []
    return sum(verdicts), len(verdicts) - sum(verdicts)


def image_test(subject: Subject) -> str:
    """Name the tests on the images of a test set."""
    used = set(subject.pairwise.test) if len(subject.pairwise) else set()
    names = [name for test, name in IMAGE_TESTS.items() if test in used]
    return f"{' or '.join(names or ['paired test'])} on the test images"


def key_words(subject: Subject, cells: Any, means: Any) -> str:
    """Say what underlining means in a table, after what bold means; no more than was tested.

    Parameters
    ----------
    subject
        Whose pairs say which tests were made.
    cells, means
        The rows of single datasets and of means that the table shows; either may be empty.

    Returns
    -------
    str
        ``"; underlined ..."`` and a full stop, with the test and what was not tested.
    """
    (on_cells, cells_left), (on_means, means_left) = tested(cells), tested(means)
    tests = [*([image_test(subject)] if on_cells else []), *([MEANS_TEST] if on_means else [])]
    if not tests:
        return "; no test compares the others with it." if cells_left + means_left else "."
    left = [
        "Single datasets were not tested." if cells_left and not on_cells else "",
        "Means were not tested." if means_left and not on_means else "",
        f"{cells_left:,} of {on_cells + cells_left:,} accuracies were not tested."
        if cells_left and on_cells
        else "",
    ]
    words = f"; underlined is what is not significantly different from it ({'; '.join(tests)})."
    return " ".join(filter(None, [words, *left]))
