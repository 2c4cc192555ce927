"""The tables of tests: best models, pairs, mixed model, ranks, coverage of predictions."""

from typing import Any

from headstart.analysis import prediction_summary
from headstart.report.formatting import coefficient, coefficient_interval, known, listed, number
from headstart.report.result_tables import in_order
from headstart.report.subject import Names, Subject
from headstart.report.table_model import (
    Cell,
    Column,
    Row,
    Table,
    about,
    between,
    figure,
    share,
    significance,
    sortable,
    tested,
)
from headstart.spec.labels import setting_label

__all__ = ["MOST_PAIRS", "correction_sentence", "pairs_table", "significance_tables"]

TEXT: dict[str, Any] = {"numeric": False}
# More rows of pairs make a page slow and large; the rest stays in the analysis.
MOST_PAIRS = 2000
TESTS = {
    "mcnemar": "exact McNemar",
    "permutation": "permutation",
    "paired_t": "moderated paired t",
    "wilcoxon": "Wilcoxon signed-rank",
}


def significance_tables(subject: Subject, names: Names) -> list[Table]:
    """Return the tables of tests, except the pairs, that have rows."""
    tables = [
        best_table(subject, names),
        mixed_table(subject, names),
        ranks_table(subject, names),
        prediction_table(subject, names),
    ]
    return [table for table in tables if table.rows]


def correction_sentence(subject: Subject) -> str:
    """State whether intervals and p-values are corrected for multiple comparisons."""
    tables = [one for one in (subject.model_means, subject.pairwise) if len(one)]
    used = {name for table in tables for name in table.correction.dropna()}
    if (used or {subject.options.get("correction")}) == {"simultaneous"}:
        return (
            "Intervals of differences and adjusted p-values are corrected for multiple comparisons "
            "(Bonferroni): all intervals of one family hold simultaneously."
        )
    return "No correction for multiple comparisons is applied."


def best_table(subject: Subject, names: Names) -> Table:
    """Return the best models per setting and dataset, and those that do not differ from them."""
    columns = [Column(label, **TEXT) for label in ("Setting", "Dataset", "Best")]
    columns += [Column("Not significantly different from the best", **TEXT)]
    rows = []
    for setting in names.settings:
        for dataset in (None, *names.datasets):
            table = subject.model_means if dataset is None else subject.cells
            table = table[table.setting == setting] if len(table) else table
            if dataset is not None and len(table):
                table = table[table.dataset == dataset]
            if len(table) and table["best"].any():
                keys = about(names, setting=setting, dataset=dataset)
                rows.append(Row(best_row(setting, dataset, table), keys))
    return Table("best", "Best models", columns, rows)


def best_row(setting: str, dataset: str | None, table: Any) -> list[Cell]:
    best = [str(name) for name in table[table["best"].astype(bool)].model]
    rest = table[~table["best"].astype(bool)]
    pairs = list(zip(rest.model, rest.not_different, strict=True))
    same = [str(name) for name, verdict in pairs if known(verdict) and bool(verdict)]
    verdicts, _ = tested(table)
    text = listed(same, 100) if same else "none" if verdicts else "not tested"
    over = dataset if dataset is not None else "mean over datasets"
    return [Cell(setting_label(setting)), Cell(over), Cell(listed(best, 100)), Cell(text)]


def pairs_table(subject: Subject, names: Names) -> tuple[Table, int]:
    """Return pairs of models, those with the best model first.

    Returns
    -------
    table
        At most MOST_PAIRS rows; ``data-best`` is 1 in rows with the best model.
    left_out
        Number of rows of the analysis beyond these.
    """
    columns = [Column(label, **TEXT) for label in ("Setting", "Dataset", "Model", "Other", "Test")]
    columns += [
        Column(label) for label in ("Difference", "95 % interval", "p", "p (adjusted)", "n")
    ]
    best = best_models(subject)
    rows = in_order(subject.pairwise, names)

    def versus_best(row: Any) -> bool:
        leaders = best.get((row.setting, row.dataset), set())
        return row.model in leaders or row.other in leaders

    place = {name: i for i, name in enumerate(names.settings)}
    # The closest calls first: the largest p-value.
    rows.sort(key=lambda row: -row.p_value if known(row.p_value) else 0)
    rows.sort(key=lambda r: (not versus_best(r), place.get(r.setting, 99), r.dataset != "all"))
    table_rows = [pair_row(row, names, versus_best(row)) for row in rows[:MOST_PAIRS]]
    note = (
        "Difference: the model minus the other model, in percentage points (pp) on one dataset, in "
        "mean log odds over all datasets."
    )
    table = Table("pairs", "Pairwise comparison of models", columns, table_rows, note=note)
    return table, max(0, len(rows) - MOST_PAIRS)


def best_models(subject: Subject) -> dict[tuple[str, str], set[str]]:
    """Return the best models per setting and dataset, and of the means (``"all"``)."""
    best: dict[tuple[str, str], set[str]] = {}
    cells, means = subject.cells, subject.model_means
    for row in cells[cells["best"].astype(bool)].itertuples(index=False) if len(cells) else ():
        best.setdefault((row.setting, row.dataset), set()).add(row.model)
    for row in means[means["best"].astype(bool)].itertuples(index=False) if len(means) else ():
        best.setdefault((row.setting, "all"), set()).add(row.model)
    return best


def pair_row(row: Any, names: Names, versus_best: bool) -> Row:
    keys = about(names, setting=row.setting, dataset=row.dataset, model=row.model, other=row.other)
    over_all = row.dataset == "all"
    scale = 1 if over_all else 100
    difference = scale * row.difference if known(row.difference) else None
    unit = "" if over_all or difference is None else " pp"
    return Row(
        [
            Cell(setting_label(row.setting)),
            Cell("all" if over_all else str(row.dataset)),
            Cell(str(row.model)),
            Cell(str(row.other)),
            Cell(TESTS.get(row.test, str(row.test))),
            Cell(
                number(difference, 2, plus=True) + (unit if known(difference) else ""), difference
            ),
            between(row.low, row.high, 2, scale),
            significance(row.p_value),
            significance(row.p_adjusted),
            figure(row.n, 0),
        ],
        {**keys, "data-best": int(versus_best)},
    )


def mixed_table(subject: Subject, names: Names) -> Table:
    """Return the slope of the mixed model beside r."""
    labels = ("Mean slope", "95 % interval", "Standard error", "r")
    columns = [Column("Setting", **TEXT), *(Column(label) for label in labels)]
    spreads = ("SD slopes", "SD datasets", "SD models", "SD residual")
    more = ("r, 95 % interval", *spreads, "F (equal slopes)", "p")
    columns += [*(Column(label) for label in more), Column("Fit", **TEXT)]
    table = subject.correlations
    if len(table):
        table = table[(table.group == "all") & (table.statistic == "pearson_logit")]
    r_of = {row.setting: row for row in table.itertuples(index=False)} if len(table) else {}
    rows = []
    for row in in_order(subject.mixed, names):
        r = r_of.get(row.setting)
        cells = [Cell(setting_label(row.setting)), figure(row.slope, 3, plus=True)]
        estimate = r.estimate if r else None
        cells += [between(row.low, row.high, 3), figure(row.se, 3)]
        cells += [Cell(coefficient(estimate), sortable(estimate))]
        cells += [Cell((coefficient_interval(r.low, r.high) if r else "") or number(None))]
        cells += [figure(row.sd_slope), figure(row.sd_dataset), figure(row.sd_model)]
        cells += [figure(row.sd_residual), figure(row.f, 1), significance(row.f_p)]
        cells += [Cell("converged" if row.converged else "did not converge")]
        rows.append(Row(cells, about(names, setting=row.setting)))
    note = (
        "Linear mixed model of the log odds of all cells on the log odds of upstream accuracy, "
        "with random intercepts per model and dataset and a random slope per dataset: the interval "
        "generalises to other models and datasets. For comparison: r of the means."
    )
    if any(not row.converged for row in subject.mixed.itertuples(index=False)):
        note += " Estimates of a fit that did not converge are unreliable."
    return Table("mixed", "Mixed model", columns, rows, note=note)


def ranks_table(subject: Subject, names: Names) -> Table:
    """Return the ranks with their simultaneous intervals."""
    columns = [Column("Setting", **TEXT), Column("Model", **TEXT), Column("Rank")]
    columns += [Column("95 % simultaneous confidence interval of the rank")]
    columns += [Column("Mean log odds"), Column("Mean accuracy %")]
    rows = [
        Row(
            [
                Cell(setting_label(row.setting)),
                Cell(str(row.model)),
                figure(row.rank, 0),
                between(row.low, row.high, 0),
                figure(row.mean, 3),
                share(row.accuracy),
            ],
            about(names, setting=row.setting, model=row.model),
        )
        for row in in_order(subject.ranks, names, "mean")
    ]
    return Table("ranks", "Ranks", columns, rows)


def prediction_table(subject: Subject, names: Names) -> Table:
    """Return how often prediction intervals cover models that were left out of the fit."""
    columns = [Column("Setting", **TEXT), Column("Dataset", **TEXT), Column("Fit", **TEXT)]
    columns += [Column(label) for label in ("Slope", "Residual SD", "p of curvature")]
    parts = ("model left out", "low third", "middle third", "high third", "family left out")
    columns += [Column(f"Coverage %, {part}") for part in (*parts, "top third extrapolated")]
    kinds = ("low", "middle", "high", "family", "top")
    rows = [
        Row(
            [
                Cell(setting_label(row.setting)),
                Cell(str(row.dataset)),
                Cell(str(row.fit)),
                figure(row.slope, 2, plus=True),
                figure(row.residual_sd),
                significance(row.curvature_p),
                held(row.covered, row.cells),
                *(held(getattr(row, f"covered_{k}"), getattr(row, f"n_{k}")) for k in kinds),
            ],
            about(names, setting=row.setting, dataset=row.dataset),
        )
        for row in in_order(subject.prediction, names)
    ]
    note = (
        "Coverage: share of accuracies within the 95 % prediction interval when the model is left "
        "out (of all models, and by thirds of upstream accuracy), when its whole family is left "
        "out, and for the top third predicted from the rest. "
    ) + " ".join(prediction_summary(subject.prediction)[1:])
    return Table("prediction", "Leave-one-model-out prediction", columns, rows, note=note.strip())


def held(covered: Any, n: Any) -> Cell:
    """Return the share of models left out that were within their interval, unknown if none."""
    return share(covered / n if n else None, 0)
