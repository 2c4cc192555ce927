"""Charts with one row per model or dataset: means, settings, ranks, residuals."""

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from headstart.errors import AnalysisError
from headstart.figures import encodings as enc
from headstart.figures.encodings import WHOLE, equal, from_row
from headstart.figures.figure import Figure
from headstart.figures.figure_data import FigureData, log_odds
from headstart.figures.figure_text import text_width
from headstart.figures.panel import (
    CROWD,
    MOST_ROWS,
    ROW,
    LegendEntry,
    Panel,
    PlotArea,
    legend_of,
    setting_legend,
)
from headstart.figures.style import DASHES, Style, residual_steps
from headstart.spec.formatting import in_order, number, setting_label

__all__ = ["draw_heatmap", "draw_models", "draw_ranks", "draw_settings"]


def model_axis(data: FigureData, field: str = "model_place", **more: Any) -> Any:
    """Return the vertical encoding with one row per model, in the order of `field`."""
    order = alt.EncodingSortField(field=field, op="min", order="ascending")
    axis = enc.name_axis(**{"grid": True, **more}, affixes=data.affixes, head=data.head)
    return alt.Y("model:N", sort=order, axis=axis)


def short_names(data: FigureData, models: Iterable[str]) -> list[str]:
    return list(map(data.affixes.short, models))[:MOST_ROWS]


def accuracies_across(data: FigureData, ends: tuple[float, float], place: PlotArea) -> Any:
    """Return the axis of accuracies of a chart that has the width of the page."""
    length = enc.PAGE if data.interactive else place.width
    return enc.odds_axis(enc.ACCURACY, ends, length, grid=True)


def first_rows(points: Any, field: str = "model_place") -> Any:
    """Keep the first rows; the page shows the others on demand."""
    return points.transform_filter(f"datum.{field} < {MOST_ROWS} || show_all")


def draw_models(data: FigureData) -> Figure:
    """Draw the mean log odds of every model in every setting."""
    settings = data.names_in(data.means, "setting")
    models = data.names_in(data.means, "model")
    several = len(settings) > 1
    bars = ", with 95 % confidence intervals" if data.means["low"].notna().any() else (
        ", with one standard error" if data.means["se"].notna().any() else "; no intervals"
    )  # fmt: skip
    means = "Mean log odds of a correct prediction per model"
    if data.one_dataset:
        means = "Accuracy per model, on a logit scale"
        bars = f"{bars} from the test-set size" if "95" in bars else bars
    return Figure(
        "models",
        "How do the settings compare?" if several else "How do the models compare?",
        f"{means}{bars}"
        + ("; models are sorted by the first setting." if several else ".")
        + data.left_out,
        [
            Panel(
                partial(models_chart, data),
                "",
                "Mean log odds of transfer per model, one point per setting",
                height=ROW * min(len(models), MOST_ROWS),
                y_labels=short_names(data, models),
            )
        ],
        data,
        setting_legend(data, settings),
        models=len(models),
    )


def models_chart(data: FigureData, place: PlotArea) -> Any:
    points = first_rows(enc.mean_points(data))
    shown = data.means[data.means["model_place"] < MOST_ROWS]
    ends = enc.domain(shown[["mean", "mean_low", "mean_high"]])
    axis, about = alt.Axis(title="Mean log odds of transfer"), "mean log odds"
    if data.one_dataset:
        axis, about = accuracies_across(data, ends, place), "accuracy"
    x, y = alt.X("mean:Q", axis=axis, scale=enc.scale(data, ends)), model_axis(data)
    hover = {"model": "model", "setting_label": "setting", "mean_text": about,
             "interval": "95 % interval"}  # fmt: skip
    whole = points.transform_filter(WHOLE)
    return alt.layer(
        enc.error_bars(whole, ("mean_low", "mean_high"), "setting_", y=y, width=2, opacity=0.45),
        enc.symbols(points, x, y, "setting_", ["model", "setting_label", "mean_text"],
                    hover=hover, size=60),
    )  # fmt: skip


SETTING_ROW = 15.0  # pixels of a setting within a dataset's row
BETWEEN = 12.0  # pixels between rows of datasets


def draw_settings(data: FigureData, references: pd.DataFrame | None = None) -> Figure:
    """Draw, for each dataset and setting, the mean over models, and the models as points.

    `references` are lines across a dataset's row, such as the previous state of the art: columns
    dataset, accuracy (a proportion), label; those of other datasets are left out.
    """
    cells = data.cells
    settings = in_order(cells["setting"])
    datasets = data.names_in(cells, "dataset")
    lines = reference_lines(references, datasets)
    styles = [Style(str(label), "var(--ink)", "", "", DASHES[i % len(DASHES)])
              for i, label in enumerate(dict.fromkeys(lines["label"]))]  # fmt: skip
    crowded = cells["model"].nunique() > CROWD
    points = "thin lines: all models; thick lines: the middle half" if crowded else (
        "points: individual models")  # fmt: skip
    return Figure(
        "settings",
        f"How do the {'settings' if len(settings) > 1 else 'models'} compare on each dataset?",
        f"Upright bars: mean over models in log odds; {points}. The axis is on a logit scale: "
        "equal distances are equal odds ratios.",
        [
            Panel(
                partial(settings_chart, data, settings, lines, styles, crowded),
                "",
                "Accuracy per dataset and setting: the mean over models, and each model",
                height=len(datasets) * (SETTING_ROW * len(settings) + BETWEEN),
                y_labels=datasets,
            )
        ],
        data,
        [*setting_legend(data, settings), *[LegendEntry(style, "line") for style in styles]],
    )


def settings_chart(
    data: FigureData, settings: list[str], lines: pd.DataFrame, styles: Sequence[Style],
    crowded: bool, place: PlotArea,
) -> Any:  # fmt: skip
    ends = enc.domain(np.append(data.cells["log_odds"], lines["log_odds"]))
    places = enc.scale(data, ends)
    percents = accuracies_across(data, ends, place)

    def x(field: str) -> Any:
        return alt.X(f"{field}:Q", scale=places, axis=percents)

    axis = enc.name_axis(grid=False)
    apart = alt.Scale(paddingInner=BETWEEN / (SETTING_ROW * len(settings) + BETWEEN))
    y = alt.Y("dataset:N", sort=data.names.datasets, axis=axis, scale=apart)
    row = alt.YOffset("setting:N", sort=settings, scale=alt.Scale(domain=settings))
    colour = from_row(alt.Color, "setting_colour")
    cells = enc.named(data, "cells", "setting", "dataset", "model")
    keys = ["dataset", "setting", "setting_label", "setting_colour"]
    summary = cells.transform_aggregate(
        mean="mean(log_odds)", low="min(log_odds)", high="max(log_odds)", q1="q1(log_odds)",
        q3="q3(log_odds)", groupby=keys,
    ).transform_calculate(
        mean_text="format(100 / (1 + exp(-datum.mean)), '.2f') + ' %'"
    )  # fmt: skip
    hover = {"model": "model", "dataset": "dataset", "setting_label": "setting",
             "accuracy_text": "accuracy", "interval": "95 % interval"}  # fmt: skip
    layers = [
        summary.mark_rule(strokeWidth=width, opacity=0.5, aria=False).encode(
            x=x(low), x2=f"{high}:Q", y=y, yOffset=row, color=colour
        )
        for low, high, width in (("low", "high", 1), ("q1", "q3", 5)) * crowded
    ]
    if not crowded:
        marks = enc.symbols(cells, x("log_odds"), y, "setting_",
                            ["model", "dataset", "setting_label", "accuracy_text"],
                            hover=hover, size=26, opacity=0.75)  # fmt: skip
        layers.append(marks.encode(yOffset=row))
    ticks = summary.mark_tick(thickness=2.5, size=SETTING_ROW - 2, opacity=1)
    about = enc.tooltips(dataset="dataset", setting_label="setting", mean_text="mean over models")
    label = enc.aria_label("dataset", "setting_label", "mean_text")
    layers.append(ticks.encode(x("mean"), y, colour, label, yOffset=row, tooltip=about))
    top = alt.Y("dataset:N", sort=data.names.datasets, bandPosition=0)
    for style in styles:
        own = lines.loc[lines["label"].astype(str) == style.label, ["dataset", "log_odds"]]
        rules = alt.Chart(alt.InlineData(values=own.to_dict("records"))).mark_rule(
            color=style.colour, strokeWidth=1.5, strokeDash=list(style.dashes) or [1, 0]
        )
        bottom = alt.Y2("dataset:N", bandPosition=1)
        layers.append(rules.encode(x("log_odds"), top, y2=bottom))
    return alt.layer(*layers)


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
            code="figure.column_missing", figure="settings", table="references", missing=lacking,
        )  # fmt: skip
    own = references[references["dataset"].isin(datasets)].dropna(subset="accuracy")
    values = own["accuracy"].to_numpy(dtype=float)
    if ((values < 0) | (values > 1)).any():
        wrong = float(values[(values < 0) | (values > 1)][0])
        raise AnalysisError(
            "references of figure 'settings' need accuracies as proportions from 0 to 1, "
            f"found {wrong:g}: divide percentages by 100",
            code="figure.references_unit", value=wrong,
        )  # fmt: skip
    return own.assign(log_odds=log_odds(values))


def draw_ranks(data: FigureData) -> Figure:
    """Draw each model's rank with its simultaneous confidence interval."""
    ranks = data.ranks
    settings = in_order(ranks["setting"])
    most = int(ranks.groupby("setting").size().max())
    return Figure(
        "ranks",
        "How certain are the ranks?",
        "Points: rank by mean log odds. Lines: 95 % simultaneous confidence interval of the rank. "
        "Filled: not significantly different from the best (the interval includes rank 1)."
        + data.left_out,
        [
            Panel(
                partial(ranks_chart, data, setting),
                setting_label(setting),
                f"{setting_label(setting)}: ranks of the models with their intervals",
                height=ROW * min(int((ranks["setting"] == setting).sum()), MOST_ROWS),
                setting=setting,
                y_labels=short_names(data, ranks.loc[ranks["setting"] == setting, "model"]),
            )
            for setting in settings
        ],
        data,
        legend_of(data.styles_in(ranks)),
        columns=min(len(settings), 3),
        models=most,
    )  # fmt: skip


def ranks_chart(data: FigureData, setting: str, place: PlotArea) -> Any:
    ranks = data.ranks[data.ranks["setting"] == setting]
    first = ranks[ranks["place"] < MOST_ROWS]
    last, every = (int(np.nanmax(some[["rank", "high"]].to_numpy(dtype=float)))
                   for some in (first, ranks))  # fmt: skip
    room = min(place.width, 150) if data.interactive else place.width
    end, ticks = last + 0.5, rank_ticks(last, room)
    if data.interactive and last < every:
        of_all = rank_ticks(every, room)
        end = alt.ExprRef(f"show_all ? {every + 0.5} : {end}")
        ticks = alt.ExprRef(f"show_all ? {of_all} : {ticks}")
    axis = alt.Axis(
        title="Rank" if place.lowest else None, format="d", values=ticks, tickCount=every,
        grid=False, labelOverlap=False,
    )  # fmt: skip
    ends = alt.Scale(domainMin=0.5, domainMax=end, nice=False, zero=False)
    x = alt.X("rank:Q", axis=axis, scale=ends)
    points = first_rows(enc.named(data, "ranks", "model"), "place")
    points = points.transform_filter(equal("setting", setting))
    y = model_axis(data, "place")
    hover = enc.tooltips(
        model="model", family="family", rank="rank", interval="95 % simultaneous interval"
    )
    marks = points.mark_point(size=55, opacity=1, strokeWidth=1.5)
    filled = alt.condition(
        "datum.low <= 1", from_row(alt.Fill, "colour"), alt.value("var(--paper)")
    )
    return alt.layer(
        enc.error_bars(points, ("low", "high"), y=y, width=3, opacity=0.4),
        marks.encode(
            x, y, enc.aria_label("model", "rank", "interval"), from_row(alt.Shape, "shape"),
            stroke=from_row(alt.Stroke, "colour"), fill=filled, tooltip=hover,
        ),
    )  # fmt: skip


def rank_ticks(last: int, room: float) -> list[int]:
    """Return the ranks to label on an axis of so many pixels, the first always.

    Examples
    --------
    >>> rank_ticks(16, 150), rank_ticks(200, 150)
    ([1, 4, 7, 10, 13, 16], [1, 50, 100, 150, 200])
    """
    most = max(2.0, room / (text_width(str(last)) + 12))
    step = next((step for step in (1, 2, 3, 5, 10, 20, 50, 100) if last <= most * step), 200)
    return [*range(1, last + 1, step)] if step < 5 else [1, *range(step, last + 1, step)]


# Pixels: height of a cell, its width with a number, its width on the page.
CELL, NARROWEST, WIDEST = 17.0, 34.0, 90.0


def draw_heatmap(data: FigureData) -> Figure:
    """Draw the residuals from each dataset's line, one panel per setting."""
    cells = data.cells[data.cells["residual"].notna()]
    settings = in_order(cells["setting"])
    models = data.names_in(cells, "model")
    # The largest 2 % would leave all others pale.
    limits, colours = residual_steps(cells["residual"].astype(float).abs().quantile(0.98))
    height = CELL * min(len(models), MOST_ROWS)
    stacked = height * len(settings) <= 850
    return Figure(
        "heatmap",
        f"Which models do better or worse than their {data.predictor.label} predicts?",
        "Each cell is a model's log odds minus the prediction of the dataset's least-squares line "
        f"on {data.predictor.scale.label(data.predictor.label)}. Models are sorted as in the "
        "tables. \N{MULTIPLICATION SIGN}: no result." + data.left_out,
        [
            Panel(
                partial(residuals_chart, data, setting, set(models), limits, colours),
                setting_label(setting),
                f"{setting_label(setting)}: residuals of every model on every dataset",
                height=height,
                setting=setting,
                y_labels=short_names(data, models),
                x_labels=data.names_in(cells, "dataset"),
                widest=180 + WIDEST * cells["dataset"].nunique(),
            )
            for setting in settings
        ],
        data,
        [
            LegendEntry(Style(label, colour, "", ""), "box")
            for label, colour in zip(step_labels(limits), colours, strict=True)
        ],
        columns=1 if stacked else len(settings),
        wide=cells["dataset"].nunique() > 5,
        shared_names=True,
        models=len(models),
    )


def step_labels(limits: list[float]) -> list[str]:
    """Return the label of each step of the residuals.

    Examples
    --------
    >>> step_labels([0.095, 0.495])
    ['up to +0.09', '+0.10 to +0.49', 'from +0.50']
    """
    # The numbers of two digits next to a limit.
    ends = [(number(limit - 0.005, plus=True), number(limit + 0.005, plus=True))
            for limit in limits]  # fmt: skip
    middle = [f"{low} to {high}" for (_, low), (high, _) in pairwise(ends)]
    return [f"up to {ends[0][0]}", *middle, f"from {ends[-1][1]}"]


def residuals_chart(
    data: FigureData, setting: str, models: set[str], limits: list[float], colours: list[str],
    place: PlotArea,
) -> Any:  # fmt: skip
    """Draw one row per model, one column per dataset; wide cells have their number in print."""
    cells = data.cells[data.cells["residual"].notna()]
    datasets = data.names_in(cells, "dataset")
    own = cells[cells["setting"] == setting]
    axis = enc.name_axis(labelAngle=-90, labels=place.lowest)
    x = alt.X("dataset:N", sort=datasets, axis=axis)
    y = model_axis(data, grid=False, labels=place.left)
    steps = alt.Scale(type="threshold", domain=limits, range=colours)
    hover = enc.tooltips(
        model="model", dataset="dataset", accuracy_text="accuracy", interval="95 % interval",
        residual_text="residual (log odds)",
    )  # fmt: skip
    points = (
        first_rows(enc.named(data, "cells", "dataset", "model"))
        .transform_filter(equal("setting", setting))
        .transform_filter("isValid(datum.residual)")
    )
    boxes = points.mark_rect(stroke="var(--paper)", strokeWidth=1)
    layers = [
        boxes.encode(
            x, y, alt.Color("residual:Q", scale=steps, legend=None),
            enc.aria_label("model", "dataset", "residual_text"), tooltip=hover,
        )
    ]  # fmt: skip
    there = set(zip(own["model"], own["dataset"], strict=True))
    missing = [
        {"model": model, "dataset": dataset, "model_place": row}
        for row, model in enumerate(data.names.models)
        if model in models and (data.interactive or row < MOST_ROWS)
        for dataset in datasets
        if (model, dataset) not in there
    ]
    if missing:
        signs = first_rows(alt.Chart(alt.InlineData(values=missing)))
        if data.interactive:
            signs = signs.transform_filter(enc.visible("dataset"))
            signs = signs.transform_filter(enc.visible("model"))
        signs = signs.mark_text(text="\N{MULTIPLICATION SIGN}", color="var(--soft)", aria=False)
        layers.append(signs.encode(x, y))
    if not data.interactive and place.width / len(datasets) >= NARROWEST:
        dark = f"datum.residual < {limits[0]} || datum.residual >= {limits[-1]}"
        texts = points.mark_text(fontSize=10.5).encode(
            x, y, text="residual_text:N",
            color=alt.condition(dark, alt.value("var(--paper)"), alt.value("var(--ink)")),
        )  # fmt: skip
        layers.append(texts)
    return alt.layer(*layers)
