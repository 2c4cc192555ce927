"""Show an analysis on the terminal."""

from collections.abc import Iterator
from typing import Any

import pandas as pd
from rich.console import RenderableType
from rich.text import Text

from headstart.analysis import Analysis, prediction_summary, seeds_said, source_notes
from headstart.cli.terminal_tables import table_parts
from headstart.report.analysis_answer import answer_of
from headstart.report.model_tables import means_table
from headstart.report.page_model import DATASET, SETTING, Column, Names, filled, named, names_of
from headstart.report.provenance import with_labels
from headstart.report.result_tables import (
    comparison_tables,
    correlation_table,
    effects_table,
    mixed_table,
    predictors_table,
    settings_table,
    study_tables,
)
from headstart.report.sentences import speed_sentences
from headstart.spec.formatting import count, decimals, setting_label

__all__ = ["ablation", "prediction", "summary"]

# So many models of a setting fit a screen; --out and --json write all.
MOST_ROWS = 60


def summary(analysis: Analysis) -> Iterator[RenderableType]:
    """Return the parts that fit a screen, one after the other; what is missing comes last."""
    names = names_of(analysis)
    headline = answer_of(analysis).headline
    yield Text(headline, style="bold")
    for source in analysis.sources:
        yield Text(_source_line(source))
    yield from _counts(analysis.counts)
    if said := seeds_said(analysis.cells):
        yield Text(said)
    correlations = correlation_table(analysis, names, without=names.datasets)
    yield from table_parts(correlations, by_first=True)
    yield from table_parts(mixed_table(analysis, names))
    yield from table_parts(means_table(analysis, names), by_first=True, most=MOST_ROWS)
    yield from table_parts(settings_table(analysis, names))
    yield from ablation(analysis)
    for table in comparison_tables(analysis, names):
        by_setting = table.key.startswith("compared")
        yield from table_parts(table, by_first=by_setting, most=MOST_ROWS)
    yield from table_parts(predictors_table(analysis, names), by_first=True)
    yield from (Text(line) for line in speed_sentences(analysis) if line != headline)
    yield from map(Text, prediction_summary(analysis.prediction))
    yield from _missing(analysis, names)


def ablation(analysis: Analysis) -> Iterator[RenderableType]:
    """Render mean log odds per model and training configuration, and the change at each step."""
    names = names_of(analysis)
    if table := study_tables(analysis, names).get("ablation"):
        yield from table_parts(table, by_first=True)
        yield from table_parts(effects_table(analysis, names), by_first=True)


def prediction(predicted: pd.DataFrame, title: str) -> Iterator[RenderableType]:
    """Render one row per setting and dataset: predicted accuracy with its interval, in percent."""

    def remarks(row: Any) -> str:
        outside = ["outside the range of the models"] * bool(row["extrapolated"])
        wide = [f"interval widened x {row['widened']:.1f}"] * (row["widened"] > 1)
        return ", ".join(outside + wide)

    percent = decimals(1, scale=100)
    columns = [
        SETTING,
        DATASET,
        Column("Predicted", "accuracy", percent, unit="%"),
        Column("95 % interval", ("low", "high"), percent),
        named("Fit", "fit"),
        named("Remarks", remarks, detail=1),
    ]
    rows = predicted.to_dict("records")
    yield from table_parts(filled("predicted", title, columns, rows))


def _source_line(source: dict[str, Any]) -> str:
    """Return what a source is, how it was understood and how its names meet earlier ones."""
    against = "against " if "against" in source else ""
    parts = [f"{against}{source['name']}: {count(source['rows'], 'result')}"]
    if source["kind"] not in ("store", "predictions"):
        parts.append(f"accuracies in {source['unit']} ({source['unit_rule']})")
    if "citation" in source:
        parts.append(str(source["citation"]))
    if "against" in source and "description" in source:
        parts.append(str(source["description"]))
    lines = [", ".join(parts)]
    if source.get("digitised"):
        lines.append(f"DIGITISED: {source['error']}")
    return "\n".join([*lines, *source_notes(source)])


def _counts(counts: pd.DataFrame) -> Iterator[Text]:
    """Print first what everything rests on."""
    for row in counts.itertuples():
        cells = count(row.n_cells, "cell")
        if row.n_missing:
            cells = (
                f"{row.n_cells:,} of {row.n_cells + row.n_missing:,} cells; means over datasets "
                "are adjusted for the missing ones (additive model of models and datasets)"
            )
        yield Text(
            f"{setting_label(row.setting)}: {count(row.n_models, 'model')} on "
            f"{count(row.n_datasets, 'dataset')}, {cells}"
        )


def _missing(analysis: Analysis, names: Names) -> Iterator[Text]:
    by = ["setting", "kind", "name"]
    for (setting, kind, name), rows in analysis.dropped.groupby(by, sort=False):
        yield Text(
            f"left out ({setting_label(setting)}): {kind} {name}, cells missing: "
            f"{rows['missing'].max()}; of {', '.join(rows['table'].unique())}",
            style="yellow",
        )
    for row in analysis.notes.itertuples():
        yield Text(f"note: {with_labels(row.about, names)}: {row.note}", style="yellow")
    for why, rows in analysis.missing.groupby("why", sort=False):
        what = with_labels("; ".join(rows["what"]), names)
        yield Text(f"not computed: {what}: {why}", style="yellow")
