"""The result in sentences, written from the estimates and from nothing else.

No sentence says that one thing causes another. What an interval leaves open is said to be open,
and what could not be estimated is said not to have been.
"""

from typing import Any

from headstart.report.numbers import count, interval, known, listed, number
from headstart.report.subject import Subject
from headstart.spec.labels import in_order, role, setting_label

__all__ = ["correlation_interval", "headline", "pearson_rows", "setting_phrase", "supporting"]

PHRASES = {
    "linear": "logistic regression",
    "finetune": "fine-tuning",
    "scratch": "training from random initialization",
}
# Two models always correlate at 1 or -1: it says nothing.
FEWEST_MODELS = 3
TESTS = {"many": "paired t-test over datasets", "one": "paired test on the test images"}


def setting_phrase(setting: str) -> str:
    """Name a setting inside a sentence.

    Examples
    --------
    >>> setting_phrase("fine_tuned"), setting_phrase("linear (simclr2020)")
    ('fine-tuning', 'logistic regression (simclr2020)')
    """
    known_role = role(setting)
    if known_role is None:
        return setting_label(setting)
    _, bracket, rest = setting.partition(" (")
    return PHRASES[known_role] + bracket + rest


def headline(subject: Subject) -> str:
    """Say the main result in one sentence.

    The correlation with upstream accuracy in the first setting that has one, and how fine-tuning
    compares with logistic regression; without upstream accuracies, which model is best.
    """
    rows = pearson_rows(subject)
    if not rows:
        return best_sentence(subject)
    row = rows[0]
    models, datasets = count(int(row.n_models), "model"), count(int(row.n_datasets), "dataset")
    scope = f"Across {models} and {datasets}"
    what = f"{subject.upstream_name} and transfer by {setting_phrase(row.setting)}"
    text = f"{scope}, {what} correlate at {correlation(row)}"
    wins = finetune_wins(subject)
    return f"{text}; {wins}." if wins else f"{text}."


def supporting(subject: Subject) -> list[str]:
    """Say two to four further results, the most telling first."""
    rows = pearson_rows(subject)
    sentences = [other_settings(rows[1:]), family_sentence(rows), slope_sentence(subject)]
    if rows:
        sentences.append(best_sentence(subject))
    else:
        wins = finetune_wins(subject)
        sentences += [
            f"There is no correlation with {subject.upstream_name} to report: "
            f"{no_correlation_reason(subject)}.",
            wins[:1].upper() + wins[1:] + "." if wins else "",
        ]
    return [sentence for sentence in sentences if sentence]


def pearson_rows(subject: Subject) -> list[Any]:
    """Give the rows of r over all datasets that mean something, a setting each, in order."""
    table = subject.correlations
    if not len(table):
        return []
    table = table[(table.group == "all") & (table.statistic == "pearson_logit")]
    table = table[table.estimate.notna() & (table.n_models >= FEWEST_MODELS)]
    by_setting = {row.setting: row for row in table.itertuples(index=False)}
    return [by_setting[setting] for setting in in_order(by_setting)]


def correlation(row: Any) -> str:
    """Write r with its interval, or with why it has none."""
    text = f"r = {number(row.estimate, 3)}"
    between = correlation_interval(row.low, row.high)
    if not between:
        models = count(int(row.n_models), "model")
        return f"{text}, with no interval because {models} are too few for one"
    text += f" (95 % interval {between})"
    if row.low <= 0 <= row.high:
        text += ", an interval that includes 0 and so leaves the sign open"
    return text


def correlation_interval(low: Any, high: Any) -> str:
    """Write an interval of a correlation; no digit is dropped that keeps it from 1."""
    near_one = known(low) and known(high) and max(abs(low), abs(high)) >= 0.995
    return interval(low, high, 3 if near_one else 2)


def finetune_wins(subject: Subject) -> str:
    """Say how often fine-tuning beats logistic regression, or scratch where that is all."""
    table = subject.settings
    if not len(table):
        return ""
    pairs = {(role(row.setting), role(row.other)): row for row in table.itertuples(index=False)}
    row = pairs.get(("finetune", "linear")) or pairs.get(("finetune", "scratch"))
    if row is None or not row.cells:
        return ""
    ties = f" and ties in {int(row.ties)}" if row.ties else ""
    return (
        f"{setting_phrase(row.setting)} beats {setting_phrase(row.other)} "
        f"in {int(row.wins):,} of {count(int(row.cells), 'cell')}{ties}"
    )


def other_settings(rows: list[Any]) -> str:
    said = [f"by {setting_phrase(row.setting)} {correlation(row)}" for row in rows]
    return f"The same correlation is, {'; '.join(said)}." if said else ""


def family_sentence(rows: list[Any]) -> str:
    """Say what is left when related models count as one observation."""
    between = correlation_interval(rows[0].low_family, rows[0].high_family) if rows else ""
    if not between:
        return ""
    row = rows[0]
    return (
        f"Models of a family are alike: resampling the {int(row.n_families)} families instead of "
        f"single models, the interval for {setting_phrase(row.setting)} is "
        f"{between}."
    )


def slope_sentence(subject: Subject) -> str:
    """Say the slope of the mixed model in the first setting that has one."""
    table = subject.mixed
    table = table[table.slope.notna()] if len(table) else table
    if not len(table):
        return ""
    first = in_order(table.setting)[0]
    row = next(table[table.setting == first].itertuples(index=False))
    between = interval(row.low, row.high)
    spread = f" (95 % interval {between})" if between else ""
    open_sign = ", which leaves the sign open" if between and row.low <= 0 <= row.high else ""
    return (
        f"One unit more in the log odds of {subject.upstream_name} goes with "
        f"{number(row.slope, plus=True)} in the log odds of transfer by {setting_phrase(first)}"
        f"{spread}{open_sign}, "
        "with models and datasets as random effects."
    )


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
        return f"By {setting} over {over}, {leader} is the only model measured."
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


def no_correlation_reason(subject: Subject) -> str:
    if not len(subject.cells) or not subject.cells.upstream_accuracy.notna().any():
        return "the table gives no upstream accuracies"
    models = subject.cells[subject.cells.upstream_accuracy.notna()].model.nunique()
    if models < FEWEST_MODELS:
        return f"{count(models, 'model')} with an upstream accuracy cannot show one"
    return "the table has no complete part to average over"
