"""Draw estimates as figures, for print and for the page; knows tidy tables only.

A figure is drawn from the tables of an analysis: `pandas.DataFrame` by name, one row per estimate.
Accuracies are proportions, `log_odds` and `mean` natural logs of odds, intervals `low` to `high`
95 %, unknown numbers NaN, unknown booleans None; `setting`, `model`, `family` and `dataset` are
names. Tables that each figure reads:

==================== ============================================================================
figure               tables
==================== ============================================================================
correlation          `model_means`; where there are any, `lines` and `correlations`
datasets             `cells`; where there are any, `lines` and `correlations`
models               `model_means`
settings             `cells`
finetune-vs-scratch  `cells`
ablation             `ablation`: `configuration` at `position` 0, 1, ...
convergence          `convergence`: `mean` after `steps`; where it is there, `reached`
dataset-size         `dataset_size`: `mean` with `examples_per_class`
ranks                `ranks`: `rank` with its interval `low` to `high`
heatmap              `cells` with `residual` from their dataset's line
embedding            `embedding`: an image at `x`, `y`, a network at `position` 0, 1, ...; where
                     it is there, `separation`. Not of an analysis: of `headstart.embedding`
==================== ============================================================================

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
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from headstart.errors import AnalysisError, UnknownNameError
from headstart.figures import row_charts, scatter_charts, sweep_charts
from headstart.figures.figure import FORMATS, Figure
from headstart.figures.figure_data import FigureData, flags, optional
from headstart.figures.scatter_charts import FEWEST_MODELS
from headstart.files import writable_folder
from headstart.predictors import UPSTREAM_ACCURACY, Predictor

__all__ = ["FIGURES", "Figure", "available", "draw", "page_figures", "save"]


class FigureKind(NamedTuple):
    """A figure: `select` returns the rows that it draws, or raises AnalysisError; `draw` draws.

    `select` takes the predictor, too, where a figure is `of_predictor`. A figure is offered where
    it `says_something` about these rows and tables.
    """

    select: Callable[..., pd.DataFrame]
    draw: Callable[..., Figure]
    of_predictor: bool = False
    says_something: Callable[[pd.DataFrame, Mapping[str, pd.DataFrame]], bool] = lambda *_: True


def several_models(selected: pd.DataFrame, _: Any = None) -> bool:
    """Return whether there are models to compare."""
    return bool(selected["model"].nunique() > 1)


def three_models(selected: pd.DataFrame, _: Any) -> bool:
    """Return whether a setting has a line."""
    return bool(selected.groupby("setting")["model"].nunique().max() >= FEWEST_MODELS)


def several_settings(selected: pd.DataFrame, _: Any) -> bool:
    """Return whether there is more than the models of one setting on one dataset."""
    return bool(selected[["setting", "dataset"]].drop_duplicates().shape[0] > 1)


def several_cells(selected: pd.DataFrame, _: Any) -> bool:
    """Return whether the residuals have several rows and several columns."""
    return several_models(selected) and bool(selected["dataset"].nunique() > 1)


def tested_ranks(ranks: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> bool:
    """Return whether models were compared: without a test every rank is possible for each."""
    last = ranks.groupby("setting")["model"].transform("size")
    if ((ranks["low"] > 1) | (ranks["high"] < last)).any():
        return True
    means = optional(tables, "model_means", ["best", "not_different"])
    tested = means["not_different"].notna() & ~flags(means["best"])
    return several_models(ranks) and bool(tested.any())


FIGURES: Mapping[str, FigureKind] = {
    "correlation": FigureKind(
        scatter_charts.select_means, scatter_charts.draw_correlation, True, three_models
    ),
    "datasets": FigureKind(
        scatter_charts.select_cells, scatter_charts.draw_datasets, True, three_models
    ),
    "models": FigureKind(row_charts.select_models, row_charts.draw_models, False, several_models),
    "settings": FigureKind(
        row_charts.select_settings, row_charts.draw_settings, False, several_settings
    ),
    "finetune-vs-scratch": FigureKind(scatter_charts.select_scratch, scatter_charts.draw_scratch),
    "ranks": FigureKind(row_charts.select_ranks, row_charts.draw_ranks, False, tested_ranks),
    "heatmap": FigureKind(
        row_charts.select_residuals, row_charts.draw_heatmap, True, several_cells
    ),
    "ablation": FigureKind(sweep_charts.select_ablation, sweep_charts.draw_ablation, True),
    "convergence": FigureKind(sweep_charts.select_convergence, sweep_charts.draw_convergence),
    "dataset-size": FigureKind(sweep_charts.select_sizes, sweep_charts.draw_sizes),
    "embedding": FigureKind(scatter_charts.select_embedding, scatter_charts.draw_embedding),
}


def draw(
    name: str,
    tables: Mapping[str, pd.DataFrame],
    *,
    predictor: Predictor = UPSTREAM_ACCURACY,
    source: str = "",
    **options: Any,
) -> Figure:
    """Draw a figure.

    Parameters
    ----------
    name
        One of `FIGURES`.
    tables
        Tables of an analysis by name.
    predictor
        What the analysis correlates with transfer.
    source
        A sentence on where the numbers come from, printed at the bottom.
    options
        Options of that figure; `references` of `settings` is the only one so far.

    Raises
    ------
    UnknownNameError
        There is no such figure.
    AnalysisError
        The tables do not suffice; the message says what is missing.
    """
    if name not in FIGURES:
        raise UnknownNameError("figure", name, FIGURES)

    def redraw(data: FigureData) -> Figure:
        return replace(FIGURES[name].draw(data, **options), source=source, redraw=redraw)

    return redraw(FigureData(tables, predictor))


def available(
    tables: Mapping[str, pd.DataFrame], predictor: Predictor = UPSTREAM_ACCURACY
) -> list[str]:
    """Return the names of the figures that these tables suffice for.

    A figure that would say nothing is not among them: a line through two models, ranks of models
    that could not be tested against each other.
    """

    def possible(kind: FigureKind) -> bool:
        try:
            selected = kind.select(tables, *([predictor] if kind.of_predictor else []))
        except AnalysisError:
            return False
        return kind.says_something(selected, tables)

    return [name for name, kind in FIGURES.items() if possible(kind)]


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
    for kind, path in zip(formats, paths, strict=True):
        figure.savefig(path, kind)
    return paths
