"""Draw estimates as figures, for print and for the page; knows tidy tables only.

A figure is drawn from the tables of an analysis: `pandas.DataFrame` by name, one row per estimate.
Accuracies are proportions, `log_odds` and `mean` natural logs of odds, intervals `low` to `high`
95 %, unknown numbers NaN, unknown booleans None; `setting`, `model`, `family` and `dataset` are
names. What each figure needs is written down in `FIGURES`. The figure `embedding` is not of an
analysis, but of `headstart.embedding`.

Examples
--------
>>> import pandas as pd
>>> ranks = pd.DataFrame({
...     "setting": "linear", "model": ["a", "b"], "family": ["A", "B"],
...     "rank": [1, 2], "low": [1, 2], "high": [1, 2],
... })
>>> available({"ranks": ranks})
['ranks']
>>> figure = draw("ranks", {"ranks": ranks})
>>> save(figure, Path("figures/ranks"))  # doctest: +SKIP
[PosixPath('figures/ranks.png'), PosixPath('figures/ranks.svg'), PosixPath('figures/ranks.pdf')]
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from headstart.errors import AnalysisError, UnknownNameError
from headstart.figures import row_charts, scatter_charts, sweep_charts
from headstart.figures.figure import FORMATS, Figure
from headstart.figures.figure_data import FigureData, flags, optional
from headstart.files import writable_folder
from headstart.predictors import UPSTREAM_ACCURACY, Predictor
from headstart.stats import FEWEST_UNITS

__all__ = ["FIGURES", "Figure", "available", "draw", "page_figures", "save"]


WHY_MISSING = "the table 'missing' of the same analysis says why"


class FigureKind(NamedTuple):
    """A figure: how it is drawn, of which columns of a table, some of which must be finite.

    `PREDICTOR` among them stands for the column of the predictor; `hint` says what to do if no row
    is left. A figure is offered where it `says_something` about its rows, and the tables.
    """

    draw: Callable[..., Figure]
    table: str
    columns: Sequence[str]
    finite: Sequence[str]
    says_something: Callable[[pd.DataFrame, Mapping[str, pd.DataFrame]], bool] = lambda *_: True
    hint: str = ""


PREDICTOR = "predictor"


def at_least(models: int, datasets: int = 1) -> Callable[[pd.DataFrame, Any], bool]:
    """Return what tests for so many models in one setting, and so many datasets."""

    def enough(selected: pd.DataFrame, _: Any) -> bool:
        n = selected.groupby("setting")["model"].nunique().max()
        return bool(n >= models and (datasets < 2 or selected["dataset"].nunique() >= datasets))

    return enough


def several_rows(selected: pd.DataFrame, _: Any) -> bool:
    """Return whether there are several datasets, or settings that no figure has by model."""
    n = selected[["dataset", "setting", "model"]].nunique()
    return bool(n["dataset"] > 1 or (n["setting"] > 1 and n["model"] == 1))


def tested_ranks(ranks: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> bool:
    """Return whether models were compared: without a test every rank is possible for each."""
    last = ranks.groupby("setting")["model"].transform("size")
    if ((ranks["low"] > 1) | (ranks["high"] < last)).any():
        return True
    means = optional(tables, "model_means", ["best", "not_different"])
    tested = means["not_different"].notna() & ~flags(means["best"])
    return bool(last.max() > 1 and tested.any())


MODEL = ("setting", "model", "family")
CELL = ("setting", "model", "dataset")
FIGURES: Mapping[str, FigureKind] = {
    "correlation": FigureKind(
        scatter_charts.draw_correlation, "model_means",
        (*MODEL, PREDICTOR, "mean", "se", "low", "high"), (PREDICTOR, "mean"),
        at_least(FEWEST_UNITS),
    ),
    "datasets": FigureKind(
        scatter_charts.draw_datasets, "cells", (*CELL, "family", PREDICTOR, "log_odds"),
        (PREDICTOR, "log_odds"), at_least(FEWEST_UNITS, datasets=2),
    ),
    "models": FigureKind(
        row_charts.draw_models, "model_means", (*MODEL, "mean", "se", "low", "high"), ("mean",),
        at_least(2),
    ),
    "settings": FigureKind(
        row_charts.draw_settings, "cells", (*CELL, "log_odds"), ("log_odds",), several_rows,
    ),
    "finetune-vs-scratch": FigureKind(
        scatter_charts.draw_scratch, "cells", (*CELL, "log_odds"), ("log_odds",), lambda cells, _: (
            len(cells.drop_duplicates(["model", "dataset"])) > 1
            and len(scatter_charts.scratch_pairs(cells)) > 0
        ),
    ),
    "ranks": FigureKind(
        row_charts.draw_ranks, "ranks", (*MODEL, "rank", "low", "high"), ("rank",), tested_ranks,
    ),
    "heatmap": FigureKind(
        row_charts.draw_heatmap, "cells", (*CELL, PREDICTOR, "residual"), ("residual",),
        at_least(2, datasets=2),
    ),
    "ablation": FigureKind(
        sweep_charts.draw_ablation, "ablation",
        ("setting", "model", "configuration", "position", "mean", "se", PREDICTOR),
        ("position", "mean"), hint="add a column configuration: how each model was trained",
    ),
    "convergence": FigureKind(
        sweep_charts.draw_convergence, "convergence",
        ("setting", "model", "steps", "mean", "low", "high"), ("steps", "mean"),
        hint="add results of one model trained for several numbers of steps",
    ),
    "dataset-size": FigureKind(
        sweep_charts.draw_sizes, "dataset_size", (*CELL, "examples_per_class", "mean", "se"),
        ("examples_per_class", "mean"),
        hint="add results with several numbers of training examples per class",
    ),
    "embedding": FigureKind(
        scatter_charts.draw_embedding, "embedding",
        ("model", "position", "image", "class", "x", "y"), ("x", "y"),
        hint="compute it with headstart embed",
    ),
}  # fmt: skip


def rows_of(tables: Mapping[str, pd.DataFrame], name: str, predictor: Predictor) -> pd.DataFrame:
    """Return the rows that a figure can draw; raise `AnalysisError` if there are none."""
    kind = FIGURES[name]
    columns, finite = (
        [predictor.column if column == PREDICTOR else column for column in some]
        for some in (kind.columns, kind.finite)
    )
    hint = kind.hint or (predictor.hint if PREDICTOR in kind.columns else WHY_MISSING)
    needed = f"figure '{name}' needs the table '{kind.table}'"
    about: dict[str, Any] = {"figure": name, "table": kind.table}
    found = tables.get(kind.table)
    if found is None:
        raise AnalysisError(
            f"{needed}, found only: {', '.join(sorted(tables)) or 'no table'}; pass all tables of "
            "an analysis", code="figure.table_missing", found=sorted(tables), **about,
        )  # fmt: skip
    if missing := [column for column in columns if column not in found.columns]:
        raise AnalysisError(
            f"{needed} with the columns {', '.join(missing)}, found only: "
            f"{', '.join(map(str, found.columns)) or 'none'}",
            code="figure.column_missing", missing=missing, **about,
        )  # fmt: skip
    if found.empty:
        raise AnalysisError(f"{needed}, which is empty: {hint}", code="figure.table_empty", **about)
    kept = found[np.isfinite(found[finite].to_numpy(float, na_value=np.nan)).all(axis=1)]
    if kept.empty:
        raise AnalysisError(
            f"{needed} with values of {' and '.join(finite)}, found in none of its {len(found)} "
            f"rows: {hint}", code="figure.values_missing", columns=finite, **about,
        )  # fmt: skip
    return kept


def draw(
    name: str,
    tables: Mapping[str, pd.DataFrame],
    *,
    predictor: Predictor = UPSTREAM_ACCURACY,
    source: str = "",
    **options: Any,
) -> Figure:
    """Draw a figure, one of `FIGURES`, of the `tables` of an analysis by name.

    `predictor` is what the analysis correlates with transfer, `source` a sentence on where the
    numbers come from. Of the options of figures there is one so far: `references` of `settings`.

    Raises
    ------
    UnknownNameError
        There is no such figure.
    AnalysisError
        The tables do not suffice; the message says what is missing.
    """
    if name not in FIGURES:
        raise UnknownNameError("figure", name, FIGURES)
    rows_of(tables, name, predictor)

    def redraw(data: FigureData) -> Figure:
        return replace(FIGURES[name].draw(data, **options), source=source, redraw=redraw)

    return redraw(FigureData(tables, predictor))


def available(
    tables: Mapping[str, pd.DataFrame], predictor: Predictor = UPSTREAM_ACCURACY
) -> list[str]:
    """Return the names of the figures that these tables suffice for.

    A figure that would say nothing is not among them: a line through fewer models than an interval
    of r needs, or through models that are all alike to the predictor; ranks of models that were not
    tested against each other.
    """
    names = []
    for name, kind in FIGURES.items():
        with suppress(AnalysisError):
            found = rows_of(tables, name, predictor)
            alike = PREDICTOR in kind.finite and found[predictor.column].nunique() < 2
            if not alike and kind.says_something(found, tables):
                names.append(name)
    return names


def page_figures(data: FigureData) -> list[Figure]:
    """Return all figures of an analysis that its tables suffice for, in reading order."""
    names = available(data.tables, data.predictor)
    return [FIGURES[name].draw(data) for name in names if name != "embedding"]


def save(figure: Figure, stem: Path, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Write a figure to `stem` with the ending of each format; each file whole or not at all.

    The same figure gives the same bytes.

    Raises
    ------
    UnknownNameError
        A format other than png, svg and pdf.
    NotWritableError, DiskFullError, StorageError
        The files cannot be written.
    """
    for kind in formats:
        if kind not in FORMATS:
            raise UnknownNameError("figure format", kind, FORMATS)
    writable_folder(stem.parent)
    paths = [stem.with_name(f"{stem.name}.{kind}") for kind in formats]
    for path in paths:
        figure.savefig(path)
    return paths
