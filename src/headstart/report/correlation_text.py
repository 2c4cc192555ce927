"""Sentences on the correlation of upstream accuracy with transfer accuracy."""

from typing import Any

from headstart.analysis import FEWEST_FOR_INTERVAL, FEWEST_MODELS
from headstart.report.formatting import (
    by_setting,
    coefficient,
    coefficient_interval,
    count,
    interval,
    joined,
    number,
    setting_phrase,
)
from headstart.report.subject import Subject
from headstart.spec.labels import in_order

__all__ = [
    "correlation",
    "family_sentence",
    "no_correlation_reason",
    "other_settings",
    "pearson_rows",
    "r_of",
    "slope_sentence",
]


def pearson_rows(subject: Subject) -> list[Any]:
    """Return the defined correlations over all datasets, one row per setting, in order."""
    table = over_all(subject)
    if not len(table):
        return []
    table = table[table.estimate.notna() & (table.n_models >= FEWEST_MODELS)]
    by_setting = {row.setting: row for row in table.itertuples(index=False)}
    return [by_setting[setting] for setting in in_order(by_setting)]


def over_all(subject: Subject) -> Any:
    table = subject.correlations
    if not len(table):
        return table
    return table[(table.group == "all") & (table.statistic == "pearson_logit")]


def r_of(estimate: float) -> str:
    """Return r with its sign of equality or inequality.

    Examples
    --------
    >>> r_of(0.986), r_of(0.99981)
    ('r = 0.986', 'r > 0.999')
    """
    text = coefficient(estimate)
    return f"r {text}" if text[0] in "<>" else f"r = {text}"


def correlation(row: Any, more: str = "") -> str:
    """Return r with its interval, or with the reason why it has none."""
    text = r_of(row.estimate)
    between = coefficient_interval(row.low, row.high)
    if not between:
        over = f" ({more})" if more else ""
        return f"{text}{over}, {no_interval(row)}"
    between = f"95 % interval {between}"
    if row.low <= 0 <= row.high:
        between += ", which includes 0: the direction is uncertain"
    return f"{text} ({'; '.join(filter(None, [between, more]))})"


def no_interval(row: Any) -> str:
    """Return why r has no interval."""
    if row.n_models < FEWEST_FOR_INTERVAL:
        return f"no interval: at least {FEWEST_FOR_INTERVAL} models are needed"
    return "no interval: the correlation is exact, or undefined without one of the models"


def other_settings(subject: Subject, rows: list[Any]) -> str:
    """State r of the settings that the headline does not name."""
    clauses = [
        f"{correlation(row, scope_text(subject, rows[0], row))} {by_setting(row.setting)}"
        for row in rows[1:]
    ]
    ending = "" if len(clauses) == 1 else "s"
    return f"Correlation in the other setting{ending}: {'; '.join(clauses)}." if clauses else ""


def scope_text(subject: Subject, first: Any, row: Any) -> str:
    """Return the models and datasets of a correlation if they differ from those of the first."""
    counts = count(int(row.n_models), "model"), count(int(row.n_datasets), "dataset")
    scopes = scope_of(subject, first.setting), scope_of(subject, row.setting)
    as_many = (row.n_models, row.n_datasets) == (first.n_models, first.n_datasets)
    if as_many and scopes[0] == scopes[1]:
        return ""
    return f"over {' and '.join(counts)}" + (", not all of them the same" if as_many else "")


def scope_of(subject: Subject, setting: str) -> tuple[set[str], set[str]]:
    """Return the models and datasets of the correlation over all datasets."""
    cells = subject.cells
    if not len(cells):
        return set(), set()
    cells = cells[(cells.setting == setting) & cells.upstream_accuracy.notna()]
    return set(map(str, cells["model"])), set(map(str, cells["dataset"]))


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
            open_sign = row.low_family <= 0 <= row.high_family
            tail = ", which includes 0: the direction is uncertain" if open_sign else ""
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


def slope_sentence(subject: Subject) -> str:
    """State the slope of the mixed model in the first setting where it converged."""
    table = subject.mixed
    table = table[table.slope.notna() & (table.converged == True)] if len(table) else table  # noqa: E712
    if not len(table):
        return ""
    first = in_order(table.setting)[0]
    row = next(table[table.setting == first].itertuples(index=False))
    between = interval(row.low, row.high, 3)
    spread = f" (95 % interval {between})" if between else ""
    open_sign = ": the direction is uncertain" if between and row.low <= 0 <= row.high else ""
    effects = (
        "the interval generalises to other models and datasets (random intercepts for both, random "
        "slopes per dataset)"
        if row.random_slopes
        else "the interval generalises to other models on these datasets (random intercepts for "
        "both)"
    )
    return (
        f"A 1-unit increase in the log odds of {subject.upstream_name} is associated with a change "
        f"of {number(row.slope, 3, plus=True)} in the log odds of transfer "
        f"{by_setting(first)}{spread}{open_sign}; {effects}."
    )


def no_correlation_reason(subject: Subject) -> str:
    """Return why no setting has a correlation: the reason that the analysis noted, if any."""
    cells = subject.cells
    if not len(cells) or not cells.upstream_accuracy.notna().any():
        return "the table has no upstream accuracies"
    models = cells[cells.upstream_accuracy.notna()].model.nunique()
    if models < FEWEST_MODELS:
        found = count(models, "model")
        return f"{found} with an upstream accuracy, at least {FEWEST_MODELS} are needed"
    missing = subject.missing
    noted = missing[missing.what.astype(str).str.startswith("correlations")].why
    if len(noted):
        return "; ".join(dict.fromkeys(str(why) for why in noted))
    if len(over_all(subject)):
        return "all models have the same mean"
    return "means over datasets could not be computed"
