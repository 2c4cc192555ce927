"""The main results in sentences, written from the estimates alone.

No sentence claims that one thing causes another. Where an interval includes 0 the direction is
called uncertain, and what could not be estimated is named.
"""

from typing import Any

from headstart.report.correlation_text import (
    correlation,
    family_sentence,
    no_correlation_reason,
    other_settings,
    pearson_rows,
    slope_sentence,
)
from headstart.report.formatting import (
    by_setting,
    count,
    interval,
    joined,
    known,
    listed,
    number,
    setting_phrase,
)
from headstart.report.study_text import level_used, study_sentences
from headstart.report.subject import Subject
from headstart.spec.labels import in_order, role

__all__ = ["headline", "supporting"]

# Further pairs of settings are in the table of settings only.
MOST_PAIRS = 3


def headline(subject: Subject) -> str:
    """Return the main result in one sentence.

    It states the correlation with upstream accuracy in the first setting that has one, and how two
    settings compare; without upstream accuracies, which model is best.
    """
    rows = pearson_rows(subject)
    level = level_used(subject)
    if not rows:
        sentence = best_sentence(subject)
        if not level or not sentence.startswith(("By ", "In the setting ")):
            return sentence
        return f"{level[:1].upper()}{level[1:]}: {sentence[:1].lower()}{sentence[1:]}"
    row = rows[0]
    models, datasets = count(int(row.n_models), "model"), count(int(row.n_datasets), "dataset")
    scope = f"Across {models} and {datasets}" + (f", {level}" if level else "")
    what = f"{subject.upstream_name} and transfer {by_setting(row.setting)}"
    wins = [wins_clause(pair) for pair in setting_pairs(subject)[:1]]
    return "; ".join([f"{scope}, {what} correlate at {correlation(row)}", *wins]) + "."


def supporting(subject: Subject) -> list[str]:
    """Return what else the tables show, the most important first."""
    rows = pearson_rows(subject)
    pairs = setting_pairs(subject)
    sentences = [other_settings(subject, rows), family_sentence(rows), slope_sentence(subject)]
    if rows:
        sentences.append(best_sentence(subject))
        pairs = pairs[1:]
    else:
        sentences.append(
            f"No correlation with {subject.upstream_name}: {no_correlation_reason(subject)}."
        )
    if pairs:
        clauses = joined([wins_clause(pair) for pair in pairs[:MOST_PAIRS]])
        more = count(len(pairs) - MOST_PAIRS, "more comparison") if len(pairs) > MOST_PAIRS else ""
        rest = f" ({more} in the table of settings)" if more else ""
        sentences.append(f"{clauses[:1].upper()}{clauses[1:]}{rest}.")
    sentences += study_sentences(subject)
    return [sentence for sentence in sentences if sentence]


def setting_pairs(subject: Subject) -> list[Any]:
    """Return every pair of settings that share cells, once each, the most important first.

    Fine-tuning against logistic regression, or against scratch where that is all: the pair whose
    other setting is the headline's first, and of several such the one of the same protocol; pairs
    of two different protocols are left to the table, unless there are no others. Then all pairs of
    settings of other names, the one that wins more often first in each.
    """
    table = subject.settings
    rows = [row for row in table.itertuples(index=False) if row.cells] if len(table) else []
    first = finetune_pairs(subject, rows)
    named = {
        frozenset((row.setting, row.other)) for row in rows if role(row.setting) and role(row.other)
    }
    others = [
        row for row in rows if frozenset((row.setting, row.other)) not in named and _leads(row)
    ]
    return [*first, *others]


def _leads(row: Any) -> bool:
    """Return whether, of both orders of a pair, this is the one whose first wins more often."""
    lost = row.cells - row.wins - row.ties
    return bool(row.wins > lost or (row.wins == lost and row.setting < row.other))


def finetune_pairs(subject: Subject, rows: list[Any]) -> list[Any]:
    """Return fine-tuning against logistic regression, or against scratch where that is all."""
    tuned = [row for row in rows if role(row.setting) == "finetune"]
    against = [
        [row for row in tuned if role(row.other) == other_role]
        for other_role in ("linear", "scratch")
    ]
    found = next(filter(None, against), [])
    visible = [row.setting for row in pearson_rows(subject)] or in_order(r.other for r in found)
    places = {setting: i for i, setting in enumerate(visible)}
    same = [row for row in found if protocol(row.setting) == protocol(row.other)] or found
    return sorted(same, key=lambda row: places.get(row.other, len(places)))


def protocol(setting: str) -> str:
    """Return what stands in parentheses after the name of a setting."""
    return setting.partition(" (")[2]


def wins_clause(row: Any) -> str:
    """State in how many model-dataset pairs the first of two settings is more accurate."""
    ties = f" (ties: {int(row.ties):,})" if row.ties else ""
    return (
        f"{setting_phrase(row.setting)} beats {setting_phrase(row.other)} "
        f"in {int(row.wins):,} of {int(row.cells):,} model-dataset pairs{ties}"
    )


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
        return "No model can be called best: the datasets do not connect all models."
    leaders = sorted(str(name) for name in best.model)
    rest = table[~table["best"].astype(bool)]
    by = by_setting(str(best.iloc[0].setting))
    by = by[:1].upper() + by[1:]
    do = "performs best" if len(leaders) == 1 else "are tied for best"
    text = f"{by} on {over}, {joined(leaders)} {do}"
    if not len(rest) and len(leaders) > 1:
        return f"{text}."
    leader = leaders[0]
    if not len(rest):
        others = subject.cells[subject.cells.setting == best.iloc[0].setting].model.nunique() > 1
        on = " with all of them" if others else ""
        return f"{by} on {over}, {leader} is the only model measured{on}."
    verdicts = [value if known(value) else None for value in rest["not_different"]]
    if all(value is None for value in verdicts):
        return f"{text}; differences from the other models were not tested."
    same = [str(name) for name, value in zip(rest.model, verdicts, strict=True) if value]
    if same:
        verb = "are" if len(same) > 1 else "is"
        return f"{text}; {listed(same)} {verb} not significantly different from it ({test})."
    untested = sum(value is None for value in verdicts)
    others = "every other model" if not untested else "every other model that was tested"
    return f"{text}, significantly better than {others} ({test}){nearest(rest)}."


def nearest(rest: Any) -> str:
    """State the odds ratio of the second-best model, with its interval; empty if unknown."""
    if "odds_ratio" not in rest:
        return ""
    rest = rest[rest.difference_low.notna()]
    if not len(rest):
        return ""
    row = rest.sort_values("difference", ascending=False, kind="stable").iloc[0]
    between = interval(row.odds_ratio_low, row.odds_ratio_high)
    return (
        f"; odds ratio of the second-best, {row.model}: {number(row.odds_ratio)} "
        f"(95 % interval {between})"
    )


def means_or_cells(subject: Subject) -> tuple[Any, str, str]:
    """Return the table that tells the best model: means over datasets, or cells of one dataset."""
    means, cells = subject.model_means, subject.cells
    if len(means):
        table = means[means.setting == in_order(means.setting)[0]]
        if table.of_datasets.max() > 1:
            return table, scope_of(table), TESTS["many"]
    if not len(cells):
        return None, "", ""
    table = cells[cells.setting == in_order(cells.setting)[0]]
    if not len(means) and table.dataset.nunique() > 1:
        # No dataset connects the models: none is best overall.
        return table.iloc[:0], "", ""
    first = str(table.dataset.iloc[0])
    return table[table.dataset == first], first, TESTS["one"]


def scope_of(means: Any) -> str:
    """State over how many datasets the means are, and how many cells are missing."""
    n = int(means.of_datasets.max())
    cells, possible = int(means.n_datasets.sum()), n * len(means)
    holes = f" ({cells:,} of {possible:,} cells measured)" if cells < possible else ""
    return f"{count(n, 'dataset')}{holes}"
