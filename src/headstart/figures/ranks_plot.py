"""Simultaneous confidence intervals of the models' ranks, a panel per setting, best on top."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from headstart.figures.fonts import fitted
from headstart.figures.legends import add_legend, point_handles
from headstart.figures.logit_axes import limits
from headstart.figures.panels import panels
from headstart.figures.plot_tables import Tables, rows
from headstart.figures.style import SMALL, MarkerStyle, marker_styles, styled
from headstart.spec.labels import in_order, setting_label

__all__ = ["draw", "select"]

ROW = 0.145  # inches per model
NAME = 95  # points for a model's name
TALLEST = 8.3  # inches of a panel: many models stand closer


def select(tables: Tables) -> pd.DataFrame:
    """Return the models with a rank."""
    columns = ["setting", "model", "family", "rank", "low", "high"]
    return rows(tables, "ranks", "ranks", columns, known=["rank"])


@styled
def draw(tables: Tables) -> Figure:
    """Draw each model's rank with its simultaneous confidence interval.

    Parameters
    ----------
    tables
        `ranks`.
    """
    ranks = select(tables)
    ranks["family"] = ranks["family"].fillna("other").astype(str)
    settings, styles = in_order(ranks["setting"]), marker_styles(ranks["family"])
    handles = point_handles(styles)
    sheet = panels(
        len(settings),
        columns=1 if len(settings) == 1 else 3,
        height=min(0.75 + ROW * ranks.groupby("setting").size().max(), TALLEST),
        legend=handles,
        note="Ranks by mean log odds. "
        "Lines: 95% confidence intervals of the rank, simultaneous for all models. "
        "Bold: not significantly different from the best (the interval begins at 1).",
    )
    for index, (setting, axes) in enumerate(zip(settings, sheet.panels, strict=True)):
        draw_panel(axes, ranks[ranks["setting"] == setting], styles)
        axes.set_title(setting_label(setting))
        if sheet.is_lowest(index):
            axes.set_xlabel("Rank")
    add_legend(sheet.figure, handles)
    return sheet.figure


def draw_panel(axes: Axes, ranks: pd.DataFrame, styles: dict[str, MarkerStyle]) -> None:
    """Draw one row per model: its interval and its rank."""
    ranks = ranks.sort_values(["rank", "model"]).reset_index(drop=True)
    axes.hlines(ranks.index, ranks["low"], ranks["high"], color="#9a9a9a", linewidth=1.6, zorder=2)
    for family, mark in styles.items():
        own = ranks[ranks["family"] == family]
        axes.plot(
            own["rank"], own.index, mark.shape, color=mark.colour, markersize=4.4,
            markeredgecolor="white", markeredgewidth=0.4, linestyle="none", zorder=3, label=family,
        )  # fmt: skip
    axes.set_yticks(
        ranks.index, [fitted(name, NAME, SMALL, weight="bold") for name in ranks["model"]]
    )
    for label, low in zip(axes.get_yticklabels(), ranks["low"], strict=True):
        label.set_fontweight("bold" if low <= 1 else "normal")
    axes.set_ylim(len(ranks) - 0.4, -0.6)
    last = np.nanmax(ranks[["rank", "high"]].to_numpy(dtype=float))
    axes.set_xlim(limits([1, last], 0.06, least=1.0))
    step = next((step for step in (1, 2, 5, 10, 20) if last <= 7 * step), 50)
    axes.set_xticks([1, *range(max(step, 2), int(last) + 1, step)])
    axes.tick_params(axis="y", length=0)
