"""Plots that compare settings and models: bars (Fig. 6), scratch (Fig. 7), ranks, residuals."""

from itertools import product

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import TwoSlopeNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from headstart.errors import AnalysisError
from headstart.figures.logit_axes import limits, log_odds, percent_axis
from headstart.figures.panels import LONGEST, add_legend, panels, point_handles
from headstart.figures.plot_tables import Tables, rows
from headstart.figures.style import (
    COLUMN_WIDTH,
    GREY,
    INK,
    SMALL,
    TEXT_WIDTH,
    MarkerStyle,
    marker_styles,
    new_figure,
    setting_styles,
    styled,
)
from headstart.figures.text_fitting import fitted, number
from headstart.predictors import UPSTREAM_ACCURACY, Predictor
from headstart.spec.display_names import in_order, role, setting_label

__all__ = [
    "draw_heatmap",
    "draw_ranks",
    "draw_scratch",
    "draw_settings",
    "select_ranks",
    "select_residuals",
    "select_scratch",
    "select_settings",
]

MOST_DATASETS = 8  # beside each other
GROUP = 0.78  # share of a dataset's width that its bars take
REFERENCE_DASHES = ("-", (0, (4, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.2, 1.2, 1.2)))


def select_settings(tables: Tables) -> pd.DataFrame:
    """Return the cells with a known accuracy."""
    columns = ["setting", "model", "dataset", "log_odds"]
    return rows(tables, "settings", "cells", columns, known=["log_odds"])


@styled
def draw_settings(tables: Tables, references: pd.DataFrame | None = None) -> Figure:
    """Draw, for each dataset, one bar per setting: the mean over models, with the models as points.

    Parameters
    ----------
    tables
        `cells`.
    references
        Lines to draw across a dataset's bars, such as the previous state of the art: columns
        dataset, accuracy (a proportion), label; those of other datasets are left out.
    """
    cells = select_settings(tables)
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


SETTING_NAME = 125  # points of a setting's name on its axis


def select_scratch(tables: Tables) -> pd.DataFrame:
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
def draw_scratch(tables: Tables) -> Figure:
    """Draw fine-tuned accuracy against that from scratch, with the line where both are equal.

    Parameters
    ----------
    tables
        `cells`.
    """
    pairs = select_scratch(tables)
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
        draw_pairs(axes, own, styles)
        axes.set(xlim=ends, ylim=ends, aspect="equal")
        percent_axis(axes.xaxis)
        percent_axis(axes.yaxis)
        axes.set_xlabel(f"{fitted(setting_label(scratch), SETTING_NAME, 7)}: accuracy (%)")
        axes.set_ylabel(f"{fitted(setting_label(tuned), SETTING_NAME, 7)}: accuracy (%)")
    add_legend(sheet.figure, handles, sheet.spare)
    return sheet.figure


def draw_pairs(axes: Axes, pairs: pd.DataFrame, styles: dict[str, MarkerStyle]) -> None:
    """Draw the points of each dataset, and the diagonal."""
    axes.axline((0, 0), slope=1, color=GREY, linewidth=0.8, zorder=1)
    for dataset, mark in styles.items():
        own = pairs[pairs["dataset"] == dataset]
        axes.plot(
            own["log_odds_scratch"], own["log_odds_tuned"], mark.shape, color=mark.colour,
            markersize=3.8, markeredgecolor="white", markeredgewidth=0.3, linestyle="none",
            zorder=3, label=dataset,
        )  # fmt: skip


RANK_ROW = 0.145  # inches per model
MODEL_NAME = 95  # points for a model's name
TALLEST_RANKS = 8.3  # inches of a panel: many models stand closer


def select_ranks(tables: Tables) -> pd.DataFrame:
    """Return the models with a rank."""
    columns = ["setting", "model", "family", "rank", "low", "high"]
    return rows(tables, "ranks", "ranks", columns, known=["rank"])


@styled
def draw_ranks(tables: Tables) -> Figure:
    """Draw each model's rank with its simultaneous confidence interval.

    Parameters
    ----------
    tables
        `ranks`.
    """
    ranks = select_ranks(tables)
    ranks["family"] = ranks["family"].fillna("other").astype(str)
    settings, styles = in_order(ranks["setting"]), marker_styles(ranks["family"])
    handles = point_handles(styles)
    sheet = panels(
        len(settings),
        columns=1 if len(settings) == 1 else 3,
        height=min(0.75 + RANK_ROW * ranks.groupby("setting").size().max(), TALLEST_RANKS),
        legend=handles,
        note="Ranks by mean log odds. "
        "Lines: 95% confidence intervals of the rank, simultaneous for all models. "
        "Bold: not significantly different from the best (the interval begins at 1).",
    )
    for index, (setting, axes) in enumerate(zip(settings, sheet.panels, strict=True)):
        draw_intervals(axes, ranks[ranks["setting"] == setting], styles)
        axes.set_title(setting_label(setting))
        if sheet.is_lowest(index):
            axes.set_xlabel("Rank")
    add_legend(sheet.figure, handles)
    return sheet.figure


def draw_intervals(axes: Axes, ranks: pd.DataFrame, styles: dict[str, MarkerStyle]) -> None:
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
        ranks.index, [fitted(name, MODEL_NAME, SMALL, weight="bold") for name in ranks["model"]]
    )
    for label, low in zip(axes.get_yticklabels(), ranks["low"], strict=True):
        label.set_fontweight("bold" if low <= 1 else "normal")
    axes.set_ylim(len(ranks) - 0.4, -0.6)
    last = np.nanmax(ranks[["rank", "high"]].to_numpy(dtype=float))
    axes.set_xlim(limits([1, last], 0.06, least=1.0))
    step = next((step for step in (1, 2, 5, 10, 20) if last <= 7 * step), 50)
    axes.set_xticks([1, *range(max(step, 2), int(last) + 1, step)])
    axes.tick_params(axis="y", length=0)


CELL_HEIGHT, CELL_WIDTH = 0.15, 0.42  # inches: room for a number
LABEL_LENGTH = 92  # points for a name that stands alone
TALLEST_HEATMAP = (
    9.2  # inches: of a page; more models than that stand without numbers, panels abreast
)
COLOURS = colormaps["RdBu"]


def select_residuals(tables: Tables, predictor: Predictor = UPSTREAM_ACCURACY) -> pd.DataFrame:
    """Return all cells if at least one has a residual."""
    columns = ["setting", "model", "dataset", predictor.column, "residual"]
    rows(tables, "heatmap", "cells", columns, known=["residual"], hint=predictor.hint)
    return rows(tables, "heatmap", "cells", columns)


@styled
def draw_heatmap(tables: Tables, predictor: Predictor = UPSTREAM_ACCURACY) -> Figure:
    """Draw the residuals from each dataset's line, one panel per setting.

    Parameters
    ----------
    tables
        `cells`.
    """
    cells = select_residuals(tables, predictor)
    settings, datasets = in_order(cells["setting"]), list(dict.fromkeys(cells["dataset"]))
    values = cells.groupby("model")[predictor.column].first()
    models = list(values.sort_values(ascending=False, kind="stable").index)
    deep = 0.25 + CELL_HEIGHT * len(models)
    stacked = (
        deep * len(settings) <= TALLEST_HEATMAP and len(datasets) * CELL_WIDTH <= TEXT_WIDTH - 1.2
    )
    figure, panels = grid(len(settings), len(datasets), deep, stacked, predictor)
    # One outlier must not make all others pale: the largest 2% share the strongest colours.
    sizes = np.abs(cells["residual"].to_numpy(dtype=float))
    largest = float(np.nanquantile(sizes, 0.98)) or 1.0
    norm = TwoSlopeNorm(0.0, -largest, largest)
    for index, (setting, axes) in enumerate(zip(settings, panels, strict=True)):
        own = cells[cells["setting"] == setting]
        table = own.pivot_table("residual", "model", "dataset", observed=True)
        values = table.reindex(index=models, columns=datasets).to_numpy(dtype=float)
        draw_residuals(axes, values, norm, numbers=stacked)
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


def grid(
    settings: int, datasets: int, deep: float, stacked: bool, predictor: Predictor
) -> tuple[Figure, list[Axes]]:
    """Return a figure with panels stacked, with numbers, or side by side, without."""
    note = (
        f"Models sorted by {predictor.label}, highest at the top. Residuals from each dataset's "
        f"least-squares line on {predictor.scale.label(predictor.label)}; blue: above the line. "
        "Hatched: no result."
    )
    if not stacked:
        figure = new_figure(min(deep, TALLEST_HEATMAP - 1.3) + 1.7, note=note)
        return figure, list(np.ravel(figure.subplots(1, settings)))
    width = min(max(1.9 + CELL_WIDTH * datasets, COLUMN_WIDTH), TEXT_WIDTH)
    figure = new_figure(max(deep * settings, 0.9) + 0.35, width=width, note=note)
    return figure, list(np.ravel(figure.subplots(settings, 1)))


def draw_residuals(
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
    axes.set_yticks(
        np.arange(len(models)) + 0.5, [fitted(name, LABEL_LENGTH, SMALL) for name in models]
    )
    room, most = (LABEL_LENGTH, 1) if upright else (72 * CELL_WIDTH, 3)
    names = [fitted(name, room, SMALL, most=most) for name in datasets]
    axes.set_xticks(np.arange(len(names)) + 0.5, names, rotation=90 if upright else 0)
