"""Charts of sweeps: upstream training choices, convergence, size of the training set."""

from textwrap import wrap
from typing import Any

import altair as alt

from headstart.report.chart_style import (
    Chart,
    PageFigure,
    equal,
    finished,
    log_odds_scale,
    named,
    own_colour,
    own_shape,
    text,
    tooltips,
)
from headstart.report.page_model import Names, Subject

__all__ = [
    "ablation_figure",
    "convergence_figure",
    "size_figure",
]

COLOUR = "setting_colour"
SHAPE = own_shape("setting_shape")
MEAN = "Mean log odds of transfer"
# Pixels per configuration, whose name takes up to three lines.
CONFIGURATION = 46
POINTS = {"filled": True, "size": 55, "opacity": 1}


def mean_axis(title: str | None = MEAN) -> Any:
    return alt.Y("mean:Q", title=title, scale=log_odds_scale())


def lines(rows: Any, x: Any, hover: list[Any], title: str | None = MEAN) -> Any:
    """Draw one line per setting and model, with error bars where they are known."""
    colour, y = own_colour(COLOUR), mean_axis(title)
    parts = alt.Detail(["setting:N", "model:N"])
    return alt.layer(
        rows.mark_rule(strokeWidth=1.4, opacity=0.6).encode(
            x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour
        ),
        rows.mark_line(strokeWidth=1.6, tooltip=None).encode(x=x, y=y, color=colour, detail=parts),
        rows.mark_point(**POINTS).encode(x=x, y=y, color=colour, shape=SHAPE, tooltip=hover),
    )


def ablation_figure(subject: Subject) -> PageFigure | None:
    """Draw mean log odds against training configuration, one line per model and setting."""
    table = subject.ablation
    if not len(table):
        return None
    order = [str(name) for name in table.sort_values("position").configuration.drop_duplicates()]
    models = list(dict.fromkeys(table.model))
    hover = tooltips(
        model="model",
        setting_label="setting",
        configuration="training",
        predictor_text=subject.predictor.label,
        mean_text="mean log odds",
        interval="one standard error",
    )
    charts = []
    for model in models:
        rows = named("ablation", "setting", "model").transform_filter(equal("model", str(model)))
        description = f"{model}: mean log odds of transfer by training configuration"
        here = set(table[table.model == model].configuration)
        y = ablation_axis([name for name in order if name in here])
        spec = finished(ablation_chart(rows, y, hover), description, CONFIGURATION * len(here))
        charts.append(Chart(str(model), description, spec))
    return PageFigure(
        key="ablation",
        title="How does transfer depend on upstream training choices?",
        caption=(
            "Each point is one upstream training configuration, in the order given"
            f"; {bars_caption(table, 'se', 'one standard error')}"
        ),
        charts=charts,
        legend="settings",
        settings=tuple(table.setting.unique()),
    )


def bars_caption(table: Any, column: str, what: str) -> str:
    """Return what the error bars show, or that there are none."""
    known = table[column].notna()
    if not known.any():
        return "no error bars are available."
    return f"error bars show {what}{'' if known.all() else ', where known'}."


def size_caption(table: Any) -> str:
    """Return how many random subsets a point averages, and what its error bar shows."""
    few, most = int(table.n_seeds.min()), int(table.n_seeds.max())
    if most == 1:
        return "Each point is a single random subset: the variation between subsets is unknown."
    subsets = f"{most}" if few == most else f"{few} to {most}"
    bars = bars_caption(table, "se", "one standard error over subsets")
    return f"Mean log odds over {subsets} random subsets; {bars}"


def ablation_axis(order: list[str]) -> Any:
    """Return a vertical axis with one row per configuration, its name in short lines."""
    broken = "{" + ", ".join(f"{text(n)}: {text(wrapped(n))}" for n in order) + "}"
    label = f"split({broken}[datum.label], '|')"
    # Lines hang from their row: half the text has to stand above it.
    most = max(wrapped(name).count("|") for name in order)
    axis = alt.Axis(title=None, grid=True, labelExpr=label, labelLimit=170, labelOffset=-6 * most)
    return alt.Y("configuration:N", sort=order, axis=axis)


def wrapped(name: str) -> str:
    """Break a name into lines of a label."""
    return "|".join(wrap(name.replace("|", "/"), 26)) or name


def ablation_chart(rows: Any, y: Any, hover: list[Any]) -> Any:
    """Draw one row per configuration: names may be sentences, too long to go below an axis."""
    colour = own_colour(COLOUR)
    x = alt.X("mean:Q", title=MEAN, scale=log_odds_scale())
    path = alt.Order("position:Q")
    return alt.layer(
        rows.mark_rule(strokeWidth=1.4, opacity=0.6).encode(
            x=alt.X("low:Q"), x2="high:Q", y=y, color=colour
        ),
        rows.mark_line(strokeWidth=1.6, tooltip=None).encode(x=x, y=y, color=colour, order=path),
        rows.mark_point(**POINTS).encode(x=x, y=y, color=colour, shape=SHAPE, tooltip=hover),
    )


def convergence_figure(subject: Subject) -> PageFigure | None:
    """Draw mean log odds against training steps, on a logarithmic axis."""
    table = subject.convergence
    if not len(table):
        return None
    hover = tooltips(
        model="model",
        setting_label="setting",
        steps="steps",
        mean_text="mean log odds",
        interval="95 % interval",
    )
    axis = alt.Axis(format="~s", grid=False)
    x = alt.X(
        "steps:Q",
        title="Training steps",
        scale=alt.Scale(type="log", nice=False, padding=10),
        axis=axis,
    )
    charts = []
    for model in dict.fromkeys(table.model):
        rows = named("convergence", "setting", "model").transform_filter(equal("model", str(model)))
        description = f"{model}: mean log odds of transfer against training steps"
        charts.append(Chart(str(model), description, finished(lines(rows, x, hover), description)))
    return PageFigure(
        key="convergence",
        title="Convergence speed",
        caption=(
            "Each point is a separate run with its own schedule; the axis of steps is logarithmic; "
            + bars_caption(table, "low", "95 % confidence intervals")
        ),
        charts=charts,
        legend="settings",
        settings=tuple(table.setting.unique()),
    )


def size_figure(subject: Subject, names: Names) -> PageFigure | None:
    """Draw log odds against examples per class, one panel per dataset."""
    table = subject.dataset_size
    if not len(table):
        return None
    axis = alt.Axis(format="~s", grid=False)
    scale = alt.Scale(type="log", base=2, nice=False, padding=8)
    x = alt.X("examples_per_class:Q", title="Examples per class", scale=scale, axis=axis)
    hover = tooltips(
        model="model",
        setting_label="setting",
        dataset="dataset",
        examples_per_class="examples per class",
        mean_text="log odds",
        interval="one standard error",
    )
    charts = []
    for dataset in [name for name in names.datasets if name in set(table.dataset)]:
        rows = named("dataset_size", "setting", "model").transform_filter(equal("dataset", dataset))
        description = f"{dataset}: log odds against examples per class"
        spec = finished(lines(rows, x, hover, title=None), description, 190)
        charts.append(Chart(dataset, description, spec, dataset=dataset))
    return PageFigure(
        key="dataset-size",
        title="How does accuracy depend on the size of the training set?",
        caption=size_caption(table),
        charts=charts,
        legend="settings",
        settings=tuple(table.setting.unique()),
        narrow=True,
    )
