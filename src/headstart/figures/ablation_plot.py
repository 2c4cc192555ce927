"""Plot of transfer by upstream training configuration (the paper's Figs. 3 and 5)."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from headstart.figures.fonts import fitted
from headstart.figures.legends import add_legend, line_handles
from headstart.figures.logit_axes import limits, log_odds, percent_axis
from headstart.figures.panels import panels
from headstart.figures.plot_tables import Tables, rows
from headstart.figures.style import SMALL, MarkerStyle, marker_styles, styled
from headstart.spec.labels import in_order, setting_label

__all__ = ["draw", "select"]


def select(tables: Tables) -> pd.DataFrame:
    """Return the configurations with a mean."""
    columns = ["setting", "model", "configuration", "position", "mean", "se", "upstream_accuracy"]
    hint = "add a column configuration: how each model was trained"
    return rows(tables, "ablation", "ablation", columns, known=["position", "mean"], hint=hint)


@styled
def draw(tables: Tables) -> Figure:
    """Draw mean log odds per training configuration, one panel per setting, upstream below.

    Parameters
    ----------
    tables
        `ablation`.
    """
    table = select(tables)
    settings, styles = in_order(table["setting"]), marker_styles(table["model"])
    upstream = table.dropna(subset="upstream_accuracy")
    handles = line_handles(styles)
    bars = bool(table["se"].notna().any())
    sheet = panels(
        len(settings) + (not upstream.empty),
        columns=1,
        height=1.55,
        legend=handles,
        note="Error bars: one standard error over datasets." if bars else "",
    )
    for setting, axes in zip(settings, sheet.panels, strict=False):
        draw_panel(axes, table[table["setting"] == setting], styles, "mean")
        axes.set_title(setting_label(setting))
        axes.set_ylabel("Mean log odds")
    if not upstream.empty:
        axes = sheet.panels[-1]
        once = upstream.groupby(["model", "position"], as_index=False)["upstream_accuracy"].mean()
        draw_panel(axes, once.assign(mean=log_odds(once["upstream_accuracy"])), styles, "upstream")
        axes.set_title("Upstream")
        axes.set_ylabel("Accuracy (%)")
        percent_axis(axes.yaxis)
    name_configurations(sheet.panels, table)
    add_legend(sheet.figure, handles)
    return sheet.figure


def draw_panel(axes: Axes, table: pd.DataFrame, styles: dict[str, MarkerStyle], what: str) -> None:
    """Draw one line per model over the positions of the configurations."""
    for model, mark in styles.items():
        own = table[table["model"] == model].sort_values("position")
        if own.empty:
            continue
        se = own["se"].to_numpy(dtype=float) if what == "mean" else np.zeros(len(own))
        axes.errorbar(
            own["position"], own["mean"], np.nan_to_num(se), marker=mark.shape, color=mark.colour,
            linestyle=mark.dashes, markeredgecolor="white", markeredgewidth=0.3, elinewidth=0.6,
            label=model,
        )  # fmt: skip
    axes.set_ylim(limits(table["mean"], 0.12))


def name_configurations(panels: list[Axes], table: pd.DataFrame) -> None:
    """Write the names of the configurations below the lowest panel, wrapped to fit."""
    names = table.groupby("position")["configuration"].first()
    room = 420 / max(len(names), 2) - 4  # of the panel's points
    for axes in panels:
        axes.set_xticks(names.index, [""] * len(names))
        axes.set_xlim(names.index.min() - 0.4, names.index.max() + 0.4)
    if room >= 27:
        labels = [fitted(name, room, SMALL, most=6) for name in names]
        panels[-1].set_xticks(names.index, labels)
    else:
        labels = [fitted(name, 150, SMALL) for name in names]
        panels[-1].set_xticks(names.index, labels, rotation=90)
