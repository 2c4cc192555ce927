"""The tables that the charts draw, as JSON columns: each once, with numbers and texts ready."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logit

from headstart.predictors import Predictor
from headstart.report.chart_style import Style, styles_of_families, styles_of_settings
from headstart.report.page_model import Names, Subject
from headstart.spec.display_names import role, setting_label
from headstart.spec.formatting import interval, known, number, percent

__all__ = ["chart_data", "family_styles", "several_seeds"]

NO_FAMILY = "unknown family"
SIGNIFICANT = 6


def family_styles(subject: Subject) -> dict[str, Style]:
    """Return the colour and shape of every model family."""
    cells = subject.cells
    return styles_of_families(
        [str(name) for name in cells.family.fillna(NO_FAMILY)] if len(cells) else []
    )


def several_seeds(subject: Subject) -> bool:
    """Return whether any cell is a mean over seeds."""
    return bool(len(subject.cells) and (subject.cells.n_seeds > 1).any())


def chart_data(subject: Subject, names: Names) -> dict[str, dict[str, Any]]:
    """Return every named table of the charts, column by column.

    Returns
    -------
    dict
        Table name -> column -> values, unknown numbers None. A text column is given as
        ``levels`` and ``codes``, which keeps the page small. No table is missing, some are empty.
    """
    cells = cells_data(subject, names)
    pairs = pairs_data(cells)
    tables = {
        "cells": cells[[name for name in CELLS if name in cells]],
        "bands": bands_data(subject),
        "pairs": pairs[[name for name in PAIRS if name in pairs]],
        "ranks": ranks_data(subject),
        "ablation": study_data(subject.ablation, names, subject.predictor),
        "convergence": study_data(subject.convergence, names, subject.predictor),
        "dataset_size": study_data(subject.dataset_size, names, subject.predictor),
    }
    return {name: packed(table) for name, table in tables.items()}


CELLS = (
    *("setting", "setting_label", "setting_colour", "setting_shape"),
    *("model", "family", "colour", "shape", "seeds"),
    *(
        "dataset",
        "x",
        "predictor_text",
        "log_odds",
        "adjusted",
        "low_odds",
        "high_odds",
        "accuracy_text",
    ),
    *("interval", "residual", "residual_text", "averaged", "mean_low", "mean_high"),
    "mean_interval",
)
PAIRS = (
    *("setting", "setting_scratch", "model", "family", "colour", "shape", "dataset", "interval"),
    *("log_odds", "log_odds_scratch", "accuracy_text", "accuracy_text_scratch"),
)


def cells_data(subject: Subject, names: Names) -> Any:
    """Return the cells in coordinates of the charts, with the style of their family."""
    cells, predictor = subject.cells, subject.predictor
    if not len(cells):
        return pd.DataFrame()
    styles = family_styles(subject)
    cells = cells.assign(family=cells.family.fillna(NO_FAMILY).astype(str))
    look = [styles[name] for name in cells.family]
    cells = cells.assign(
        x=predictor_coordinates(cells[predictor.column], predictor),
        low_odds=odds(cells.low),
        high_odds=odds(cells.high),
        predictor_text=[predictor.scale.text(value) for value in cells[predictor.column]],
        accuracy_text=[percent(p, 2) + " %" for p in cells.accuracy],
        interval=[interval_text(row.low, row.high) for row in rows_of(cells)],
        residual_text=[number(r, 2, plus=True) for r in cells.residual],
        seeds=[seeds_text(row.n_seeds, row.seed_sd) for row in rows_of(cells)],
        colour=[family.colour for family in look],
        shape=[family.shape for family in look],
    )
    return with_means(with_settings(cells, names), subject)


def seeds_text(n: Any, spread: Any) -> str:
    """Return the number of seeds of a cell and their spread."""
    if not known(n) or n < 2:
        return "1"
    return f"{int(n)} (SD {number(spread)} in log odds)"


def interval_text(low: Any, high: Any) -> str:
    text = interval(low, high, digits=1, scale=100)
    return f"{text} %" if text else "unknown"


def with_settings(table: Any, names: Names) -> Any:
    """Add the label, colour and shape of each row's setting."""
    styles = styles_of_settings(names.settings)
    return table.assign(
        setting_label=[setting_label(name) for name in table.setting],
        setting_colour=[styles[name].colour for name in table.setting],
        setting_shape=[styles[name].shape for name in table.setting],
    )


def with_means(cells: Any, subject: Subject) -> Any:
    """Flag the cells that means average, and add each model's interval."""
    means = {(row.setting, row.model): row for row in rows_of(subject.model_means)}
    found = [means.get(key) for key in zip(cells.setting, cells.model, strict=True)]
    nan = math.nan
    return cells.assign(
        averaged=[mean is not None for mean in found],
        mean_low=[nan if mean is None else mean.low for mean in found],
        mean_high=[nan if mean is None else mean.high for mean in found],
        mean_interval=[
            "unknown" if mean is None else interval(mean.low, mean.high, 3) or "unknown"
            for mean in found
        ],
    )


def bands_data(subject: Subject) -> Any:
    """Return the bootstrap bands around the least-squares lines."""
    lines = subject.lines
    if not len(lines):
        return pd.DataFrame()
    lines = lines[lines.low.notna()]
    x = predictor_coordinates(lines[subject.predictor.column], subject.predictor)
    return lines.assign(x=x)[["setting", "group", "x", "low", "high"]]


def pairs_data(cells: Any) -> Any:
    """Match each fine-tuned cell with its model and dataset trained from scratch."""
    if not len(cells):
        return pd.DataFrame()
    roles = [role(name) for name in cells.setting]
    tuned = cells[[r == "finetune" for r in roles]]
    scratch = cells[[r == "scratch" for r in roles]]
    wanted = ("model", "dataset", "setting", "log_odds", "accuracy_text")
    scratch = scratch[[column for column in wanted if column in scratch]]
    return tuned.merge(scratch, on=["model", "dataset"], suffixes=("", "_scratch"))


def ranks_data(subject: Subject) -> Any:
    """Return the ranks with their intervals as text."""
    ranks = subject.ranks
    if not len(ranks):
        return pd.DataFrame()
    text = [f"{int(r.low)} to {int(r.high)}" for r in rows_of(ranks[ranks.low.notna()])]
    return ranks[ranks.low.notna()].assign(interval=text)


def study_data(table: Any, names: Names, predictor: Predictor) -> Any:
    """Return a sweep with error bars as positions and as text."""
    if not len(table):
        return pd.DataFrame()
    bars = table if "low" in table else error_bars(table)
    text = [interval(row.low, row.high) or "unknown" for row in rows_of(bars)]
    if "se" in table:
        text = [w if known(se) else "unknown" for w, se in zip(text, table.se, strict=True)]
    if predictor.column in table:
        text_of = predictor.scale.text
        bars = bars.assign(predictor_text=[text_of(value) for value in bars[predictor.column]])
    return with_settings(
        bars.assign(mean_text=[number(m, 3) for m in bars["mean"]], interval=text), names
    )


def error_bars(table: Any) -> Any:
    """Return a table without intervals with one standard error to each side as its bars."""
    # Without a standard error the bar has no length and is invisible.
    se = table.se.astype(float).fillna(0)
    return table.assign(low=table["mean"] - se, high=table["mean"] + se)


def predictor_coordinates(values: Any, predictor: Predictor) -> Any:
    """Return a column on the scale of the predictor; NaN where it has no coordinate."""
    x = values.astype(float).to_numpy()
    return predictor.scale.coordinates(np.where(predictor.scale.allows(x), x, np.nan))


def odds(proportion: Any) -> Any:
    """Return the log odds of a column; NaN where it is unknown, 0 or 1."""
    values = proportion.astype(float).to_numpy()
    inside = np.where((values > 0) & (values < 1), values, np.nan)
    return logit(inside)


def rows_of(table: Any) -> Sequence[Any]:
    return list(table.itertuples(index=False))


def packed(table: Any) -> dict[str, Any]:
    """Return a table's columns for JSON."""
    return {str(name): packed_column(list(table[name])) for name in table}


def packed_column(values: list[Any]) -> Any:
    """Return a column: numbers rounded, None if unknown, text by its levels."""
    values = [plain(value) for value in values]
    if not any(isinstance(value, str) for value in values):
        return values
    levels = {value: code for code, value in enumerate(dict.fromkeys(values))}
    return {"levels": list(levels), "codes": [levels[value] for value in values]}


def plain(value: Any) -> Any:
    """Return a value as a plain Python type."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.{SIGNIFICANT}g}") if math.isfinite(value) else None
    return value if value is None else str(value)
