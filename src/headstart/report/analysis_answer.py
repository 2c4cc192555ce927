"""The answer that a table of results gives first, by what was measured.

Few models: which is best, and by how much. Many models with a predictor: the correlation. Several
settings: what fine-tuning adds. Two sources, one against the other: by how much they differ. Own
models beside published ones: above or below the line. Training configurations: which transfers
best. Steps or sizes of training sets: what more of them adds. The page leads with it, and the
terminal.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal

from headstart.analysis import Analysis
from headstart.report.result_tables import compared_names
from headstart.report.sentences import (
    BestTable,
    ablation_sentences,
    best_lines,
    best_sentence,
    best_table,
    effects_sentence,
    level_used,
    no_correlation_sentence,
    pearson_rows,
    predictor_sentences,
    setting_pairs,
    speed_sentences,
    study_sentences,
    wins_clause,
    wins_sentence,
)
from headstart.spec.formatting import (
    by_setting,
    capitalized,
    count,
    in_order,
    interval,
    joined,
    known,
    listed,
    number,
    r_of,
    setting_phrase,
    uncertain,
)

__all__ = ["Answer", "answer_of", "comes_first", "study_name"]

# From so many models on, how a predictor goes with transfer says more than a list of them.
MANY_MODELS = 8
# Models, or settings, that a sentence names one by one.
MOST_NAMED = 3
Case = Literal["nothing", "compared", "own models", "correlation", "settings", "configurations",
               "sweep", "best"]  # fmt: skip
# A file of results is named by its folder if it has a name that says nothing.
PLAIN_NAMES = {"headstart", "results", "result", "store", "table", "data"}


# The figures that answer a question; they come first.
SWEEPS, MODELS = ("ablation", "convergence", "dataset-size"), ("models", "settings", "ranks")
FIRST: dict[Case, Sequence[str]] = {
    "configurations": SWEEPS, "sweep": SWEEPS, "best": MODELS, "settings": MODELS,
    "correlation": ("correlation",), "own models": ("correlation",),
}  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """What a table of results says first."""

    case: Case  # which question is answered
    title: str  # the source and the question
    headline: str  # the answer in one sentence
    supporting: list[str]  # what else the tables show, the most important first


def answer_of(analysis: Analysis) -> Answer:
    """Return the answer to the question that these results were measured for."""
    case, name = case_of(analysis), study_name(analysis)
    question, lines = CASES[case](analysis)
    title = f"{name}: {question}" if name else capitalized(question)
    headline, *supporting = [line for line in dict.fromkeys(lines) if line]
    return Answer(case, title, headline, supporting)


def comes_first(figure: str, answer: Answer) -> bool:
    """Return whether a figure, by its name, shows the answer."""
    return figure in FIRST.get(answer.case, ())


def case_of(subject: Analysis) -> Case:
    if len(subject.compared_means):
        return "compared"
    if len(subject.ablation):
        return "configurations"
    if len(subject.convergence) or len(subject.dataset_size):
        return "sweep"
    return case_of_cells(subject) if len(subject.cells) else "nothing"


def case_of_cells(subject: Analysis) -> Case:
    """Return which question is answered by one number per model, dataset and setting."""
    cells, counts = subject.cells, subject.counts
    if len(subject.above_line):
        return "own models"
    models = int(counts.n_models.max()) if len(counts) else cells.model.nunique()
    many = models >= MANY_MODELS and cells.dataset.nunique() > 1
    rows = pearson_rows(subject)
    if many and rows and known(rows[0].low):
        return "correlation"
    if (many or models == 1) and setting_pairs(subject):
        return "settings"
    return "best"


def study_name(subject: Analysis) -> str:
    """Return the name of what was analyzed: of its sources, without folders and suffixes."""
    names = [source_name(source) for source in subject.sources if source.get("kind") != "predictor"]
    return listed([*dict.fromkeys(filter(None, names))], 2)


def source_name(source: Any) -> str:
    """Return a short name of a source; empty for a table that has none.

    Examples
    --------
    >>> source_name({"name": "runs/pets/results.db", "kind": "store"})
    'pets'
    >>> source_name({"name": "clip2021", "kind": "published"})
    'clip2021'
    """
    name, kind = str(source.get("name") or ""), source.get("kind")
    if kind == "frame":
        return "" if name == "the table" else name
    path = PurePath(re.sub(r"^[a-z0-9+]+://(?:[^/@]*@)?", "", name.partition("?")[0]))
    stem = path.name.split(".")[0] if path.suffix else path.name
    if stem.lower() in PLAIN_NAMES and path.parent.name:
        return path.parent.name
    return stem


def scope(subject: Analysis) -> str:
    cells = subject.cells
    datasets = list(dict.fromkeys(map(str, cells.dataset)))
    models = count(cells.model.nunique(), "model")
    on = datasets[0] if len(datasets) == 1 else count(len(datasets), "dataset")
    return f"{models} on {on}"


Lines = tuple[str, list[str]]


def best(subject: Analysis) -> Lines:
    """Name the best model in each setting, those that do not differ, and the differences."""
    settings = in_order(subject.cells.setting)
    tables = [one for setting in settings if (one := best_table(subject, setting)) is not None]
    first, *others = tables[:MOST_NAMED]
    headline, *more = best_lines(first)
    differences = differences_sentence(first) or single_datasets(subject, first)
    lines = [headline, differences, *more, *wins(subject), *map(best_sentence, others)]
    return scope(subject), [*lines, *predictor_sentences(subject), *study_sentences(subject)]


def wins(subject: Analysis) -> list[str]:
    """State what fine-tuning adds, where there are settings to compare."""
    pairs = setting_pairs(subject)
    return [added_sentence(pairs[0]), wins_sentence(pairs[1:])] if pairs else []


def differences_sentence(found: BestTable) -> str:
    """State the differences of the nearest models from the best, each with its interval."""
    rest = found.rest[found.rest.difference_low.notna()]
    if not len(rest):
        return ""
    rest = rest.sort_values("difference", ascending=False, kind="stable")
    scale, unit, digits = (100, " pp", 1) if found.one_dataset else (1, "", 2)
    clauses = [
        f"{row.model} {number(scale * row.difference, digits, plus=True)}{unit} "
        f"({interval(row.difference_low, row.difference_high, digits, scale)})"
        for row in rest.head(MOST_NAMED).itertuples(index=False)
    ]
    what = "in percentage points" if found.one_dataset else "in mean log odds"
    more = len(rest) - len(clauses)
    rest_text = f"; {count(more, 'more model')} in the leaderboard" if more > 0 else ""
    return f"Difference from the best {what} (95 % interval): {'; '.join(clauses)}{rest_text}."


def single_datasets(subject: Analysis, found: BestTable) -> str:
    """State on how many datasets the best model is best, or does not differ from it."""
    cells = subject.cells
    cells = cells[(cells.setting == found.setting) & cells.model.isin(found.best.model)]
    if found.one_dataset or not subject.pairwise.dataset.isin(cells.dataset).any():
        return ""
    clauses = [
        f"{model} is the best or not significantly different from it on "
        f"{int((rows['best'].astype(bool) | (rows.not_different == True)).sum())} of {len(rows)}"  # noqa: E712
        for model, rows in cells.groupby("model", sort=False)
    ]
    return f"On single datasets, {joined(clauses)} (paired tests on the test images)."


def correlation(subject: Analysis) -> Lines:
    """State how the predictor and transfer correlate, and what fine-tuning adds."""
    pairs = setting_pairs(subject)
    clauses = [wins_clause(pair) for pair in pairs[:1]]
    headline, others, *statistics = predictor_sentences(subject)
    lines = [
        "; ".join([headline.removesuffix("."), *clauses]) + ".",
        others,
        *best_lines(best_table(subject)),
        wins_sentence(pairs[1:]),
        *statistics,
        *study_sentences(subject),
    ]
    return f"does {subject.predictor.label} predict transfer?", lines


def settings(subject: Analysis) -> Lines:
    """State what fine-tuning adds to the other settings."""
    found = best_table(subject)
    lines = [
        *wins(subject),
        *best_lines(found),
        differences_sentence(found) if found else "",
        *(predictor_sentences(subject) or [no_correlation_sentence(subject)]),
        *study_sentences(subject),
    ]
    pair = setting_pairs(subject)[0]
    question = f"{setting_phrase(pair.setting)} against {setting_phrase(pair.other)}"
    return f"{question}, {scope(subject)}", lines


def added_sentence(row: Any) -> str:
    """State in how many cells a setting is better than another, and by how much on average."""
    text = f"{capitalized(wins_clause(row))}; mean difference {number(row.difference, plus=True)}"
    between = interval(row.low, row.high)
    if not between:
        return f"{text} in log odds."
    ratio = number(math.exp(row.difference))
    ratios = interval(math.exp(row.low), math.exp(row.high))
    return (
        f"{text} in log odds (95 % interval {between}{uncertain(row.low, row.high)}), an odds "
        f"ratio of {ratio} ({ratios})."
    )


def configurations(subject: Analysis) -> Lines:
    """State which training configuration transfers best, and what each change does."""
    table = subject.ablation
    n = count(table.configuration.nunique(), "training configuration")
    # The other tables hold one configuration alone.
    first = ablation_sentences(table) or [f"{n} measured."]
    lines = [*first, effects_sentence(subject), *study_sentences(subject)]
    return "which training transfers best?", lines


def sweep(subject: Analysis) -> Lines:
    """State what more steps, or more images, change, and then what its largest level says."""
    _, lines = CASES[case_of_cells(subject)](subject) if len(subject.cells) else ("", [])
    level = level_used(subject)
    at = f"The other results have {level}." if level and lines else ""
    steps = len(subject.convergence) > 0
    question = "what do more steps of training add?" if steps else "what do more images add?"
    speed = speed_sentences(subject)
    return question, [*speed, *study_sentences(subject), at, *lines]


def own_models(subject: Analysis) -> Lines:
    """State whether own models are above or below the line of the published ones."""
    table = subject.above_line
    settings = in_order(table.setting)
    # The clearest first.
    table = table.assign(clear=(table.difference / (table.high - table.low)).abs())
    by_model = table.groupby("model").clear.max().sort_values(ascending=False, kind="stable")
    rows = [
        row
        for model in by_model.index[:MOST_NAMED]
        for setting in settings
        for row in table[(table.model == model) & (table.setting == setting)].itertuples()
    ]
    lines = [line_sentence(subject, row, rows[0]) for row in rows]
    found = best_table(subject)
    lines += [
        f"{count(len(by_model) - MOST_NAMED, 'more own model')} in the leaderboard."
        if len(by_model) > MOST_NAMED
        else "",
        *best_lines(found),
        *predictor_sentences(subject),
        *study_sentences(subject),
    ]
    names = listed([str(name) for name in by_model.index], 2)
    return f"{names} among {count(int(table.n_models.max()), 'published model')}", lines


def line_sentence(subject: Analysis, row: Any, first: Any) -> str:
    """State how far one own model is from the line of the published ones; `first` in full."""
    held = row.low <= 0 <= row.high
    side = ("better", "above") if row.difference > 0 else ("worse", "below")
    line = (
        f"line through {count(int(row.n_models), 'published model')} "
        f"on {count(int(row.n_datasets), 'dataset')}"
    )
    by = f"{capitalized(by_setting(str(row.setting)))}, {row.model} transfers"
    distance, ends = number(abs(row.difference)), interval(row.low, row.high)
    if row is not first:
        same = (row.n_models, row.n_datasets) == (first.n_models, first.n_datasets)
        return (
            f"{by} {'as' if held else f'{side[0]} than'} predicted: {distance} {side[1]} the "
            f"{'line' if same else line} ({ends})."
        )
    return (
        f"{by} {'as its' if held else f'{side[0]} than its'} {subject.predictor.label} predicts: "
        f"{distance} in mean log odds {side[1]} the {line} (95 % prediction interval of the "
        f"difference {ends}{', which includes 0' if held else ''})."
    )


def compared(subject: Analysis) -> Lines:
    """State by how much one source differs from the other, and what one alone has."""
    first, other = compared_names(subject)
    cells = subject.compared
    if len(cells) and (cells.difference == 0).all():
        equal = f"All {len(cells):,} accuracies of {first} and {other} are equal."
        return "by how much do they differ?", [equal, *set_sentences(subject, first, other)]
    # The first row of a setting is that of all models, or of the only one.
    means = subject.compared_means.drop_duplicates("setting").set_index("setting")
    lines = []
    for setting in in_order(means.index):
        row = means.loc[setting]
        ends = interval(row["low"], row["high"], 3)
        held = row["low"] <= 0 <= row["high"]
        verdict = f" (95 % interval {ends}{': not significant' if held else ''})" if ends else ""
        over = f"{count(row['n_models'], 'model')} and {count(row['n_datasets'], 'dataset')}"
        mean, points = number(row["mean"], 3, plus=True), 100 * row["accuracy"]
        side = f"{number(abs(points), 1)} percentage points {'more' if points > 0 else 'less'}"
        as_good = "as accurate as" if abs(points) < 0.05 else f"{side} accurate than"
        lines.append(
            f"{capitalized(by_setting(setting))}, {first} is {as_good} {other}, over {over}: "
            f"{mean} in mean log odds{verdict}."
        )
    cells = cells.dropna(subset=["low", "high"])
    clear = int(((cells.low > 0) | (cells.high < 0)).sum())
    if len(cells):
        lines.append(
            f"The 95 % interval of the difference excludes 0 in {clear:,} of "
            f"{count(len(cells), 'cell')} (one model on one dataset)."
        )
    lines += set_sentences(subject, first, other)
    if len(subject.unshared):
        names = listed([str(name) for name in subject.unshared["name"]])
        lines.append(f"In one of the two only: {names}.")
    return "by how much do they differ?", lines


def set_sentences(subject: Analysis, first: str, other: str) -> list[str]:
    """State how well the predictor's values of each source go with transfer, where they differ."""
    table = subject.model_sets
    table = table[table.difference_r.notna() & (table.difference_r != 0)]
    lines = []
    for setting in in_order(table.setting):
        for row in table[table.setting == setting].itertuples():
            ends = interval(row.difference_low, row.difference_high, 3)
            held = uncertain(row.difference_low, row.difference_high)
            lines.append(
                f"{capitalized(by_setting(setting))}, transfer correlates with the "
                f"{subject.predictor.label} of {first} by {r_of(row.r)}, with that of {other} by "
                f"{r_of(row.other_r)}: a difference of {number(row.difference_r, 3, plus=True)}"
                f"{f' (95 % interval {ends}{held})' if ends else ''}."
            )
    return lines


CASES: dict[Case, Callable[[Analysis], Lines]] = {
    "nothing": lambda _: ("no results", ["There are no results in this table."]),
    "compared": compared,
    "own models": own_models,
    "correlation": correlation,
    "settings": settings,
    "configurations": configurations,
    "sweep": sweep,
    "best": best,
}
