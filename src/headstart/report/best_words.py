"""Which model is best, and which are not significantly different from it, in a sentence."""

from typing import Any

from headstart.report.numbers import count, interval, joined, known, listed, number
from headstart.report.phrases import by_setting
from headstart.report.subject import Subject
from headstart.spec.labels import in_order

__all__ = ["best_sentence"]

TESTS = {
    "many": "95 % intervals of the difference over datasets",
    "one": "paired test on the test images",
}


def best_sentence(subject: Subject) -> str:
    """State which model is best in the first setting, and which do not differ from it."""
    table, over, test = means_or_cells(subject)
    if table is None:
        return "There are no results in this table."
    best = table[table["best"].astype(bool)]
    if not len(best):
        return "No model can be called best: the table does not connect the models."
    leaders = sorted(str(name) for name in best.model)
    rest = table[~table["best"].astype(bool)]
    by = by_setting(str(best.iloc[0].setting))
    by = by[:1].upper() + by[1:]
    do = "does best" if len(leaders) == 1 else "do equally well, and best"
    text = f"{by} over {over}, {joined(leaders)} {do}"
    if not len(rest) and len(leaders) > 1:
        return f"{text}."
    leader = leaders[0]
    if not len(rest):
        others = subject.cells[subject.cells.setting == best.iloc[0].setting].model.nunique() > 1
        on = " on all of them" if others else ""
        return f"{by} over {over}, {leader} is the only model measured{on}."
    verdicts = [value if known(value) else None for value in rest["not_different"]]
    if all(value is None for value in verdicts):
        return f"{text}, but there is no test of whether the others differ from it."
    same = [str(name) for name, value in zip(rest.model, verdicts, strict=True) if value]
    if same:
        verb = "are" if len(same) > 1 else "is"
        return f"{text}; {listed(same)} {verb} not significantly different from it ({test})."
    untested = sum(value is None for value in verdicts)
    others = "every other model" if not untested else "every other model that was tested"
    return f"{text}, significantly ahead of {others} ({test}){nearest(rest)}."


def nearest(rest: Any) -> str:
    """State how far the best is ahead of the next, with the interval; empty where unknown."""
    if "odds_ratio" not in rest:
        return ""
    rest = rest[rest.difference_low.notna()]
    if not len(rest):
        return ""
    row = rest.sort_values("difference", ascending=False, kind="stable").iloc[0]
    between = interval(row.odds_ratio_low, row.odds_ratio_high)
    return (
        f"; the odds of {row.model}, the next, are {number(row.odds_ratio)} times its ({between})"
    )


def means_or_cells(subject: Subject) -> tuple[Any, str, str]:
    """Choose what the best model is read off: means over datasets, or the one dataset's cells."""
    means, cells = subject.model_means, subject.cells
    if len(means):
        table = means[means.setting == in_order(means.setting)[0]]
        if table.of_datasets.max() > 1:
            return table, scope_of(table), TESTS["many"]
    if not len(cells):
        return None, "", ""
    table = cells[cells.setting == in_order(cells.setting)[0]]
    if not len(means) and table.dataset.nunique() > 1:
        # Nothing connects the models: none is best over all, and one dataset is not all.
        return table.iloc[:0], "", ""
    first = str(table.dataset.iloc[0])
    return table[table.dataset == first], first, TESTS["one"]


def scope_of(means: Any) -> str:
    """State over how many datasets the means are, and how many cells are missing."""
    n = int(means.of_datasets.max())
    cells, possible = int(means.n_datasets.sum()), n * len(means)
    holes = f" ({cells:,} of {possible:,} cells measured)" if cells < possible else ""
    return f"{count(n, 'dataset')}{holes}"
