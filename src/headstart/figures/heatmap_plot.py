"""Heatmap of residuals: models better or worse than their upstream accuracy predicts."""

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from headstart.figures.fonts import fitted
from headstart.figures.plot_tables import Tables, rows
from headstart.figures.style import COLUMN_WIDTH, INK, SMALL, TEXT_WIDTH, new_figure, styled
from headstart.figures.text import number
from headstart.spec.labels import in_order, setting_label

__all__ = ["draw", "select"]

ROW, COLUMN = 0.15, 0.42  # inches: room for a number
NAME = 92  # points for a name that stands alone
TALLEST = 9.2  # inches: of a page; more models than that stand without numbers, panels abreast
COLOURS = colormaps["RdBu"]


def select(tables: Tables) -> pd.DataFrame:
    """Return all cells if at least one has a residual."""
    columns = ["setting", "model", "dataset", "upstream_accuracy", "residual"]
    hint = "add a column upstream_accuracy"
    rows(tables, "heatmap", "cells", columns, known=["residual"], hint=hint)
    return rows(tables, "heatmap", "cells", columns)


@styled
def draw(tables: Tables) -> Figure:
    """Draw the residuals from each dataset's line, one panel per setting.

    Parameters
    ----------
    tables
        `cells`.
    """
    cells = select(tables)
    settings, datasets = in_order(cells["setting"]), list(dict.fromkeys(cells["dataset"]))
    accuracy = cells.groupby("model")["upstream_accuracy"].first()
    models = list(accuracy.sort_values(ascending=False, kind="stable").index)
    deep = 0.25 + ROW * len(models)
    stacked = deep * len(settings) <= TALLEST and len(datasets) * COLUMN <= TEXT_WIDTH - 1.2
    figure, panels = grid(len(settings), len(datasets), deep, stacked)
    # One outlier must not make all others pale: the largest 2% share the strongest colours.
    sizes = np.abs(cells["residual"].to_numpy(dtype=float))
    largest = float(np.nanquantile(sizes, 0.98)) or 1.0
    norm = TwoSlopeNorm(0.0, -largest, largest)
    for index, (setting, axes) in enumerate(zip(settings, panels, strict=True)):
        own = cells[cells["setting"] == setting]
        table = own.pivot_table("residual", "model", "dataset", observed=True)
        values = table.reindex(index=models, columns=datasets).to_numpy(dtype=float)
        draw_panel(axes, values, norm, numbers=stacked)
        axes.set_title(setting_label(setting))
        lowest, first = not stacked or index == len(settings) - 1, stacked or index == 0
        label_axes(axes, models if first else [], datasets if lowest else [], upright=not stacked)
    bar = figure.colorbar(
        ScalarMappable(norm, COLOURS),
        ax=panels,
        location="right" if stacked else "bottom",
        aspect=30,
        shrink=0.6 if figure.get_figheight() > 4 else 1.0,
        pad=0.015,
        fraction=0.03,
        extend="both" if np.nanmax(sizes) > largest else "neither",
    )
    bar.set_label("Residual (log odds)")
    bar.outline.set_visible(False)
    return figure


def grid(settings: int, datasets: int, deep: float, stacked: bool) -> tuple[Figure, list[Axes]]:
    """Return a figure with panels stacked, with numbers, or side by side, without."""
    note = (
        "Models sorted by upstream accuracy, best at the top. Residuals from each dataset's "
        "least-squares line on upstream log odds; blue: above the line. Hatched: no result."
    )
    if not stacked:
        figure = new_figure(min(deep, TALLEST - 1.3) + 1.7, note=note)
        return figure, list(np.ravel(figure.subplots(1, settings)))
    width = min(max(1.9 + COLUMN * datasets, COLUMN_WIDTH), TEXT_WIDTH)
    figure = new_figure(max(deep * settings, 0.9) + 0.35, width=width, note=note)
    return figure, list(np.ravel(figure.subplots(settings, 1)))


def draw_panel(
    axes: Axes, values: np.ndarray[tuple[int, int], np.dtype[np.float64]], norm: TwoSlopeNorm,
    *, numbers: bool,
) -> None:  # fmt: skip
    """Draw coloured cells (models, datasets); missing cells stay hatched."""
    axes.patch.set(facecolor="#ececec", edgecolor="#b5b5b5", hatch="//////", linewidth=0)
    axes.pcolormesh(
        np.ma.masked_invalid(values), cmap=COLOURS, norm=norm, edgecolor="white", linewidth=0.5
    )
    axes.set_ylim(len(values), 0)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if not numbers:
        return
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            red, green, blue, _ = COLOURS(norm(value))
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
            axes.text(
                column + 0.5, row + 0.52, number(value, sign=True), size=SMALL, ha="center",
                va="center_baseline", color="white" if dark else INK,
            )  # fmt: skip


def label_axes(axes: Axes, models: list[str], datasets: list[str], *, upright: bool) -> None:
    """Label rows and columns; narrow columns have rotated names."""
    axes.set_yticks(np.arange(len(models)) + 0.5, [fitted(name, NAME, SMALL) for name in models])
    room, most = (NAME, 1) if upright else (72 * COLUMN, 3)
    names = [fitted(name, room, SMALL, most=most) for name in datasets]
    axes.set_xticks(np.arange(len(names)) + 0.5, names, rotation=90 if upright else 0)
