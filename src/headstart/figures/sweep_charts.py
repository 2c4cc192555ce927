"""Charts of sweeps: training configurations, steps, examples per class."""

from collections.abc import Iterable, Mapping
from functools import partial
from textwrap import wrap
from typing import Any

import altair as alt
import pandas as pd

from headstart.figures import encodings as enc
from headstart.figures.encodings import equal, from_row, quoted
from headstart.figures.figure import Figure
from headstart.figures.figure_data import FigureData
from headstart.figures.panel import Note, Panel, PlotArea, abreast, legend_of, setting_legend
from headstart.figures.style import Style, marker_styles
from headstart.predictors import UPSTREAM_ACCURACY
from headstart.spec.formatting import in_order, setting_label, short_configuration

__all__ = ["draw_ablation", "draw_convergence", "draw_sizes"]

MEAN = "Mean log odds of transfer"
NARROWEST = 240.0  # pixels of a plot beside its names on the page
LABEL, PAGE_LABEL = 26, 18  # characters of a line of a configuration's name, in print and there
ABOUT = {"model": "model", "setting_label": "setting"}


def draw_ablation(data: FigureData) -> Figure:
    """Draw mean log odds per training configuration, one panel per setting, the predictor beside.

    A row per configuration; of "S1: what it is" a page has S1 there, and the rest in the caption.
    """
    table = data.ablation.sort_values("position", kind="stable")
    names = row_labels(data, map(str, table["configuration"]))
    labels = list(names.values())
    explained = [name for name, label in names.items() if name.startswith(f"{label}: ")]
    height = sum(max(30, 14 * (label.count("\n") + 1) + 8) for label in labels)
    panels = [
        Panel(
            partial(ablation_chart, data, setting, names),
            setting_label(setting),
            f"{setting_label(setting)}: mean log odds of transfer by training configuration",
            height=height,
            setting=setting,
            y_labels=labels,
        )
        for setting in in_order(table["setting"])
    ]
    if data.ablation["x"].notna().any():
        upstream = data.predictor.column == UPSTREAM_ACCURACY.column
        title = "Upstream" if upstream else data.predictor.label
        panels.append(
            Panel(
                partial(ablation_chart, data, None, names),
                title,
                f"{data.predictor.label} by training configuration",
                height=height,
                y_labels=labels,
            )
        )
    return Figure(
        "ablation",
        "How does transfer depend on upstream training choices?",
        "Each point is one upstream training configuration, in the order given; "
        + " ".join(
            [
                bars_caption(data.ablation, "one standard error over datasets"),
                *([f"{'; '.join(explained)}."] if explained else []),
            ]
        ),
        panels,
        data,
        legend_of(marker_styles(table["model"].astype(str), "other models"), "line"),
        columns=min(4, len(panels)),
        shared_names=True,
    )


def ablation_chart(
    data: FigureData, setting: str | None, labels: Mapping[str, str], place: PlotArea
) -> Any:
    """Draw one row per configuration: the means of a setting; the predictor without one."""
    points = enc.named(data, "ablation", "model")
    name, table = "mean", data.ablation
    if setting is None:
        # On the page the names take their share of the panel.
        width = NARROWEST if data.interactive else place.width
        name, title = "x", enc.predictor_title(data, width)
        points = points.transform_filter("isValid(datum.x)").transform_aggregate(
            x="mean(x)", groupby=["model", "model_colour", "model_shape", "configuration",
                                  "position", "predictor_text"],
        )  # fmt: skip
        ends = enc.domain(table["x"], 0.1)
        axis = alt.Axis(title=title, grid=False, tickCount=4)
        if data.predictor.scale.name == "proportion":
            axis = enc.odds_axis(title, ends, width)
        hover = {"model": "model", "configuration": "training",
                 "predictor_text": data.predictor.label}  # fmt: skip
    else:
        points = points.transform_filter(equal("setting", setting))
        ends = enc.domain(table.loc[table["setting"] == setting, ["mean", "low", "high"]], 0.1)
        axis = alt.Axis(title=MEAN, grid=False, tickCount=4)
        hover = {**ABOUT, "configuration": "training", "predictor_text": data.predictor.label,
                 "mean_text": "mean log odds", "interval": "one standard error"}  # fmt: skip
    x = alt.X(f"{name}:Q", axis=axis, scale=enc.scale(data, ends))
    broken = ", ".join(f"{quoted(name)}: {quoted(label)}" for name, label in labels.items())
    # Lines hang from their row: half the text has to stand above it.
    most = max(label.count("\n") for label in labels.values())
    names = alt.Axis(
        title=None, grid=True, labels=place.left,  labelOffset=-6 * most,
        labelExpr=f"split({{{broken}}}[datum.label], '\\n')",
    )  # fmt: skip
    y = alt.Y("configuration:N", sort=list(labels), axis=names)
    styles = marker_styles(table["model"].astype(str))
    bars = enc.error_bars(points, ("low", "high"), "model_", y=y, width=1.4, opacity=0.6)
    by_position = {"detail": ["model:N"], "order": alt.Order("position:Q")}
    curves = lines(points, x, y, "model", styles, hover=hover, **by_position)
    return alt.layer(*[bars] * (name == "mean"), *curves)


def row_labels(data: FigureData, names: Iterable[str]) -> dict[str, str]:
    """Return the label of each configuration: a short one on a page, if all differ; else lines."""
    short = {name: short_configuration(name) for name in names}
    if data.interactive and len(set(short.values())) == len(short):
        return short
    width = PAGE_LABEL if data.interactive else LABEL
    return {name: "\n".join(wrap(name, width)) or name for name in short}


def bars_caption(table: pd.DataFrame, what: str, column: str = "se") -> str:
    """Return what the error bars show, or that there are none."""
    known = table[column].notna()
    if not known.any():
        return "no error bars are available."
    return f"error bars show {what}{'' if known.all() else ', where known'}."


def lines(
    points: Any, x: Any, y: Any, style: str, styles: Mapping[str, Style], *,
    hover: Mapping[str, str], **more: Any,
) -> list[Any]:  # fmt: skip
    """Draw lines and symbols in the `styles` of a column, their dashes by its names."""
    dashes = [list(one.dashes) or [1, 0] for one in styles.values()]
    dash = alt.StrokeDash(f"{style}:N", legend=None,
                          scale=alt.Scale(domain=list(styles), range=dashes))  # fmt: skip
    curves = points.mark_line(strokeWidth=1.6, tooltip=None, aria=False)
    return [
        curves.encode(x, y, from_row(alt.Color, f"{style}_colour"), dash, **more),
        enc.symbols(points, x, y, f"{style}_", hover=hover, size=55),
    ]


def lines_by_setting(
    data: FigureData, points: Any, x: Any, y: Any, hover: Mapping[str, str]
) -> list[Any]:
    """Draw one line per setting and model, with error bars where they are known."""
    bars = enc.error_bars(points, ("low", "high"), "setting_", x=x, width=1.4, opacity=0.6)
    by = ["setting:N", "model:N"]
    return [bars, *lines(points, x, y, "setting", data.setting_styles, hover=hover, detail=by)]


def draw_convergence(data: FigureData) -> Figure:
    """Draw mean log odds against steps, one panel per model, with the steps to 90 %.

    The marks are the geometric means, over the datasets of a model and setting, of the table
    `reached`. A line without such rows has no mark.
    """
    table = data.convergence
    models = sorted(set(table["model"]))
    settings = in_order(table["setting"])
    dotted = (
        " Dotted lines, and the numbers above the chart: steps to 90 % of the largest odds "
        "(geometric mean over datasets)." if len(data.reached) else ""
    )  # fmt: skip
    return Figure(
        "convergence",
        "Convergence speed",
        "Each point is a separate run with its own schedule; the axis of steps is logarithmic; "
        + bars_caption(data.convergence, "95 % confidence intervals", "low") + dotted,
        [
            Panel(
                partial(convergence_chart, data, model),
                str(model),
                f"{model}: mean log odds of transfer against training steps",
                height=260,
                notes=reached_notes(data, model),
            )
            for model in models
        ],
        data,
        setting_legend(data, settings, "line"),
    )  # fmt: skip


def reached_notes(data: FigureData, model: str) -> list[Note]:
    """Return the steps to 90 % of the largest odds in each setting that has them."""
    own = data.reached[data.reached["model"] == model].set_index("setting")
    return [
        Note(
            ("at most " if own.loc[name, "at_first"] else "")
            + f"{own.loc[name, 'steps']:,.0f} steps",
            data.setting_styles[name].colour,
            name,
        )
        for name in in_order(data.convergence.loc[data.convergence["model"] == model, "setting"])
        if name in own.index
    ]


def convergence_chart(data: FigureData, model: str, place: PlotArea) -> Any:
    table = data.convergence
    own = table[table["model"] == model]
    steps = alt.Scale(type="log", nice=False, padding=10)
    title = "Training steps (log scale)" if place.lowest else None
    ticks = enc.log_ticks(own["steps"])
    axis = alt.Axis(format=",", grid=False, title=title, values=ticks, tickCount=len(ticks))
    x = alt.X("steps:Q", scale=steps, axis=axis)
    ends = enc.domain(own[["mean", "low", "high"]], 0.1)
    y = alt.Y("mean:Q", title=MEAN if place.left else None, scale=enc.scale(data, ends))
    hover = {**ABOUT, "steps": "steps", "mean_text": "mean log odds", "interval": "95 % interval"}
    points, marks = (
        enc.named(data, name, "setting", "model", model=model)
        for name in ("convergence", "reached")
    )
    dotted = marks.mark_rule(strokeWidth=1.2, strokeDash=[1, 3], tooltip=None, aria=False)
    return alt.layer(
        dotted.encode(x=x, color=from_row(alt.Color, "setting_colour")),
        *lines_by_setting(data, points, x, y, hover),
    )


def draw_sizes(data: FigureData) -> Figure:
    """Draw accuracy against examples per class, one panel per dataset, one line per setting."""
    table = data.dataset_size
    datasets = data.names_in(table, "dataset")
    settings = in_order(table["setting"])
    few = len(datasets) < 3
    return Figure(
        "dataset-size",
        "How does accuracy depend on the size of the training set?",
        size_caption(table),
        [
            Panel(
                partial(size_chart, data, dataset),
                dataset,
                f"{dataset}: accuracy against examples per class",
                height=210 if few else 160,
                dataset=dataset,
            )
            for dataset in datasets
        ],
        data,
        setting_legend(data, settings, "line"),
        columns=abreast(len(datasets)),
        narrow=True,
    )


def size_caption(table: pd.DataFrame) -> str:
    """Return how many random subsets a point averages, and what its error bar shows."""
    seeds = table["n_seeds"] if "n_seeds" in table else pd.Series([1])
    few, most = int(seeds.min()), int(seeds.max())
    if most == 1:
        return "Each point is a single random subset: the variation between subsets is unknown."
    subsets = f"{most}" if few == most else f"{few} to {most}"
    bars = bars_caption(table, "one standard error over subsets")
    return f"Mean log odds over {subsets} random subsets; {bars}"


def size_chart(data: FigureData, dataset: str, place: PlotArea) -> Any:
    table = data.dataset_size
    own = table[table["dataset"] == dataset]
    ends = enc.domain(own[["mean", "low", "high"]], 0.08)
    sizes = alt.Scale(type="log", base=2, nice=False, padding=8)
    title = "Examples per class" if place.lowest else None
    x = alt.X("examples_per_class:Q", scale=sizes, axis=alt.Axis(
        title=title, format="~s", grid=False, labelOverlap="greedy"))  # fmt: skip
    axis = enc.accuracy_axis(ends, place)
    y = alt.Y("mean:Q", scale=enc.scale(data, ends), axis=axis)
    hover = {**ABOUT, "dataset": "dataset", "examples_per_class": "examples per class",
             "mean_text": "log odds", "interval": "one standard error"}  # fmt: skip
    points = enc.named(data, "dataset_size", "setting", "model", dataset=dataset)
    return alt.layer(*lines_by_setting(data, points, x, y, hover))
