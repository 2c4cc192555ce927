"""Draw estimates as figures for print; knows tidy tables only.

A figure is drawn from the tables of an analysis: `pandas.DataFrame` by name, one row per estimate.
Accuracies are proportions, `log_odds` and `mean` natural logs of odds, intervals `low` to `high`
95%, unknown numbers NaN, unknown booleans None; `setting`, `model`, `family` and `dataset` are
names. Tables that each figure reads:

==================== ============================================================================
figure               tables
==================== ============================================================================
correlation          `model_means`; where there are any, `lines` and `correlations`
datasets             `cells`; where there are any, `lines` and `correlations`
settings             `cells`
finetune-vs-scratch  `cells`
ablation             `ablation`: `configuration` at `position` 0, 1, ...
convergence          `convergence`: `mean` after `steps`
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
...     "rank": [1, 2], "low": [1, 1], "high": [2, 2],
... })
>>> available({"ranks": ranks})
['ranks']
>>> figure = draw("ranks", {"ranks": ranks})
>>> save(figure, Path("figures/ranks"))  # doctest: +SKIP
[PosixPath('figures/ranks.png'), PosixPath('figures/ranks.svg'), PosixPath('figures/ranks.pdf')]
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from headstart.errors import AnalysisError, UnknownNameError
from headstart.figures import (
    comparison_plots,
    correlation_plots,
    embedding_plot,
    sweep_plots,
)
from headstart.figures.style import DPI, from_source, style
from headstart.files import replaced, writable_folder
from headstart.predictors import UPSTREAM_ACCURACY, Predictor

__all__ = ["FIGURES", "available", "draw", "save"]


class FigureKind(NamedTuple):
    """A figure: `select` returns the rows that it draws, or raises AnalysisError; `draw` draws.

    Both take the predictor, too, where a figure is `of_predictor`.
    """

    select: Callable[..., pd.DataFrame]
    draw: Callable[..., Figure]
    of_predictor: bool = False


KINDS: Mapping[str, FigureKind] = {
    "correlation": FigureKind(
        correlation_plots.select_means, correlation_plots.draw_correlation, True
    ),
    "datasets": FigureKind(correlation_plots.select_cells, correlation_plots.draw_datasets, True),
    "settings": FigureKind(comparison_plots.select_settings, comparison_plots.draw_settings),
    "finetune-vs-scratch": FigureKind(
        comparison_plots.select_scratch, comparison_plots.draw_scratch
    ),
    "ablation": FigureKind(sweep_plots.select_ablation, sweep_plots.draw_ablation, True),
    "convergence": FigureKind(sweep_plots.select_convergence, sweep_plots.draw_convergence),
    "dataset-size": FigureKind(sweep_plots.select_sizes, sweep_plots.draw_sizes),
    "ranks": FigureKind(comparison_plots.select_ranks, comparison_plots.draw_ranks),
    "heatmap": FigureKind(comparison_plots.select_residuals, comparison_plots.draw_heatmap, True),
    "embedding": FigureKind(embedding_plot.select_embedding, embedding_plot.draw_embedding),
}
FIGURES: Mapping[str, Callable[..., Figure]] = {name: kind.draw for name, kind in KINDS.items()}

# Omit metadata that change from run to run.
METADATA: Mapping[str, dict[str, None]] = {
    "png": {},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
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
    if KINDS[name].of_predictor:
        options["predictor"] = predictor
    with from_source(source):
        return FIGURES[name](tables, **options)


def available(
    tables: Mapping[str, pd.DataFrame], predictor: Predictor = UPSTREAM_ACCURACY
) -> list[str]:
    """Return the names of the figures that these tables suffice for."""

    def possible(kind: FigureKind) -> bool:
        try:
            kind.select(tables, *([predictor] if kind.of_predictor else []))
        except AnalysisError:
            return False
        return True

    return [name for name, kind in KINDS.items() if possible(kind)]


def save(figure: Figure, stem: Path, formats: Sequence[str] = ("png", "svg", "pdf")) -> list[Path]:
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
        if kind not in METADATA:
            raise UnknownNameError("figure format", kind, METADATA)
    writable_folder(stem.parent)
    paths = [stem.with_name(f"{stem.name}.{kind}") for kind in formats]
    with style():
        for kind, path in zip(formats, paths, strict=True):
            with replaced(path) as temporary:
                figure.savefig(temporary, format=kind, dpi=DPI, metadata=METADATA[kind])
    return paths
