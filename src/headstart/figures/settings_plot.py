"""Bars of settings side by side, per dataset, with models as points (the paper's Fig. 6)."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from headstart.errors import AnalysisError
from headstart.figures.fonts import fitted
from headstart.figures.legends import LONGEST, add_legend
from headstart.figures.logit_axes import limits, log_odds, percent_axis
from headstart.figures.panels import panels
from headstart.figures.plot_tables import Tables, rows
from headstart.figures.style import INK, SMALL, MarkerStyle, setting_styles, styled
from headstart.spec.labels import in_order, setting_label

__all__ = ["draw", "select"]

MOST_DATASETS = 8  # beside each other
GROUP = 0.78  # share of a dataset's width that its bars take
REFERENCE_DASHES = ("-", (0, (4, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.2, 1.2, 1.2)))


def select(tables: Tables) -> pd.DataFrame:
    """Return the cells with a known accuracy."""
    columns = ["setting", "model", "dataset", "log_odds"]
    return rows(tables, "settings", "cells", columns, known=["log_odds"])


@styled
def draw(tables: Tables, references: pd.DataFrame | None = None) -> Figure:
    """Draw, for each dataset, one bar per setting: the mean over models, with the models as points.

    Parameters
    ----------
    tables
        `cells`.
    references
        Lines to draw across a dataset's bars, such as the previous state of the art: columns
        dataset, accuracy (a proportion), label; those of other datasets are left out.
    """
    cells = select(tables)
    settings, datasets = in_order(cells["setting"]), list(dict.fromkeys(cells["dataset"]))
    styles = setting_styles(settings)
    lines = reference_lines(references, datasets)
    dashes = dict(zip(dict.fromkeys(lines["label"]), REFERENCE_DASHES * len(lines), strict=False))
    handles = [
        Patch(facecolor=tint(styles[setting]), label=fitted(setting_label(setting), LONGEST, SMALL))
        for setting in settings
    ] + [
        Line2D([], [], color=INK, linestyle=dash, label=fitted(label, LONGEST, SMALL))
        for label, dash in dashes.items()
    ]
    deep = -(-len(datasets) // MOST_DATASETS)
    wide = -(-len(datasets) // deep)
    sheet = panels(
        deep,
        columns=2 if wide <= 3 else 1,
        height=2.35,
        legend=handles,
        note="Bars: mean over models in log odds. Points: individual models. "
        "Equal heights are equal odds ratios; the axis has no zero.",
        wide=wide > 3,
    )
    ends = limits(np.append(cells["log_odds"], lines["log_odds"]))
    for row, axes in enumerate(sheet.panels):
        visible = datasets[row * wide : (row + 1) * wide]
        for place, dataset in enumerate(visible):
            own = cells[cells["dataset"] == dataset]
            draw_group(axes, place, own, styles, ends[0])
            for line in lines[lines["dataset"] == dataset].itertuples():
                axes.plot(
                    [place - GROUP / 2 - 0.04, place + GROUP / 2 + 0.04], [line.log_odds] * 2,
                    color=INK, linestyle=dashes[line.label], linewidth=1.1, zorder=4,
                )  # fmt: skip
        room = 72 * (sheet.figure.get_figwidth() - 0.6) / (wide + 0.2) - 3
        names = [fitted(name, room, SMALL, most=3) for name in visible]
        axes.set_xticks(range(len(visible)), names)
        axes.set_xlim(-0.6, wide - 0.4)
        axes.set_ylim(ends)
        axes.grid(visible=False, axis="x")
        axes.tick_params(axis="x", length=0)
        percent_axis(axes.yaxis)
        axes.set_ylabel("Accuracy (%, logit scale)")
    add_legend(sheet.figure, handles)
    return sheet.figure


def draw_group(
    axes: Axes, place: int, cells: pd.DataFrame, styles: dict[str, MarkerStyle], bottom: float
) -> None:
    """Draw the bars of one dataset at `place`, with their models as points from worst to best."""
    width = GROUP / len(styles)
    for index, (setting, mark) in enumerate(styles.items()):
        own = np.sort(cells.loc[cells["setting"] == setting, "log_odds"].to_numpy(dtype=float))
        if not len(own):
            continue
        centre = place + (index - (len(styles) - 1) / 2) * width
        axes.bar(
            centre, own.mean() - bottom, width * 0.94, bottom, color=tint(mark),
            linewidth=0, zorder=2,
        )  # fmt: skip
        spread = np.linspace(-0.36, 0.36, len(own)) * width if len(own) > 1 else np.zeros(1)
        axes.plot(
            centre + spread, own, mark.shape, markersize=1.8, color=INK, markeredgewidth=0,
            linestyle="none", zorder=3, label=setting,
        )  # fmt: skip


def tint(mark: MarkerStyle) -> tuple[float, ...]:
    """Return a setting's colour with a quarter of white: points stand out, grid lines do not."""
    return tuple(0.75 * part + 0.25 for part in to_rgb(mark.colour))


def reference_lines(references: pd.DataFrame | None, datasets: list[str]) -> pd.DataFrame:
    """Return the references of these datasets in log odds.

    Raises
    ------
    AnalysisError
        A column is missing, or accuracies are not proportions.
    """
    columns = ["dataset", "accuracy", "label"]
    if references is None:
        return pd.DataFrame(columns=[*columns, "log_odds"])
    if lacking := [column for column in columns if column not in references.columns]:
        raise AnalysisError(
            f"references of figure 'settings' need the columns dataset, accuracy, label, "
            f"found no {', '.join(lacking)}",
            code="figure.column_missing",
            figure="settings",
            table="references",
            missing=lacking,
        )
    own = references[references["dataset"].isin(datasets)].dropna(subset="accuracy")
    values = own["accuracy"].to_numpy(dtype=float)
    if ((values < 0) | (values > 1)).any():
        raise AnalysisError(
            "references of figure 'settings' need accuracies as proportions from 0 to 1, "
            f"found {values[(values < 0) | (values > 1)][0]:g}: divide percentages by 100",
            code="figure.references_unit",
            value=float(values[(values < 0) | (values > 1)][0]),
        )
    return own.assign(log_odds=log_odds(values))
