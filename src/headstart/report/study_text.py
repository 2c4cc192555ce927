"""What the further studies show, a sentence each."""

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
    """Say which level of a sweep the tables use that have one number a cell; empty if none."""
    noted = [str(what).removeprefix(NOTE) for what in subject.missing.what if NOTE in str(what)]
    factors = [factor for factor in LEVELS if any(note.startswith(factor) for note in noted)]
    if not factors:
        return ""
    return f"each model at its {joined([LEVELS[factor] for factor in factors])}"


def study_sentences(subject: Subject) -> list[str]:
    """Give a sentence for each study that the table has."""
    sentences = [
        ends_sentence(subject.convergence, "steps", "step"),
        *speed_sentences(subject),
        ends_sentence(subject.dataset_size, "examples_per_class", "example"),
        ablation_sentence(subject.ablation),
        effects_sentence(subject),
    ]
    return [sentence for sentence in sentences if sentence]


def ends_sentence(table: Any, level: str, noun: str) -> str:
    """Say the means at the first and the last level, over what both levels have."""
    if not len(table):
        return ""
    low, high = table[level].min(), table[level].max()
    said = []
    for setting in in_order(table.setting):
        ends = both_ends(table[table.setting == setting], level, low, high)
        if len(ends):
            first, last = (number(ends[end].mean(), 3) for end in (low, high))
            said.append(f"from {first} to {last} {by_setting(setting)}")
    if not said:
        return ""
    each = " per class" if level == "examples_per_class" else ""
    many = table.model.nunique() > 1 or ("dataset" in table and table.dataset.nunique() > 1)
    mean = "the mean log odds of what was measured at both" if many else "the mean log odds"
    return f"From {low:,g} to {count_said(high, noun)}{each}, {mean} go {joined(said)}."


def speed_sentences(subject: Subject) -> list[str]:
    """Compare the steps that two settings need to 90 % of their largest odds.

    Where curves may still rise that is not known, and said first; curves that never leave chance
    take no part, and are counted.
    """
    sentences = []
    for row in subject.speedup.itertuples(index=False):
        slow, fast = setting_phrase(row.other), setting_phrase(row.setting)
        times = f"{slow} takes {number(row.speedup, 1)} times the steps of {fast}"
        if between := interval(row.low, row.high, 1):
            times += f" (95 % interval {between}, for other {row.sampled})"
        if row.at_chance:
            pairs = count(int(row.at_chance), "pair")
            times += f"; {pairs} of curves left out because one never leaves chance"
        rising, curves = still_rising(subject.reached, row.setting, row.other)
        if rising:
            sentences.append(
                f"How much faster {fast} converges than {slow} is inconclusive: {rising} of "
                f"{count(curves, 'curve')} have their largest odds at their largest number of "
                f"steps and may rise with more; so far, to 90 % of the largest odds, {times}."
            )
        else:
            sentences.append(f"To 90 % of the largest odds {times}.")
    return sentences


def both_ends(table: Any, level: str, low: Any, high: Any) -> Any:
    """Give the means at both levels, a row a model (and dataset) that has both."""
    unit = [name for name in ("model", "dataset") if name in table]
    ends = table[table[level].isin([low, high])].pivot_table("mean", unit, level)
    return ends.dropna() if {low, high} <= set(ends.columns) else ends.iloc[:0]


def count_said(n: Any, noun: str) -> str:
    return count(int(n), noun) if float(n).is_integer() else f"{n:,g} {noun}s"


def ablation_sentence(table: Any) -> str:
    """Say which training configuration does best in each setting, and which worst."""
    if not len(table):
        return ""
    said = []
    for setting in in_order(table.setting):
        means = table[table.setting == setting].pivot_table("mean", "model", "configuration")
        means = means.dropna().mean()
        if len(means) > 1:
            best, worst = means.idxmax(), means.idxmin()
            said.append(
                f"{by_setting(setting)} highest with \N{LEFT DOUBLE QUOTATION MARK}{best}"
                f"\N{RIGHT DOUBLE QUOTATION MARK} ({number(means[best], 3)}) and lowest with "
                f"\N{LEFT DOUBLE QUOTATION MARK}{worst}\N{RIGHT DOUBLE QUOTATION MARK} "
                f"({number(means[worst], 3)})"
            )
    n = count(table.configuration.nunique(), "training configuration")
    return f"Of {n}, mean log odds are {'; '.join(said)}." if said else ""


def effects_sentence(subject: Subject) -> str:
    """Say how many changes of the training go with higher or lower log odds, and how many open."""
    table = subject.effects
    table = table[table.low.notna()] if len(table) else table
    said = [
        f"{subject.upstream_name if setting == UPSTREAM else by_setting(setting)} "
        f"{signs(table[table.setting == setting])}"
        for setting in in_order(table.setting)
    ]
    if not said:
        return ""
    return (
        "Each training configuration against the one before it, by 95 % intervals, in log odds: "
        f"{'; '.join(said)}."
    )


def signs(table: Any) -> str:
    """Count intervals over and under 0, and those that include it."""
    up, down = int((table.low > 0).sum()), int((table.high < 0).sum())
    counts = {"higher": up, "lower": down, "of uncertain direction": len(table) - up - down}
    return joined([f"{what} in {n}" for what, n in counts.items() if n]) + f" of {len(table)}"
