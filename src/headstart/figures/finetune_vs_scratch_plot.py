"""Plot of fine-tuning against training from scratch (the paper's Fig. 7)."""

from itertools import product

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from headstart.errors import AnalysisError
from headstart.figures.fonts import fitted
from headstart.figures.legends import add_legend, point_handles
from headstart.figures.logit_axes import limits, percent_axis
from headstart.figures.panels import panels
from headstart.figures.plot_tables import Tables, rows
from headstart.figures.style import GREY, MarkerStyle, marker_styles, styled
from headstart.spec.labels import in_order, role, setting_label

__all__ = ["draw", "select"]

NAME = 125  # points of a setting's name on its axis


def select(tables: Tables) -> pd.DataFrame:
    """Return pairs of cells: model, dataset, the names of both settings, the log odds in each.

    Raises
    ------
    AnalysisError
        No setting is fine-tuning, none is training from scratch, or no cell has both.
    """
    figure = "finetune-vs-scratch"
    columns = ["setting", "model", "dataset", "log_odds"]
    cells = rows(tables, figure, "cells", columns, known=["log_odds"])[columns]
    settings = in_order(cells["setting"])
    tuned = [setting for setting in settings if role(setting) == "finetune"]
    scratch = [setting for setting in settings if role(setting) == "scratch"]
    if not tuned or not scratch:
        raise AnalysisError(
            f"figure '{figure}' needs a fine-tuned setting and one trained from scratch, "
            f"found the settings {', '.join(settings)}: add results of the missing one",
            code="figure.settings_missing",
            figure=figure,
            found=settings,
        )
    pairs = pd.concat(
        cells[cells["setting"] == one].merge(
            cells[cells["setting"] == other],
            on=["model", "dataset"],
            suffixes=("_tuned", "_scratch"),
        )
        for one, other in product(tuned, scratch)
    )
    if pairs.empty:
        raise AnalysisError(
            f"figure '{figure}' needs models and datasets measured in both {tuned[0]} and "
            f"{scratch[0]}, found none",
            code="figure.nothing_shared",
            figure=figure,
            settings=[tuned[0], scratch[0]],
        )
    return pairs.reset_index(drop=True)


@styled
def draw(tables: Tables) -> Figure:
    """Draw fine-tuned accuracy against that from scratch, with the line where both are equal.

    Parameters
    ----------
    tables
        `cells`.
    """
    pairs = select(tables)
    styles = marker_styles(pairs["dataset"])
    groups = list(pairs.groupby(["setting_tuned", "setting_scratch"], sort=False))
    handles = point_handles(styles)
    sheet = panels(
        len(groups),
        columns=2,
        height=3.3,
        legend=handles,
        note="Each point is one model on one dataset; both axes are on a logit scale. On the line, "
        "both accuracies are equal.",
    )
    ends = limits(pairs[["log_odds_tuned", "log_odds_scratch"]], 0.05)
    for ((tuned, scratch), own), axes in zip(groups, sheet.panels, strict=True):
        draw_panel(axes, own, styles)
        axes.set(xlim=ends, ylim=ends, aspect="equal")
        percent_axis(axes.xaxis)
        percent_axis(axes.yaxis)
        axes.set_xlabel(f"{fitted(setting_label(scratch), NAME, 7)}: accuracy (%)")
        axes.set_ylabel(f"{fitted(setting_label(tuned), NAME, 7)}: accuracy (%)")
    add_legend(sheet.figure, handles, sheet.spare)
    return sheet.figure


def draw_panel(axes: Axes, pairs: pd.DataFrame, styles: dict[str, MarkerStyle]) -> None:
    """Draw the points of each dataset, and the diagonal."""
    axes.axline((0, 0), slope=1, color=GREY, linewidth=0.8, zorder=1)
    for dataset, mark in styles.items():
        own = pairs[pairs["dataset"] == dataset]
        axes.plot(
            own["log_odds_scratch"], own["log_odds_tuned"], mark.shape, color=mark.colour,
            markersize=3.8, markeredgecolor="white", markeredgewidth=0.3, linestyle="none",
            zorder=3, label=dataset,
        )  # fmt: skip
