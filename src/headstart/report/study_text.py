"""Sentences on sweeps: convergence, training-set size, upstream training choices."""

from typing import Any

from headstart.analysis import UPSTREAM, still_rising
from headstart.report.formatting import by_setting, count, interval, joined, number, setting_phrase
from headstart.report.subject import Subject
from headstart.spec.labels import in_order

__all__ = ["level_used", "study_sentences"]

# How the analysis notes which level of a sweep its other tables use.
NOTE = "other levels of "
LEVELS = {
    "configuration": "last training configuration",
    "steps": "usual number of steps",
    "examples_per_class": "largest number of examples per class",
}


def level_used(subject: Subject) -> str:
    """Return which level of a sweep the tables with one number per cell use; empty if none."""
    noted = [str(what).removeprefix(NOTE) for what in subject.missing.what if NOTE in str(what)]
    factors = [factor for factor in LEVELS if any(note.startswith(factor) for note in noted)]
    if not factors:
        return ""
    return f"each model at its {joined([LEVELS[factor] for factor in factors])}"


def study_sentences(subject: Subject) -> list[str]:
    """Return one sentence per sweep in the table."""
    sentences = [
        ends_sentence(subject.convergence, "steps", "step"),
        *speed_sentences(subject),
        ends_sentence(subject.dataset_size, "examples_per_class", "example"),
        ablation_sentence(subject.ablation),
        effects_sentence(subject),
    ]
    return [sentence for sentence in sentences if sentence]


def ends_sentence(table: Any, level: str, noun: str) -> str:
    """State the means at the first and the last level, over what was measured at both."""
    if not len(table):
        return ""
    low, high = table[level].min(), table[level].max()
    clauses = []
    for setting in in_order(table.setting):
        ends = both_ends(table[table.setting == setting], level, low, high)
        if len(ends):
            first, last = (number(ends[end].mean(), 3) for end in (low, high))
            clauses.append(f"from {first} to {last} {by_setting(setting)}")
    if not clauses:
        return ""
    each = " per class" if level == "examples_per_class" else ""
    many = table.model.nunique() > 1 or ("dataset" in table and table.dataset.nunique() > 1)
    mean = "the mean log odds of what was measured at both" if many else "the log odds"
    return f"From {low:,g} to {count_text(high, noun)}{each}, {mean} change {joined(clauses)}."


def speed_sentences(subject: Subject) -> list[str]:
    """Compare the steps that two settings need to reach 90 % of their largest odds.

    The comparison is inconclusive where curves may still rise; curves that stay at chance are
    excluded and counted.
    """
    sentences = []
    for row in subject.speedup.itertuples(index=False):
        slow, fast = setting_phrase(row.other), setting_phrase(row.setting)
        times = (
            f"{slow} needs {number(row.speedup, 1)} times as many steps as {fast} to reach 90 % of "
            "its largest odds"
        )
        if between := interval(row.low, row.high, 1):
            times += f" (95 % interval {between}, for other {row.sampled})"
        if row.at_chance:
            pairs = count(int(row.at_chance), "pair")
            times += f"; {pairs} of curves excluded: one of each stays at chance"
        rising, curves = still_rising(subject.reached, row.setting, row.other)
        if rising:
            sentences.append(
                f"Convergence speed of {fast} and {slow}: inconclusive. {rising:,} of "
                f"{count(curves, 'curve')} have their largest odds at their largest number of "
                f"steps and may still rise; so far, {times}."
            )
        else:
            sentences.append(f"{times[:1].upper()}{times[1:]}.")
    return sentences


def both_ends(table: Any, level: str, low: Any, high: Any) -> Any:
    """Return the means at both levels, one row per model (and dataset) that has both."""
    unit = [name for name in ("model", "dataset") if name in table]
    ends = table[table[level].isin([low, high])].pivot_table("mean", unit, level)
    return ends.dropna() if {low, high} <= set(ends.columns) else ends.iloc[:0]


def count_text(n: Any, noun: str) -> str:
    return count(int(n), noun) if float(n).is_integer() else f"{n:,g} {noun}s"


def ablation_sentence(table: Any) -> str:
    """State the best and the worst training configuration per setting."""
    if not len(table):
        return ""
    clauses = []
    for setting in in_order(table.setting):
        means = table[table.setting == setting].pivot_table("mean", "model", "configuration")
        means = means.dropna().mean()
        if len(means) > 1:
            best, worst = means.idxmax(), means.idxmin()
            clauses.append(
                f"{by_setting(setting)} are highest with \N{LEFT DOUBLE QUOTATION MARK}{best}"
                f"\N{RIGHT DOUBLE QUOTATION MARK} ({number(means[best], 3)}) and lowest with "
                f"\N{LEFT DOUBLE QUOTATION MARK}{worst}\N{RIGHT DOUBLE QUOTATION MARK} "
                f"({number(means[worst], 3)})"
            )
    n = count(table.configuration.nunique(), "training configuration")
    return f"Across {n}, mean log odds {'; '.join(clauses)}." if clauses else ""


def effects_sentence(subject: Subject) -> str:
    """Count the changes of the training with higher, lower and uncertain log odds."""
    table = subject.effects
    table = table[table.low.notna()] if len(table) else table
    clauses = [
        f"{subject.upstream_name if setting == UPSTREAM else by_setting(setting)} "
        f"{signs(table[table.setting == setting])}"
        for setting in in_order(table.setting)
    ]
    if not clauses:
        return ""
    return (
        "Each training configuration compared with the previous one (log odds, 95 % intervals): "
        f"{'; '.join(clauses)}."
    )


def signs(table: Any) -> str:
    """Count intervals above and below 0, and those that include it."""
    up, down = int((table.low > 0).sum()), int((table.high < 0).sum())
    counts = {"higher": up, "lower": down, "uncertain": len(table) - up - down}
    return joined([f"{what} in {n}" for what, n in counts.items() if n]) + f" of {len(table)}"
