"""How upstream accuracy goes with transfer, in sentences."""

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
    """Give the rows of r over all datasets that mean something, a setting each, in order."""
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
    """Write what r is.

    Examples
    --------
    >>> r_of(0.986), r_of(0.99981)
    ('r = 0.986', 'r > 0.999')
    """
    text = coefficient(estimate)
    return f"r {text}" if text[0] in "<>" else f"r = {text}"


def correlation(row: Any, more: str = "") -> str:
    """Write r with its interval, or with why it has none."""
    text = r_of(row.estimate)
    between = coefficient_interval(row.low, row.high)
    if not between:
        over = f" ({more})" if more else ""
        return f"{text}{over}, {no_interval(row)}"
    text += f" ({'; '.join(filter(None, [f'95 % interval {between}', more]))})"
    if row.low <= 0 <= row.high:
        text += ", an interval that includes 0: the direction is uncertain"
    return text


def no_interval(row: Any) -> str:
    """Say why r has no interval."""
    if row.n_models < FEWEST_FOR_INTERVAL:
        return f"no interval: at least {FEWEST_FOR_INTERVAL} models are needed"
    return "no interval: the relation is exact or does not vary without one of the models"


def other_settings(subject: Subject, rows: list[Any]) -> str:
    """Say r of the settings that the headline does not name."""
    said = [
        f"{by_setting(row.setting)} {correlation(row, scope_said(subject, rows[0], row))}"
        for row in rows[1:]
    ]
    same = all(not scope_said(subject, rows[0], row) for row in rows[1:])
    return f"The {'same ' if same else ''}correlation is, {'; '.join(said)}." if said else ""


def scope_said(subject: Subject, first: Any, row: Any) -> str:
    """Say over what a correlation is, where that is not what the first is over."""
    counts = count(int(row.n_models), "model"), count(int(row.n_datasets), "dataset")
    scopes = scope_of(subject, first.setting), scope_of(subject, row.setting)
    as_many = (row.n_models, row.n_datasets) == (first.n_models, first.n_datasets)
    if as_many and scopes[0] == scopes[1]:
        return ""
    return f"over {' and '.join(counts)}" + (", not all the same ones" if as_many else "")


def scope_of(subject: Subject, setting: str) -> tuple[set[str], set[str]]:
    """Give the models and datasets that the correlation over all datasets is over."""
    cells = subject.cells
    if not len(cells):
        return set(), set()
    cells = cells[(cells.setting == setting) & cells.upstream_accuracy.notna()]
    return set(map(str, cells["model"])), set(map(str, cells["dataset"]))


def family_sentence(rows: list[Any]) -> str:
    """Give the interval of r over families, in every setting that has related models."""
    said = []
    # As many families as models: both intervals are the same.
    rows = [row for row in rows if row.n_families < row.n_models]
    counts = {int(row.n_families) for row in rows}
    for row in rows:
        between = coefficient_interval(row.low_family, row.high_family)
        if between:
            of = "" if len(counts) == 1 else f" ({int(row.n_families)} families)"
            open_sign = row.low_family <= 0 <= row.high_family
            tail = ", which includes 0: the direction is uncertain" if open_sign else ""
            said.append(f"{between} for {setting_phrase(row.setting)}{of}{tail}")
    if not said:
        return ""
    families = f"{counts.pop()} families" if len(counts) == 1 else "families"
    are = "interval of r is" if len(said) == 1 else "intervals of r are"
    joint = "; ".join(said) if any("," in one for one in said) else joined(said)
    return (
        f"Models of a family are alike: with {families} instead of single models as independent "
        f"observations, the 95 % {are} {joint}."
    )


def slope_sentence(subject: Subject) -> str:
    """Say the slope of the mixed model in the first setting where it was found."""
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
        "the interval is for other models and other datasets (random intercepts of both, random "
        "slopes by dataset)"
        if row.random_slopes
        else "the interval is for other models on these datasets (random intercepts of both)"
    )
    return (
        f"A 1-unit increase in the log odds of {subject.upstream_name} is associated with a change "
        f"of {number(row.slope, 3, plus=True)} in the log odds of transfer "
        f"{by_setting(first)}{spread}{open_sign}; {effects}."
    )


def no_correlation_reason(subject: Subject) -> str:
    """Say why no setting has a correlation: what the analysis noted, before any guess."""
    cells = subject.cells
    if not len(cells) or not cells.upstream_accuracy.notna().any():
        return "the table gives no upstream accuracies"
    models = cells[cells.upstream_accuracy.notna()].model.nunique()
    if models < FEWEST_MODELS:
        return f"{count(models, 'model')} with an upstream accuracy cannot show one"
    missing = subject.missing
    noted = missing[missing.what.astype(str).str.startswith("correlations")].why
    if len(noted):
        return "; ".join(dict.fromkeys(str(why) for why in noted))
    if len(over_all(subject)):
        return "the means of the models do not differ"
    return "the table has no complete part to average over"
