"""The tables of results: accuracies, means, correlations, settings, sweeps."""

from dataclasses import replace
from typing import Any

from headstart.analysis import UPSTREAM
from headstart.report.formatting import (
    coefficient,
    coefficient_interval,
    count,
    interval,
    joined,
    known,
    number,
    percent,
)
from headstart.report.subject import Names, Subject
from headstart.report.table_model import (
    Cell,
    Column,
    Row,
    Table,
    about,
    between,
    figure,
    marker_legend,
    marker_of,
    share,
    sortable,
)
from headstart.spec.labels import setting_label

__all__ = ["effects_table", "in_order", "result_tables", "study_tables"]

TEXT: dict[str, Any] = {"numeric": False}
STATISTICS = {
    "pearson_logit": "Pearson r, log odds",
    "pearson_plain": "Pearson r, accuracy",
    "spearman": "Spearman ρ",  # noqa: RUF001
    "kendall": "Kendall τ",
}


def result_tables(subject: Subject, names: Names) -> list[Table]:
    """Return the tables of results that have rows."""
    tables = [accuracy_table(subject, names, setting) for setting in names.settings]
    tables += [
        means_table(subject, names),
        correlation_table(subject, names),
        settings_table(subject, names),
    ]
    return [table for table in tables if table.rows]


def accuracy_table(subject: Subject, names: Names, setting: str) -> Table:
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
    columns += [Column(name, keys=about(names, dataset=name)) for name in datasets]
    rows = []
    for model in models:
        row = [Cell(model)]
        row += [share(getattr(mean_of.get(model), "accuracy", None))] if mean_of else []
        row += [mean_cell(mean_of.get(model))] if mean_of else []
        row += [accuracy_cell(found.get((model, name)), names, name) for name in datasets]
        rows.append(Row(row, about(names, model=model)))
    return Table(
        f"accuracy-{names.settings.index(setting)}",
        f"{setting_label(setting)}: accuracy in percent",
        columns,
        rows,
        about(names, setting=setting),
        marker_legend=marker_legend(subject, cells, means),
    )


def accuracy_cell(row: Any, names: Names, dataset: str) -> Cell:
    keys = about(names, dataset=dataset)
    if row is None or not known(row.accuracy):
        return Cell(percent(None), keys=keys)
    return Cell(
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


def mean_cell(row: Any) -> Cell:
    if row is None:
        return figure(None)
    spread = f"± {number(row.se)}" if known(row.se) else ""
    return Cell(number(row.mean), float(row.mean), marker_of(row), spread)


def means_table(subject: Subject, names: Names) -> Table:
    """Return the mean log odds of every model and setting, with intervals."""
    columns = [Column("Setting", **TEXT), Column("Model", **TEXT), Column("Family", **TEXT)]
    labels = ("Upstream %", "Mean %", "Mean log odds", "Standard error", "95 % interval")
    columns += [Column(label) for label in labels]
    more = ("Difference from best", "95 % interval", "Odds ratio to best", "95 % interval")
    columns += [*(Column(label) for label in more), Column("Datasets")]
    rows = [
        Row(
            [
                Cell(setting_label(row.setting)),
                Cell(str(row.model)),
                Cell(str(row.family) if known(row.family) else number(None)),
                share(row.upstream_accuracy),
                share(row.accuracy),
                Cell(number(row.mean, 3), float(row.mean), marker_of(row)),
                figure(row.se, 3),
                between(row.low, row.high, 3),
                figure(None if row.best else row.difference, 3, plus=True),
                between(row.difference_low, row.difference_high, 3),
                figure(None if row.best else row.odds_ratio),
                between(row.odds_ratio_low, row.odds_ratio_high),
                Cell(datasets_text(row), float(row.n_datasets)),
            ],
            about(names, setting=row.setting, model=row.model),
        )
        for row in in_order(subject.model_means, names, "mean")
    ]
    means = subject.model_means
    legend = marker_legend(subject, means.iloc[:0], means)
    if len(means) and (means.n_datasets < means.of_datasets).any():
        legend += " Means are adjusted for missing cells by an additive model."
    return Table("means", "Mean log odds over datasets", columns, rows, marker_legend=legend)


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


def correlation_table(subject: Subject, names: Names) -> Table:
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
                Cell(setting_label(row.setting)),
                Cell("all datasets" if row.group == "all" else str(row.group)),
                Cell(STATISTICS.get(row.statistic, str(row.statistic))),
                Cell(coefficient(row.estimate), sortable(row.estimate)),
                r_between(row.low, row.high),
                r_between(row.low_family, row.high_family),
                figure(row.n_models, 0),
                figure(row.n_datasets, 0),
            ],
            about(names, setting=row.setting, dataset=row.group),
        )
        for row in in_order(subject.correlations, names)
    ]
    note = (
        "The 95 % confidence intervals generalise to other models, and to other model families "
        "(Fisher's z with a jackknife standard error); at least five models or families are needed."
    )
    return Table(
        "correlations", "Correlation of upstream and transfer accuracy", columns, rows, note=note
    )


def r_between(low: Any, high: Any) -> Cell:
    return Cell(coefficient_interval(low, high) or number(None), sortable(low))


def settings_table(subject: Subject, names: Names) -> Table:
    """Return every setting compared with every other."""
    columns = [Column("Setting", **TEXT), Column("Compared with", **TEXT)]
    columns += [Column(label) for label in ("Wins", "Ties", "Cells")]
    columns += [Column("Mean difference in log odds"), Column("95 % interval")]
    rows = [
        Row(
            [
                Cell(setting_label(row.setting)),
                Cell(setting_label(row.other)),
                figure(row.wins, 0),
                figure(row.ties, 0),
                figure(row.cells, 0),
                figure(row.difference, 3, plus=True),
                between(row.low, row.high, 3),
            ],
            about(names, setting=row.setting, versus=row.other),
        )
        for row in in_order(subject.settings, names)
    ]
    note = "A win is a cell (one model on one dataset) where the setting has the higher accuracy."
    return Table("settings", "Pairwise comparison of settings", columns, rows, note=note)


def effects_table(subject: Subject, names: Names) -> Table:
    """Return the difference at each training change: one row per change, one column per setting."""
    table = subject.effects.sort_values("position", kind="stable")
    found = {(r.before, r.after, r.setting): r for r in table.itertuples(index=False)}
    visible = [name for name in (*names.settings, UPSTREAM) if name in set(table.setting)]
    columns = [Column("Change", **TEXT)]
    columns += [
        Column(
            subject.upstream_name if name == UPSTREAM else setting_label(name),
            keys=about(names, setting=name),
        )
        for name in visible
    ]
    rows = []
    for before, after in dict.fromkeys((change[0], change[1]) for change in found):
        cells = [
            replace(effect_cell(found.get((before, after, name))), keys=about(names, setting=name))
            for name in visible
        ]
        rows.append(Row([Cell(f"{before} \N{RIGHTWARDS ARROW} {after}"), *cells]))
    caption = "Difference in log odds from the previous training configuration"
    return Table("effects", caption, columns, rows, note=effects_note(table) if rows else "")


def effect_cell(row: Any) -> Cell:
    if row is None:
        return figure(None)
    between = interval(row.low, row.high, 3)
    text = number(row.effect, 3, plus=True) + (f" ({between})" if between else "")
    return Cell(text, float(row.effect))


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


def study_tables(subject: Subject, names: Names) -> dict[str, Table]:
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
    given = {name: study_table(names, *table) for name, table in tables.items()}
    given["residuals"] = residual_table(subject, names)
    return {name: table for name, table in given.items() if table.rows}


def residual_table(subject: Subject, names: Names) -> Table:
    """Return models and settings by datasets: residuals from the line of each dataset."""
    cells = subject.cells
    cells = cells[cells.residual.notna()] if len(cells) else cells
    found = {
        (row.setting, row.model, row.dataset): row.residual for row in cells.itertuples(index=False)
    }
    datasets = [name for name in names.datasets if name in set(cells.dataset)]
    columns = [Column("Setting", **TEXT), Column("Model", **TEXT)]
    columns += [Column(name, keys=about(names, dataset=name)) for name in datasets]
    rows = []
    for setting in names.settings:
        for model in names.models:
            values = [found.get((setting, model, name)) for name in datasets]
            if any(known(value) for value in values):
                numbers = [
                    replace(figure(value, plus=True), keys=about(names, dataset=name))
                    for value, name in zip(values, datasets, strict=True)
                ]
                first = [Cell(setting_label(setting)), Cell(model)]
                rows.append(Row([*first, *numbers], about(names, setting=setting, model=model)))
    return Table(
        "residual-table", "Residual from the dataset's least-squares line (log odds)", columns, rows
    )


def study_table(names: Names, key: str, table: Any, column: str, label: str) -> Table:
    has_dataset = "dataset" in table
    columns = [Column("Setting", **TEXT), Column("Model", **TEXT)]
    columns += [Column("Dataset", **TEXT)] if has_dataset else []
    columns += [Column(label, numeric=column != "configuration")]
    columns += [Column("Mean log odds"), Column("Standard error")]
    has_upstream = "upstream_accuracy" in table
    columns += [Column("Upstream %")] if has_upstream else []
    rows = []
    for row in in_order(table, names):
        at = getattr(row, column)
        where = {"dataset": row.dataset} if has_dataset else {}
        cells = [Cell(setting_label(row.setting)), Cell(str(row.model))]
        cells += [Cell(str(row.dataset))] if has_dataset else []
        cells += [Cell(at) if column == "configuration" else figure(at, 0)]
        cells += [figure(row.mean, 3), figure(row.se, 3)]
        cells += [share(row.upstream_accuracy)] if has_upstream else []
        rows.append(Row(cells, about(names, setting=row.setting, model=row.model, **where)))
    return Table(key, "Data of the figure", columns, rows)
