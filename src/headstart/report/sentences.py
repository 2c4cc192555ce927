"""The main results in sentences, written from the estimates alone.

No sentence claims that one thing causes another. Where an interval includes 0 the direction is
called uncertain, and what could not be estimated is named.
"""

from typing import Any, NamedTuple

from headstart.analysis import FEWEST_FOR_INTERVAL, FEWEST_MODELS, UPSTREAM, Analysis, still_rising
from headstart.report.page_model import MEANS_TEST, cell_test, too_few
from headstart.spec.formatting import (
    by_setting,
    capitalized,
    coefficient_interval,
    count,
    in_order,
    interval,
    joined,
    known,
    listed,
    number,
    percent,
    r_of,
    role,
    setting_phrase,
    short_configuration,
    uncertain,
)

__all__ = [
    "BestTable",
    "ablation_sentences",
    "best_lines",
    "best_sentence",
    "best_table",
    "effects_sentence",
    "level_used",
    "no_correlation_sentence",
    "over_all",
    "pearson_rows",
    "predictor_sentences",
    "setting_pairs",
    "speed_sentences",
    "study_sentences",
    "wins_clause",
    "wins_sentence",
]

# Further pairs of settings are in the table of settings only.
MOST_PAIRS = 3


def predictor_sentences(subject: Analysis) -> list[str]:
    """State how the predictor and transfer correlate, where models suffice for an interval."""
    rows = pearson_rows(subject)
    if not rows or not known(rows[0].low):
        return []
    row = rows[0]
    models, datasets = count(int(row.n_models), "model"), count(int(row.n_datasets), "dataset")
    undecided = row.low <= 0 <= row.high
    side = "better" if undecided or row.estimate > 0 else "worse"
    verdict = f"models with higher {subject.predictor.label} transfer {side}"
    verdict = f"It is uncertain whether {verdict}" if undecided else capitalized(verdict)
    return [
        f"{verdict} {by_setting(row.setting)}: across {models} and {datasets}, {correlation(row)}.",
        other_settings(subject, rows),
        family_sentence(rows),
        slope_sentence(subject),
    ]


def wins_sentence(pairs: list[Any]) -> str:
    """State in how many cells each of some settings is better than another; empty for none."""
    if not pairs:
        return ""
    clauses = joined([wins_clause(pair) for pair in pairs[:MOST_PAIRS]])
    more = count(len(pairs) - MOST_PAIRS, "more comparison") if len(pairs) > MOST_PAIRS else ""
    rest = f" ({more} in the table of settings)" if more else ""
    return f"{capitalized(clauses)}{rest}."


def setting_pairs(subject: Analysis) -> list[Any]:
    """Return every pair of settings that share cells, once each, the most important first.

    Fine-tuning against logistic regression, or against scratch where that is all: the pair whose
    other setting is the headline's first, and of several such the one of the same protocol; pairs
    of two different protocols are left to the table, unless there are no others. Then all pairs of
    settings of other names, the one that wins more often first in each.
    """
    rows = [row for row in subject.settings.itertuples(index=False) if row.cells]
    first = finetune_pairs(subject, rows)
    named = {
        frozenset((row.setting, row.other)) for row in rows if role(row.setting) and role(row.other)
    }
    # Of both orders of a pair the one whose first wins more often.
    others = [
        row
        for row in rows
        if frozenset((row.setting, row.other)) not in named
        and (2 * row.wins + row.ties, row.other) > (row.cells, row.setting)
    ]
    return [*first, *others]


def finetune_pairs(subject: Analysis, rows: list[Any]) -> list[Any]:
    """Return fine-tuning against logistic regression, or against scratch where that is all."""
    tuned = [row for row in rows if role(row.setting) == "finetune"]
    against = [
        [row for row in tuned if role(row.other) == other_role]
        for other_role in ("linear", "scratch")
    ]
    found = next(filter(None, against), [])
    visible = [row.setting for row in pearson_rows(subject)] or in_order(r.other for r in found)
    places = {setting: i for i, setting in enumerate(visible)}
    # The protocol stands in parentheses after the name.
    same = [row for row in found if row.setting.partition(" (")[2] == row.other.partition(" (")[2]]
    return sorted(same or found, key=lambda row: places.get(row.other, len(places)))


def wins_clause(row: Any) -> str:
    """State in how many model-dataset pairs the first of two settings is more accurate."""
    verb, ties = "beats", f" (ties: {int(row.ties):,})" if row.ties else ""
    pairs = f" in {int(row.wins):,} of {int(row.cells):,} model-dataset pairs{ties}"
    if row.cells == 1:
        verb, pairs = "beats" if row.wins else "ties with" if row.ties else "does not beat", ""
    return f"{setting_phrase(row.setting)} {verb} {setting_phrase(row.other)}{pairs}"


class BestTable(NamedTuple):
    """The rows that tell the best model of a setting: means over datasets, or cells of one.

    `over` names the datasets; `rows` has the columns best, not_different, difference.
    """

    setting: str
    over: str
    one_dataset: bool
    rows: Any

    @property
    def best(self) -> Any:
        """The best, several if equal."""
        return self.rows[self.rows["best"].astype(bool)]

    @property
    def rest(self) -> Any:
        """All others."""
        return self.rows[~self.rows["best"].astype(bool)]


def best_table(subject: Analysis, setting: str | None = None) -> BestTable | None:
    """Return what tells the best model of a setting, the first unless named; None without cells."""
    means, cells = subject.model_means, subject.cells
    if not len(cells):
        return None
    setting = setting or in_order(cells.setting)[0]
    cells, means = cells[cells.setting == setting], means[means.setting == setting]
    if len(means) and means.of_datasets.max() > 1:
        n = int(means.of_datasets.max())
        measured, possible = int(means.n_datasets.sum()), n * len(means)
        holes = f" ({measured:,} of {possible:,} cells measured)" if measured < possible else ""
        return BestTable(setting, f"{count(n, 'dataset')}{holes}", False, means)
    if not len(means) and cells.dataset.nunique() > 1:
        # No dataset connects the models: none is best overall.
        return BestTable(setting, "", False, cells.iloc[:0])
    first = str(cells.dataset.iloc[0])
    return BestTable(setting, first, True, cells[cells.dataset == first])


def best_lines(found: BestTable | None) -> list[str]:
    """State which model is best in a setting, and why another may have the higher accuracy."""
    if found is None:
        return []
    lines, rows = [best_sentence(found)], found.rows
    if found.one_dataset or not len(found.best) or (rows.n_datasets < rows.of_datasets).any():
        return lines
    first = rows.sort_values("accuracy", ascending=False, kind="stable").iloc[0]
    if first["accuracy"] > found.best["accuracy"].max() + 0.0005:
        lines.append(
            f"By mean accuracy {first['model']} is first ({percent(first['accuracy'])} %). Log "
            "odds, by which models are ranked, count a gain from 98 to 99 % like one from 50 to "
            "67 %: both double the odds."
        )
    return lines


def best_sentence(found: BestTable) -> str:
    """State which model is best in a setting, and which do not differ from it."""
    best, rest = found.best, found.rest
    if not len(best):
        return "No model can be called best: the datasets do not connect all models."
    leaders = sorted(str(name) for name in best.model)
    by = capitalized(by_setting(found.setting))
    verdicts = [value if known(value) else None for value in rest["not_different"]]
    untested = sum(value is None for value in verdicts)
    do = "performs best" if len(leaders) == 1 else "are tied for best"
    if len(leaders) == 1 and untested == len(rest):
        do = "ranks first"
    row = best.iloc[0]
    if found.one_dataset:
        between = interval(row.low, row.high, 1, 100)
        score = f" ({percent(row.accuracy)} %{', 95 % interval ' if between else ''}{between})"
    else:
        # A mean accuracy may rank otherwise: what was compared is said first.
        score = f" (mean log odds {number(row['mean'])}, mean accuracy {percent(row.accuracy)} %)"
    text = f"{by} on {found.over}, {joined(leaders)} {do}{score}"
    if not len(rest) and len(leaders) > 1:
        return f"{text}."
    if not len(rest):
        return f"{by} on {found.over}, {leaders[0]} is the only model measured{score}."
    if untested == len(rest):
        what = "the difference from" if len(rest) == 1 else "differences from"
        others = f"{rest.model.iloc[0]} was" if len(rest) == 1 else "the other models were"
        return f"{text}; {what} {others} not tested{'' if found.one_dataset else too_few(rest)}."
    test = cell_test(rest) if found.one_dataset else MEANS_TEST
    same = [str(name) for name, value in zip(rest.model, verdicts, strict=True) if value]
    if same:
        verb = "are" if len(same) > 1 else "is"
        return f"{text}; {listed(same)} {verb} not significantly different from it ({test})."
    others = "every other model" if not untested else "every other model that was tested"
    others = others if len(rest) > 1 else str(rest.model.iloc[0])
    return f"{text}, significantly better than {others} ({test})."


def pearson_rows(subject: Analysis) -> list[Any]:
    """Return the defined correlations over all datasets, one row per setting, in order."""
    table = over_all(subject)
    table = table[table.estimate.notna() & (table.n_models >= FEWEST_MODELS)]
    by_setting = {row.setting: row for row in table.itertuples(index=False)}
    return [by_setting[setting] for setting in in_order(by_setting)]


def over_all(subject: Analysis) -> Any:
    """Return the Pearson correlations in log odds over all datasets."""
    table = subject.correlations
    return table[(table.group == "all") & (table.statistic == "pearson_logit")]


def correlation(row: Any, more: str = "") -> str:
    """Return r with its interval, or with the reason why it has none."""
    text, between = r_of(row.estimate), coefficient_interval(row.low, row.high)
    if between:
        between = f"95 % interval {between}{uncertain(row.low, row.high)}"
        return f"{text} ({'; '.join(filter(None, [between, more]))})"
    few = row.n_models < FEWEST_FOR_INTERVAL
    why = f"at least {FEWEST_FOR_INTERVAL} models are needed" if few else (
        "the correlation is exact, or undefined without one of the models")  # fmt: skip
    return f"{text}{f' ({more})' if more else ''}, no interval: {why}"


def other_settings(subject: Analysis, rows: list[Any]) -> str:
    """State r of the settings that the headline does not name."""
    clauses = [
        f"{correlation(row, scope_text(subject, rows[0], row))} {by_setting(row.setting)}"
        for row in rows[1:]
    ]
    settings = "setting" if len(clauses) == 1 else "settings"
    return f"Correlation in the other {settings}: {'; '.join(clauses)}." if clauses else ""


def scope_text(subject: Analysis, first: Any, row: Any) -> str:
    """Return the models and datasets of a correlation if they differ from those of the first."""

    def names(setting: str) -> tuple[set[str], set[str]]:
        cells = subject.cells
        cells = cells[(cells.setting == setting) & cells[subject.predictor.column].notna()]
        return set(cells["model"]), set(cells["dataset"])

    as_many = (row.n_models, row.n_datasets) == (first.n_models, first.n_datasets)
    if as_many and names(first.setting) == names(row.setting):
        return ""
    over = f"over {count(int(row.n_models), 'model')} and {count(int(row.n_datasets), 'dataset')}"
    return over + (", not all of them the same" if as_many else "")


def family_sentence(rows: list[Any]) -> str:
    """State the interval of r over families, for every setting that has related models."""
    clauses = []
    # As many families as models: both intervals are the same.
    rows = [row for row in rows if row.n_families < row.n_models]
    counts = {int(row.n_families) for row in rows}
    for row in rows:
        between = coefficient_interval(row.low_family, row.high_family)
        if between:
            of = "" if len(counts) == 1 else f" ({int(row.n_families)} families)"
            tail = uncertain(row.low_family, row.high_family)
            clauses.append(f"{between} for {setting_phrase(row.setting)}{of}{tail}")
    if not clauses:
        return ""
    families = f"{counts.pop()} families" if len(counts) == 1 else "families"
    are = "interval of r is" if len(clauses) == 1 else "intervals of r are"
    joint = "; ".join(clauses) if any("," in one for one in clauses) else joined(clauses)
    return (
        f"Models of one family are related: with {families} rather than single models as "
        f"independent observations, the 95 % {are} {joint}."
    )


def slope_sentence(subject: Analysis) -> str:
    """State the slope of the mixed model in the first setting where it converged."""
    table = subject.mixed
    table = table[table.slope.notna() & (table.converged == True)]  # noqa: E712
    if not len(table):
        return ""
    first = in_order(table.setting)[0]
    row = next(table[table.setting == first].itertuples(index=False))
    between = interval(row.low, row.high, 3)
    spread = f" (95 % interval {between}{uncertain(row.low, row.high)})" if between else ""
    over = (
        "and datasets (random intercepts for both, random slopes per dataset)"
        if row.random_slopes
        else "on these datasets (random intercepts for both)"
    )
    return (
        f"A 1-unit increase in {subject.predictor.scale.label(subject.predictor.label)} is "
        f"associated with a change of {number(row.slope, 3, plus=True)} in the log odds of "
        f"transfer {by_setting(first)}{spread}; the interval generalises to other models {over}."
    )


def no_correlation_sentence(subject: Analysis) -> str:
    """State why no setting has a correlation: as the analysis noted, if it did; else empty."""
    if pearson_rows(subject):
        return ""
    cells, label = subject.cells, subject.predictor.label
    n = cells[cells[subject.predictor.column].notna()].model.nunique()
    missing = subject.missing
    noted = missing[missing.what.astype(str).str.startswith("correlations")].why
    if not n:
        why = f"the table has no {label}"
    elif n < FEWEST_MODELS:
        why = f"{count(n, 'model')} with known {label}, at least {FEWEST_MODELS} are needed"
    elif len(noted):
        why = "; ".join(dict.fromkeys(map(str, noted)))
    elif len(over_all(subject)):
        why = "all models have the same mean"
    else:
        why = "means over datasets could not be computed"
    return f"No correlation with {label}: {why}."


# How the analysis notes which level of a sweep its other tables use.
NOTE = "other levels of "
LEVELS = {
    "configuration": "last training configuration",
    "steps": "usual number of steps",
    "examples_per_class": "largest number of examples per class",
}


def level_used(subject: Analysis) -> str:
    """Return which level of a sweep the tables with one number per cell use; empty if none."""
    noted = [str(what).removeprefix(NOTE) for what in subject.missing.what if NOTE in str(what)]
    factors = [factor for factor in LEVELS if any(note.startswith(factor) for note in noted)]
    if not factors:
        return ""
    return f"each model at its {joined([LEVELS[factor] for factor in factors])}"


def study_sentences(subject: Analysis) -> list[str]:
    """Return one sentence per sweep in the table."""
    sentences = [
        ends_sentence(subject.convergence, "steps", "step"),
        *speed_sentences(subject),
        ends_sentence(subject.dataset_size, "examples_per_class", "example"),
        *ablation_sentences(subject.ablation),
        effects_sentence(subject),
    ]
    return [sentence for sentence in sentences if sentence]


def ends_sentence(table: Any, level: str, noun: str) -> str:
    """State the means at the first and the last level, over what was measured at both."""
    if not len(table):
        return ""
    low, high = table[level].min(), table[level].max()
    unit = [name for name in ("model", "dataset") if name in table]
    clauses = []
    for setting in in_order(table.setting):
        own = table[(table.setting == setting) & table[level].isin([low, high])]
        ends = own.pivot_table("mean", unit, level).reindex(columns=[low, high]).dropna()
        if len(ends):
            first, last = (number(ends[end].mean(), 3) for end in (low, high))
            clauses.append(f"from {first} to {last} {by_setting(setting)}")
    if not clauses:
        return ""
    each = " per class" if level == "examples_per_class" else ""
    many = table.model.nunique() > 1 or ("dataset" in table and table.dataset.nunique() > 1)
    mean = "the mean log odds of what was measured at both" if many else "the log odds"
    return f"From {low:,g} to {high:,g} {noun}s{each}, {mean} change {joined(clauses)}."


def speed_sentences(subject: Analysis) -> list[str]:
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
        between = interval(row.low, row.high, 1)
        aside = [f"95 % interval {between}, for other {row.sampled}"] if between else []
        for slower, faster, unit in (
            (row.other_steps, row.steps, "steps"), (row.other_epochs, row.epochs, "epochs"),
        ):  # fmt: skip
            if known(slower) and known(faster):
                digits = 0 if unit == "steps" else 1
                aside.append(f"{slower:,.{digits}f} against {faster:,.{digits}f} {unit}")
        times += f" ({'; '.join(aside)})" if aside else ""
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
            sentences.append(f"{capitalized(times)}.")
    return sentences


def ablation_sentences(table: Any) -> list[str]:
    """State the best and the worst training configuration per setting, and over which models.

    Configurations called "S1: what it is" are named S1, and what they are is the second sentence.
    """
    found, named = list[str](), dict[str, None]()
    of = f"Of {count(table.configuration.nunique(), 'training configuration')}, "
    for setting in in_order(table.setting):
        means = table[table.setting == setting].pivot_table("mean", "model", "configuration")
        measured, means = len(means), means.dropna()
        n, means = len(means), means.mean()
        if len(means) > 1 and n:
            best, worst = str(means.idxmax()), str(means.idxmin())
            named |= dict.fromkeys((best, worst))
            over = f"the {n} of {measured} models" if n < measured else f"the {count(n, 'model')}"
            clause = (
                f"{short_configuration(best)} transfers best and {short_configuration(worst)} "
                f"worst {by_setting(setting)} (mean log odds {number(means[best], 3)} and "
                f"{number(means[worst], 3)}, over {over} that {'have' if n > 1 else 'has'} every "
                "configuration)."
            )
            found.append(clause if found else of + clause)
    key = [name for name in sorted(named) if short_configuration(name) != name]
    return [*found[:1], *([f"{'; '.join(key)}."] if key else []), *found[1:]]


def effects_sentence(subject: Analysis) -> str:
    """Count the changes of the training with higher, lower and uncertain log odds."""
    table = subject.effects[subject.effects.low.notna()]
    clauses = []
    for setting in in_order(table.setting):
        own = table[table.setting == setting]
        up, down = int((own.low > 0).sum()), int((own.high < 0).sum())
        counts = {"higher": up, "lower": down, "uncertain": len(own) - up - down}
        signs = joined([f"{what} in {n}" for what, n in counts.items() if n])
        where = subject.predictor.label if setting == UPSTREAM else by_setting(setting)
        clauses.append(f"{where} {signs} of {len(own)}")
    if not clauses:
        return ""
    return (
        "Each training configuration compared with the previous one (log odds, 95 % intervals): "
        f"{'; '.join(clauses)}."
    )
