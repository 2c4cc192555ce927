"""The result in sentences, written from the estimates and from nothing else.

No sentence says that one thing causes another. What an interval leaves open is said to be open,
and what could not be estimated is said not to have been.
"""

from typing import Any

from headstart.report.best_words import best_sentence
from headstart.report.correlation_words import (
    correlation,
    family_sentence,
    no_correlation_reason,
    other_settings,
    pearson_rows,
    slope_sentence,
)
from headstart.report.numbers import count, joined
from headstart.report.phrases import by_setting, setting_phrase
from headstart.report.study_words import level_used, study_sentences
from headstart.report.subject import Subject
from headstart.spec.labels import in_order, role

__all__ = ["headline", "supporting"]

# Pairs of settings beyond these are in the table of settings.
MOST_PAIRS = 3


def headline(subject: Subject) -> str:
    """Say the main result in one sentence.

    The correlation with upstream accuracy in the first setting that has one, and how two settings
    compare; without upstream accuracies, which model is best.
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
    """Say what else the tables show, the most telling first."""
    rows = pearson_rows(subject)
    pairs = setting_pairs(subject)
    sentences = [other_settings(subject, rows), family_sentence(rows), slope_sentence(subject)]
    if rows:
        sentences.append(best_sentence(subject))
        pairs = pairs[1:]
    else:
        sentences.append(
            f"There is no correlation with {subject.upstream_name} to report: "
            f"{no_correlation_reason(subject)}."
        )
    if pairs:
        said = joined([wins_clause(pair) for pair in pairs[:MOST_PAIRS]])
        more = count(len(pairs) - MOST_PAIRS, "more comparison") if len(pairs) > MOST_PAIRS else ""
        rest = f" ({more} in the table of settings)" if more else ""
        sentences.append(f"{said[:1].upper()}{said[1:]}{rest}.")
    sentences += study_sentences(subject)
    return [sentence for sentence in sentences if sentence]


def setting_pairs(subject: Subject) -> list[Any]:
    """Return every pair of settings that share cells, once each, the most telling first.

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
    """Of the two orders of a pair, choose the one in which the first wins more often."""
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
    shown = [row.setting for row in pearson_rows(subject)] or in_order(r.other for r in found)
    places = {setting: i for i, setting in enumerate(shown)}
    same = [row for row in found if protocol(row.setting) == protocol(row.other)] or found
    return sorted(same, key=lambda row: places.get(row.other, len(places)))


def protocol(setting: str) -> str:
    """Give what stands in brackets after a setting's name."""
    return setting.partition(" (")[2]


def wins_clause(row: Any) -> str:
    """Count the cells in which the first of two settings has the higher accuracy."""
    ties = f" and ties in {int(row.ties)}" if row.ties else ""
    return (
        f"{setting_phrase(row.setting)} beats {setting_phrase(row.other)} "
        f"in {int(row.wins):,} of {count(int(row.cells), 'cell')}{ties}"
    )
