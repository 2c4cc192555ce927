"""The tables of results and tests: accuracies, means, correlations, settings, pairs, ranks."""

from dataclasses import replace
from typing import Any

from headstart.analysis import UPSTREAM, prediction_summary
from headstart.predictors import Predictor
from headstart.report.page_model import (
    Column,
    Names,
    PageCell,
    PageTable,
    Row,
    Subject,
    filter_keys,
    interval_cell,
    marker_legend,
    marker_of,
    number_cell,
    p_value_cell,
    percent_cell,
    sortable,
    tested,
)
from headstart.spec.display_names import setting_label
from headstart.spec.formatting import (
    coefficient,
    coefficient_interval,
    count,
    interval,
    joined,
    known,
    listed,
    number,
    percent,
)

__all__ = [
    "MOST_PAIRS",
    "correction_sentence",
    "effects_table",
    "pairs_table",
    "result_tables",
    "significance_tables",
    "study_tables",
]

TEXT: dict[str, Any] = {"numeric": False}
STATISTICS = {
    "pearson_logit": "Pearson r, log odds",
    "pearson_plain": "Pearson r, accuracy",
    "spearman": "Spearman ρ",  # noqa: RUF001
    "kendall": "Kendall τ",
}


def result_tables(subject: Subject, names: Names) -> list[PageTable]:
    """Return the tables of results that have rows."""
    tables = [accuracy_table(subject, names, setting) for setting in names.settings]
    tables += [
        means_table(subject, names),
        correlation_table(subject, names),
        settings_table(subject, names),
    ]
    return [table for table in tables if table.rows]


def accuracy_table(subject: Subject, names: Names, setting: str) -> PageTable:
    """Return models by datasets in percent, with the mean accuracy and the mean log odds."""
    cells, means = subject.cells, subject.model_means
    cells = cells[cells.setting == setting] if len(cells) else cells
    found = {(row.model, row.dataset): row for row in cells.itertuples(index=False)}
    means = means[means.setting == setting] if len(means) else means
    mean_of = {row.model: row for row in means.itertuples(index=False)}
    datasets = [name for name in names.datasets if any(key[1] == name for key in found)]
    models = [name for name in names.models if any(key[0] == name for key in found)]
    columns = [Column("Model", **TEXT)]
    columns += [Column("Mean %"), Column("Mean log odds")] if mean_of else []
    columns += [Column(name, keys=filter_keys(names, dataset=name)) for name in datasets]
    rows = []
    for model in models:
        row = [PageCell(model)]
        row += [percent_cell(getattr(mean_of.get(model), "accuracy", None))] if mean_of else []
        row += [mean_cell(mean_of.get(model))] if mean_of else []
        row += [accuracy_cell(found.get((model, name)), names, name) for name in datasets]
        rows.append(Row(row, filter_keys(names, model=model)))
    return PageTable(
        f"accuracy-{names.settings.index(setting)}",
        f"{setting_label(setting)}: accuracy in percent",
        columns,
        rows,
        filter_keys(names, setting=setting),
        marker_legend=marker_legend(subject, cells, means),
    )


def accuracy_cell(row: Any, names: Names, dataset: str) -> PageCell:
    keys = filter_keys(names, dataset=dataset)
    if row is None or not known(row.accuracy):
        return PageCell(percent(None), keys=keys)
    return PageCell(
        percent(row.accuracy),
        float(row.accuracy),
        marker_of(row),
        "; ".join(filter(None, [interval(row.low, row.high, 1, 100), seeds_note(row)])),
        keys,
    )


def seeds_note(row: Any) -> str:
    """Return the number of seeds of a cell and their spread, if it has several."""
    if not (known(row.n_seeds) and row.n_seeds > 1):
        return ""
    return f"{int(row.n_seeds)} seeds, SD {number(row.seed_sd)}"


def mean_cell(row: Any) -> PageCell:
    if row is None:
        return number_cell(None)
    spread = f"± {number(row.se)}" if known(row.se) else ""
    return PageCell(number(row.mean), float(row.mean), marker_of(row), spread)


def predictor_cell(value: Any, predictor: Predictor) -> PageCell:
    """Return a value of the predictor in its unit."""
    if predictor.scale.name == "proportion":
        return percent_cell(value)
    return PageCell(predictor.scale.text(value), sortable(value))


def means_table(subject: Subject, names: Names) -> PageTable:
    """Return the mean log odds of every model and setting, with intervals."""
    means = subject.model_means
    by_predictor = means.rename(columns={subject.predictor.column: "predictor"})
    columns = [Column("Setting", **TEXT), Column("Model", **TEXT), Column("Family", **TEXT)]
    labels = ("Mean %", "Mean log odds", "Standard error", "95 % interval")
    columns += [Column(label) for label in (subject.predictor.heading, *labels)]
    more = ("Difference from best", "95 % interval", "Odds ratio to best", "95 % interval")
    columns += [*(Column(label) for label in more), Column("Datasets")]
    rows = [
        Row(
            [
                PageCell(setting_label(row.setting)),
                PageCell(str(row.model)),
                PageCell(str(row.family) if known(row.family) else number(None)),
                predictor_cell(row.predictor, subject.predictor),
                percent_cell(row.accuracy),
                PageCell(number(row.mean, 3), float(row.mean), marker_of(row)),
                number_cell(row.se, 3),
                interval_cell(row.low, row.high, 3),
                number_cell(None if row.best else row.difference, 3, plus=True),
                interval_cell(row.difference_low, row.difference_high, 3),
                number_cell(None if row.best else row.odds_ratio),
                interval_cell(row.odds_ratio_low, row.odds_ratio_high),
                PageCell(datasets_text(row), float(row.n_datasets)),
            ],
            filter_keys(names, setting=row.setting, model=row.model),
        )
        for row in in_order(by_predictor, names, "mean")
    ]
    legend = marker_legend(subject, means.iloc[:0], means)
    if len(means) and (means.n_datasets < means.of_datasets).any():
        legend += " Means are adjusted for missing cells by an additive model."
    return PageTable("means", "Mean log odds over datasets", columns, rows, marker_legend=legend)


def datasets_text(row: Any) -> str:
    """Return on how many datasets a model was measured, and of how many if some are missing."""
    few = row.n_datasets < row.of_datasets
    return f"{row.n_datasets} of {row.of_datasets}" if few else f"{row.n_datasets}"


def in_order(table: Any, names: Names, by: str = "") -> list[Any]:
    """Return a table's rows by setting in the order of the page, the highest `by` first."""
    if not len(table):
        return []
    place = {name: i for i, name in enumerate(names.settings)}
    rows = list(table.itertuples(index=False))
    if by:
        rows.sort(key=lambda row: -getattr(row, by) if known(getattr(row, by)) else 0)
    return sorted(rows, key=lambda row: place.get(row.setting, len(place)))


def correlation_table(subject: Subject, names: Names) -> PageTable:
    """Return every correlation of the analysis."""
    columns = [
        Column("Setting", **TEXT),
        Column("Dataset group", **TEXT),
        Column("Statistic", **TEXT),
    ]
    labels = ("Estimate", "95 % interval (models)", "95 % interval (families)")
    columns += [Column(label) for label in (*labels, "Models", "Datasets")]
    rows = [
        Row(
            [
                PageCell(setting_label(row.setting)),
                PageCell("all datasets" if row.group == "all" else str(row.group)),
                PageCell(STATISTICS.get(row.statistic, str(row.statistic))),
                PageCell(coefficient(row.estimate), sortable(row.estimate)),
                r_interval_cell(row.low, row.high),
                r_interval_cell(row.low_family, row.high_family),
                number_cell(row.n_models, 0),
                number_cell(row.n_datasets, 0),
            ],
            filter_keys(names, setting=row.setting, dataset=row.group),
        )
        for row in in_order(subject.correlations, names)
    ]
    note = (
        "The 95 % confidence intervals generalise to other models, and to other model families "
        "(Fisher's z with a jackknife standard error); at least five models or families are needed."
    )
    return PageTable(
        "correlations",
        f"Correlation of {subject.predictor.label} and transfer accuracy",
        columns,
        rows,
        note=note,
    )


def r_interval_cell(low: Any, high: Any) -> PageCell:
    return PageCell(coefficient_interval(low, high) or number(None), sortable(low))


def settings_table(subject: Subject, names: Names) -> PageTable:
    """Return every setting compared with every other."""
    columns = [Column("Setting", **TEXT), Column("Compared with", **TEXT)]
    columns += [Column(label) for label in ("Wins", "Ties", "Cells")]
    columns += [Column("Mean difference in log odds"), Column("95 % interval")]
    rows = [
        Row(
            [
                PageCell(setting_label(row.setting)),
                PageCell(setting_label(row.other)),
                number_cell(row.wins, 0),
                number_cell(row.ties, 0),
                number_cell(row.cells, 0),
                number_cell(row.difference, 3, plus=True),
                interval_cell(row.low, row.high, 3),
            ],
            filter_keys(names, setting=row.setting, versus=row.other),
        )
        for row in in_order(subject.settings, names)
    ]
    note = "A win is a cell (one model on one dataset) where the setting has the higher accuracy."
    return PageTable("settings", "Pairwise comparison of settings", columns, rows, note=note)


def effects_table(subject: Subject, names: Names) -> PageTable:
    """Return the difference at each training change: one row per change, one column per setting."""
    table = subject.effects.sort_values("position", kind="stable")
    found = {(r.before, r.after, r.setting): r for r in table.itertuples(index=False)}
    visible = [name for name in (*names.settings, UPSTREAM) if name in set(table.setting)]
    columns = [Column("Change", **TEXT)]
    columns += [
        Column(
            subject.predictor.label if name == UPSTREAM else setting_label(name),
            keys=filter_keys(names, setting=name),
        )
        for name in visible
    ]
    rows = []
    for before, after in dict.fromkeys((change[0], change[1]) for change in found):
        cells = [
            replace(
                effect_cell(found.get((before, after, name))), keys=filter_keys(names, setting=name)
            )
            for name in visible
        ]
        rows.append(Row([PageCell(f"{before} \N{RIGHTWARDS ARROW} {after}"), *cells]))
    caption = "Difference in log odds from the previous training configuration"
    return PageTable("effects", caption, columns, rows, note=effects_note(table) if rows else "")


def effect_cell(row: Any) -> PageCell:
    if row is None:
        return number_cell(None)
    between = interval(row.low, row.high, 3)
    text = number(row.effect, 3, plus=True) + (f" ({between})" if between else "")
    return PageCell(text, float(row.effect))


def effects_note(table: Any) -> str:
    """Return what the differences average over, and to what their intervals generalise."""
    ends = []
    for column, noun in (("n_models", "model"), ("n_datasets", "dataset")):
        sizes = {int(n) for n in table[column] if n}
        fewest = f"{min(sizes)} to " if len(sizes) > 1 else ""
        ends += [fewest + count(max(sizes), noun)] if sizes else []
    return (
        f"Means over {joined(ends)} of differences paired by model and dataset, with 95 % "
        "intervals that generalise to other models and datasets. A single model or dataset is "
        "treated as fixed."
    )


def study_tables(subject: Subject, names: Names) -> dict[str, PageTable]:
    """Return the tables below the figures of the sweeps."""
    tables = {
        "ablation": ("ablation-table", subject.ablation, "configuration", "Training"),
        "convergence": ("convergence-table", subject.convergence, "steps", "Steps"),
        "dataset-size": (
            "size-table",
            subject.dataset_size,
            "examples_per_class",
            "Examples per class",
        ),
    }
    given = {name: study_table(subject, names, *table) for name, table in tables.items()}
    given["residuals"] = residual_table(subject, names)
    return {name: table for name, table in given.items() if table.rows}


def residual_table(subject: Subject, names: Names) -> PageTable:
    """Return models and settings by datasets: residuals from the line of each dataset."""
    cells = subject.cells
    cells = cells[cells.residual.notna()] if len(cells) else cells
    found = {
        (row.setting, row.model, row.dataset): row.residual for row in cells.itertuples(index=False)
    }
    datasets = [name for name in names.datasets if name in set(cells.dataset)]
    columns = [Column("Setting", **TEXT), Column("Model", **TEXT)]
    columns += [Column(name, keys=filter_keys(names, dataset=name)) for name in datasets]
    rows = []
    for setting in names.settings:
        for model in names.models:
            values = [found.get((setting, model, name)) for name in datasets]
            if any(known(value) for value in values):
                numbers = [
                    replace(number_cell(value, plus=True), keys=filter_keys(names, dataset=name))
                    for value, name in zip(values, datasets, strict=True)
                ]
                first = [PageCell(setting_label(setting)), PageCell(model)]
                rows.append(
                    Row([*first, *numbers], filter_keys(names, setting=setting, model=model))
                )
    return PageTable(
        "residual-table", "Residual from the dataset's least-squares line (log odds)", columns, rows
    )


def study_table(
    subject: Subject, names: Names, key: str, table: Any, column: str, label: str
) -> PageTable:
    predictor = subject.predictor
    has_dataset = "dataset" in table
    columns = [Column("Setting", **TEXT), Column("Model", **TEXT)]
    columns += [Column("Dataset", **TEXT)] if has_dataset else []
    columns += [Column(label, numeric=column != "configuration")]
    columns += [Column("Mean log odds"), Column("Standard error")]
    has_predictor = predictor.column in table
    columns += [Column(predictor.heading)] if has_predictor else []
    table = table.rename(columns={predictor.column: "predictor"})
    rows = []
    for row in in_order(table, names):
        at = getattr(row, column)
        where = {"dataset": row.dataset} if has_dataset else {}
        cells = [PageCell(setting_label(row.setting)), PageCell(str(row.model))]
        cells += [PageCell(str(row.dataset))] if has_dataset else []
        cells += [PageCell(at) if column == "configuration" else number_cell(at, 0)]
        cells += [number_cell(row.mean, 3), number_cell(row.se, 3)]
        cells += [predictor_cell(row.predictor, predictor)] if has_predictor else []
        rows.append(Row(cells, filter_keys(names, setting=row.setting, model=row.model, **where)))
    return PageTable(key, "Data of the figure", columns, rows)


# More rows of pairs make a page slow and large; the rest stays in the analysis.
MOST_PAIRS = 2000
TEST_NAMES = {
    "mcnemar": "exact McNemar",
    "permutation": "permutation",
    "paired_t": "moderated paired t",
    "wilcoxon": "Wilcoxon signed-rank",
}


def significance_tables(subject: Subject, names: Names) -> list[PageTable]:
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


def best_table(subject: Subject, names: Names) -> PageTable:
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
                keys = filter_keys(names, setting=setting, dataset=dataset)
                rows.append(Row(best_row(setting, dataset, table), keys))
    return PageTable("best", "Best models", columns, rows)


def best_row(setting: str, dataset: str | None, table: Any) -> list[PageCell]:
    best = [str(name) for name in table[table["best"].astype(bool)].model]
    rest = table[~table["best"].astype(bool)]
    pairs = list(zip(rest.model, rest.not_different, strict=True))
    same = [str(name) for name, verdict in pairs if known(verdict) and bool(verdict)]
    verdicts, _ = tested(table)
    text = listed(same, 100) if same else "none" if verdicts else "not tested"
    over = dataset if dataset is not None else "mean over datasets"
    return [
        PageCell(setting_label(setting)),
        PageCell(over),
        PageCell(listed(best, 100)),
        PageCell(text),
    ]


def pairs_table(subject: Subject, names: Names) -> tuple[PageTable, int]:
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
    table = PageTable("pairs", "Pairwise comparison of models", columns, table_rows, note=note)
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
    keys = filter_keys(
        names, setting=row.setting, dataset=row.dataset, model=row.model, other=row.other
    )
    over_all = row.dataset == "all"
    scale = 1 if over_all else 100
    difference = scale * row.difference if known(row.difference) else None
    unit = "" if over_all or difference is None else " pp"
    return Row(
        [
            PageCell(setting_label(row.setting)),
            PageCell("all" if over_all else str(row.dataset)),
            PageCell(str(row.model)),
            PageCell(str(row.other)),
            PageCell(TEST_NAMES.get(row.test, str(row.test))),
            PageCell(
                number(difference, 2, plus=True) + (unit if known(difference) else ""), difference
            ),
            interval_cell(row.low, row.high, 2, scale),
            p_value_cell(row.p_value),
            p_value_cell(row.p_adjusted),
            number_cell(row.n, 0),
        ],
        {**keys, "data-best": int(versus_best)},
    )


def mixed_table(subject: Subject, names: Names) -> PageTable:
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
        cells = [PageCell(setting_label(row.setting)), number_cell(row.slope, 3, plus=True)]
        estimate = r.estimate if r else None
        cells += [interval_cell(row.low, row.high, 3), number_cell(row.se, 3)]
        cells += [PageCell(coefficient(estimate), sortable(estimate))]
        cells += [PageCell((coefficient_interval(r.low, r.high) if r else "") or number(None))]
        cells += [number_cell(row.sd_slope), number_cell(row.sd_dataset), number_cell(row.sd_model)]
        cells += [number_cell(row.sd_residual), number_cell(row.f, 1), p_value_cell(row.f_p)]
        cells += [PageCell("converged" if row.converged else "did not converge")]
        rows.append(Row(cells, filter_keys(names, setting=row.setting)))
    note = (
        "Linear mixed model of the log odds of all cells on "
        f"{subject.predictor.scale.label(subject.predictor.label)}, "
        "with random intercepts per model and dataset and a random slope per dataset: the interval "
        "generalises to other models and datasets. For comparison: r of the means."
    )
    if any(not row.converged for row in subject.mixed.itertuples(index=False)):
        note += " Estimates of a fit that did not converge are unreliable."
    return PageTable("mixed", "Mixed model", columns, rows, note=note)


def ranks_table(subject: Subject, names: Names) -> PageTable:
    """Return the ranks with their simultaneous intervals."""
    columns = [Column("Setting", **TEXT), Column("Model", **TEXT), Column("Rank")]
    columns += [Column("95 % simultaneous confidence interval of the rank")]
    columns += [Column("Mean log odds"), Column("Mean accuracy %")]
    rows = [
        Row(
            [
                PageCell(setting_label(row.setting)),
                PageCell(str(row.model)),
                number_cell(row.rank, 0),
                interval_cell(row.low, row.high, 0),
                number_cell(row.mean, 3),
                percent_cell(row.accuracy),
            ],
            filter_keys(names, setting=row.setting, model=row.model),
        )
        for row in in_order(subject.ranks, names, "mean")
    ]
    return PageTable("ranks", "Ranks", columns, rows)


def prediction_table(subject: Subject, names: Names) -> PageTable:
    """Return how often prediction intervals cover models that were left out of the fit."""
    columns = [Column("Setting", **TEXT), Column("Dataset", **TEXT), Column("Fit", **TEXT)]
    columns += [Column(label) for label in ("Slope", "Residual SD", "p of curvature")]
    parts = ("model left out", "low third", "middle third", "high third", "family left out")
    columns += [Column(f"Coverage %, {part}") for part in (*parts, "top third extrapolated")]
    kinds = ("low", "middle", "high", "family", "top")
    rows = [
        Row(
            [
                PageCell(setting_label(row.setting)),
                PageCell(str(row.dataset)),
                PageCell(str(row.fit)),
                number_cell(row.slope, 2, plus=True),
                number_cell(row.residual_sd),
                p_value_cell(row.curvature_p),
                coverage_cell(row.covered, row.cells),
                *(
                    coverage_cell(getattr(row, f"covered_{k}"), getattr(row, f"n_{k}"))
                    for k in kinds
                ),
            ],
            filter_keys(names, setting=row.setting, dataset=row.dataset),
        )
        for row in in_order(subject.prediction, names)
    ]
    note = (
        "Coverage: share of accuracies within the 95 % prediction interval when the model is left "
        "out (of all models, and by thirds of the predictor), when its whole family is left "
        "out, and for the top third predicted from the rest. "
    ) + " ".join(prediction_summary(subject.prediction, subject.predictor.label)[1:])
    return PageTable(
        "prediction", "Leave-one-model-out prediction", columns, rows, note=note.strip()
    )


def coverage_cell(covered: Any, n: Any) -> PageCell:
    """Return the share of models left out that were within their interval, unknown if none."""
    return percent_cell(covered / n if n else None, 0)
