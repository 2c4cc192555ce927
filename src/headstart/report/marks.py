"""How tables mark the best and what is not significantly different from it, by which test."""

from typing import Any

from headstart.report.numbers import known
from headstart.report.subject import Subject

__all__ = ["image_test", "key_words", "mark_of", "tested"]

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
