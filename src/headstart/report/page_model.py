"""What pages and tables are made of: the tables of an analysis, names, columns, rows, cells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from headstart.predictors import Predictor
from headstart.spec.display_names import in_order
from headstart.spec.formatting import interval, known, number, p_value, percent

__all__ = [
    "Column",
    "Names",
    "PageCell",
    "PageTable",
    "Row",
    "Subject",
    "filter_keys",
    "interval_cell",
    "marker_legend",
    "marker_of",
    "names_of",
    "number_cell",
    "p_value_cell",
    "percent_cell",
    "sortable",
    "tested",
]


class Subject(Protocol):
    """The tidy tables of an analysis, as ``headstart.analysis`` returns them; any may be empty."""

    @property
    def counts(self) -> Any: ...
    @property
    def cells(self) -> Any: ...
    @property
    def correlations(self) -> Any: ...
    @property
    def lines(self) -> Any: ...
    @property
    def model_means(self) -> Any: ...
    @property
    def mixed(self) -> Any: ...
    @property
    def pairwise(self) -> Any: ...
    @property
    def ranks(self) -> Any: ...
    @property
    def settings(self) -> Any: ...
    @property
    def prediction(self) -> Any: ...
    @property
    def ablation(self) -> Any: ...
    @property
    def effects(self) -> Any: ...
    @property
    def convergence(self) -> Any: ...
    @property
    def reached(self) -> Any: ...
    @property
    def speedup(self) -> Any: ...
    @property
    def dataset_size(self) -> Any: ...
    @property
    def dropped(self) -> Any: ...
    @property
    def missing(self) -> Any: ...
    @property
    def notes(self) -> Any: ...
    @property
    def trials(self) -> Any: ...
    @property
    def sources(self) -> Sequence[Mapping[str, Any]]: ...
    @property
    def predictor(self) -> Predictor: ...
    @property
    def options(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class Names:
    """Every setting, dataset and model of any table, in the order of the page.

    Attributes
    ----------
    settings
        In the paper's order.
    datasets
        In the order of the table of results.
    models
        Sorted by the mean of the first setting, those without a mean last.
    """

    settings: tuple[str, ...]
    datasets: tuple[str, ...]
    models: tuple[str, ...]


def names_of(subject: Subject) -> Names:
    """Collect the names from the cells and the sweeps."""
    tables = [subject.cells, subject.ablation, subject.convergence, subject.dataset_size]

    def all_of(column: str) -> list[str]:
        found = [str(name) for table in tables if column in table for name in table[column]]
        return list(dict.fromkeys(found))

    settings = in_order(all_of("setting"))
    means = subject.model_means
    if len(means) and settings:
        means = means[means.setting == settings[0]].sort_values(
            ["mean", "model"], ascending=[False, True]
        )
    ranked = [str(name) for name in means["model"]] if len(means) else []
    known = all_of("model")
    models = dict.fromkeys([name for name in ranked if name in set(known)] + known)
    return Names(tuple(settings), tuple(all_of("dataset")), tuple(models))


@dataclass(frozen=True)
class PageCell:
    """One cell.

    Attributes
    ----------
    text
        The text.
    value
        The sort key, where it differs from the text.
    marker
        ``"best"``, ``"same"`` (not significantly different from it) or empty.
    note
        A second, smaller line: an interval.
    keys
        HTML attributes for the filter of the page: ``{"data-d": 3}``.
    """

    text: str
    value: float | None = None
    marker: str = ""
    note: str = ""
    keys: dict[str, Any] = field(default_factory=dict)

    @property
    def order(self) -> str:
        """Return the sort key, empty where the text serves as one."""
        if self.value is None:
            return ""
        order = f"{self.value:.8g}"
        return "" if order == self.text else order


@dataclass(frozen=True)
class Column:
    """A column: its heading, alignment (numbers to the right) and filter attributes."""

    label: str
    numeric: bool = True
    keys: dict[str, Any] = field(default_factory=dict)
    code: bool = False


@dataclass(frozen=True)
class Row:
    """One row; its first cell is its heading."""

    cells: list[PageCell]
    keys: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PageTable:
    """A table with its caption.

    Attributes
    ----------
    key
        The anchor.
    caption
        The caption.
    columns, rows
        As many cells in a row as there are columns.
    keys
        Filter attributes of the whole table.
    note
        How to read it.
    marker_legend
        What bold and underlined mean; empty where nothing is marked.
    """

    key: str
    caption: str
    columns: list[Column]
    rows: list[Row]
    keys: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    marker_legend: str = ""

    @property
    def intervals(self) -> bool:
        """Return whether any cell has a second line."""
        return any(cell.note for row in self.rows for cell in row.cells)


def filter_keys(names: Names, **what: Any) -> dict[str, Any]:
    """Return the filter attributes of a setting, dataset, model and other model: places in `names`.

    Examples
    --------
    >>> filter_keys(Names(("linear",), ("food", "pets"), ("a",)), dataset="pets", model="a")
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


def number_cell(value: Any, digits: int = 2, plus: bool = False) -> PageCell:
    """Return a cell with a number."""
    return PageCell(number(value, digits, plus), sortable(value))


def percent_cell(value: Any, digits: int = 1) -> PageCell:
    """Return a cell with a proportion in percent."""
    return PageCell(percent(value, digits), sortable(value))


def p_value_cell(p: Any) -> PageCell:
    """Return a cell with a p-value."""
    return PageCell(p_value(p), sortable(p))


def interval_cell(low: Any, high: Any, digits: int = 2, scale: float = 1) -> PageCell:
    """Return a cell with an interval, sorted by its lower end."""
    return PageCell(interval(low, high, digits, scale) or number(None), sortable(low))


def sortable(value: Any) -> float | None:
    """Return the sort key of a number: the number, None where it is unknown."""
    return float(value) if known(value) else None


IMAGE_TESTS = {"mcnemar": "exact McNemar test", "permutation": "permutation test"}
MEANS_TEST = "95 % intervals of the difference over datasets"


def marker_of(row: Any) -> str:
    """Return how a cell is marked: the best, or not significantly different from it."""
    if known(row.best) and bool(row.best):
        return "best"
    return "same" if known(row.not_different) and bool(row.not_different) else ""


def tested(table: Any) -> tuple[int, int]:
    """Count the rows that were tested against the best, and those that were not.

    The best itself counts as neither.
    """
    rest = table[~table["best"].astype(bool)] if len(table) else table
    verdicts = [known(value) for value in rest["not_different"]] if len(rest) else []
    return sum(verdicts), len(verdicts) - sum(verdicts)


def image_test(subject: Subject) -> str:
    """Return the name of the tests on the images of a test set."""
    used = set(subject.pairwise.test) if len(subject.pairwise) else set()
    names = [name for test, name in IMAGE_TESTS.items() if test in used]
    return f"{' or '.join(names or ['paired test'])} on the test images"


def marker_legend(subject: Subject, cells: Any, means: Any) -> str:
    """Return what bold and underlined mean in a table, by which tests; no more than was tested.

    Parameters
    ----------
    subject
        Whose pairs say which tests were made.
    cells, means
        The rows of single datasets and of means that the table shows; either may be empty.
    """
    (on_cells, cells_left), (on_means, means_left) = tested(cells), tested(means)
    tests = [*([image_test(subject)] if on_cells else []), *([MEANS_TEST] if on_means else [])]
    if not tests:
        untested = " Differences from the best were not tested." if cells_left + means_left else ""
        return f"Bold: best.{untested}"
    legend = [
        f"Bold: best. Underlined: not significantly different from the best ({'; '.join(tests)}).",
        "Single datasets were not tested." if cells_left and not on_cells else "",
        "Means were not tested." if means_left and not on_means else "",
        f"{cells_left:,} of {on_cells + cells_left:,} accuracies were not tested."
        if cells_left and on_cells
        else "",
    ]
    return " ".join(filter(None, legend))
