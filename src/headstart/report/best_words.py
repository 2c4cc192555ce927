"""Which model is best, and which cannot be told from it, in a sentence."""

from typing import Any

from headstart.report.numbers import count, known, listed
from headstart.report.phrases import setting_phrase
from headstart.report.subject import Subject
from headstart.spec.labels import in_order

__all__ = ["best_sentence"]

TESTS = {"many": "paired t-test over datasets", "one": "paired test on the test images"}


def best_sentence(subject: Subject) -> str:
    """Say which model is best in the first setting, and which cannot be told from it."""
    table, over, test = means_or_cells(subject)
    if table is None:
        return "There are no results in this table."
    best = table[table["best"].astype(bool)]
    if not len(best):
        return "No model can be called best: the table has no complete part to compare."
    leader, rest = str(best.iloc[0].model), table[table.model != best.iloc[0].model]
    setting = setting_phrase(str(best.iloc[0].setting))
    text = f"By {setting} over {over}, {leader} does best"
    if not len(rest):
        others = subject.cells[subject.cells.setting == best.iloc[0].setting].model.nunique() > 1
        on = " on all of them" if others else ""
        return f"By {setting} over {over}, {leader} is the only model measured{on}."
    verdicts = [value if known(value) else None for value in rest["not_different"]]
    if all(value is None for value in verdicts):
        return f"{text}, but there is no test of whether the others differ from it."
    same = [str(name) for name, value in zip(rest.model, verdicts, strict=True) if value]
    if same:
        return f"{text}; {listed(same)} cannot be told from it ({test}, p > 0.05)."
    untested = sum(value is None for value in verdicts)
    others = "every other model" if not untested else "every other model that was tested"
    return f"{text}, ahead of {others} ({test}, p ≤ 0.05)."


def means_or_cells(subject: Subject) -> tuple[Any, str, str]:
    """Choose what the best model is read off: means over datasets, or the one dataset's cells."""
    means, cells = subject.model_means, subject.cells
    if len(means):
        table = means[means.setting == in_order(means.setting)[0]]
        if table.n_datasets.max() > 1:
            return table, count(int(table.n_datasets.max()), "dataset"), TESTS["many"]
    if not len(cells):
        return None, "", ""
    table = cells[cells.setting == in_order(cells.setting)[0]]
    first = str(table.dataset.iloc[0])
    return table[table.dataset == first], first, TESTS["one"]
