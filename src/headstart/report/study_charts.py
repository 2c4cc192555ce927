"""The further studies: training choices, convergence, size of the training set."""

from textwrap import wrap
from typing import Any

import altair as alt

from headstart.report.chart_parts import (
    Chart,
    Figure,
    equal,
    finished,
    log_odds_scale,
    named,
    own_colour,
    own_shape,
    text,
    tooltips,
)
from headstart.report.subject import Names, Subject

__all__ = ["ablation_figure", "convergence_figure", "size_figure"]

COLOUR = "setting_colour"
SHAPE = own_shape("setting_shape")
MEAN = "Mean log odds of transfer"
# Height of a configuration, whose name takes up to three lines.
CONFIGURATION = 46
POINTS = {"filled": True, "size": 55, "opacity": 1}


def mean_axis(title: str | None = MEAN) -> Any:
    return alt.Y("mean:Q", title=title, scale=log_odds_scale())


def lines(rows: Any, x: Any, hover: list[Any], title: str | None = MEAN) -> Any:
    """A line a setting and model, with error bars where there are some."""
    colour, y = own_colour(COLOUR), mean_axis(title)
    parts = alt.Detail(["setting:N", "model:N"])
    return alt.layer(
        rows.mark_rule(strokeWidth=1.4, opacity=0.6).encode(
            x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour
        ),
        rows.mark_line(strokeWidth=1.6, tooltip=None).encode(x=x, y=y, color=colour, detail=parts),
        rows.mark_point(**POINTS).encode(x=x, y=y, color=colour, shape=SHAPE, tooltip=hover),
    )


def ablation_figure(subject: Subject) -> Figure | None:
    """Mean log odds against the training configuration, a line a model and setting."""
    table = subject.ablation
    if not len(table):
        return None
    order = [str(name) for name in table.sort_values("position").configuration.drop_duplicates()]
    models = list(dict.fromkeys(table.model))
    hover = tooltips(
        model="model",
        setting_label="setting",
        configuration="training",
        upstream_text=subject.upstream_name,
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
    return Figure(
        key="ablation",
        title="How do training choices upstream show in transfer?",
        caption=(
            "Each point is one way to train the upstream model, in the order given"
            f"; {bars_said(table, 'se', 'one standard error')}"
        ),
        charts=charts,
        legend="settings",
        settings=tuple(table.setting.unique()),
    )


def bars_said(table: Any, column: str, what: str) -> str:
    """Say what the bars are, or that there are none."""
    known = table[column].notna()
    if not known.any():
        return "how sure each is, is not known."
    return f"bars are {what}{'' if known.all() else ', where it is known'}."


def size_caption(table: Any) -> str:
    """Say how many random subsets a point stands for, and what its bar is."""
    few, most = int(table.n_seeds.min()), int(table.n_seeds.max())
    if most == 1:
        return "A point is one random subset: what another would give is not known."
    subsets = f"{most}" if few == most else f"{few} to {most}"
    bars = bars_said(table, "se", "one standard error over them")
    return f"Mean log odds over {subsets} random subsets; {bars}"


def ablation_axis(order: list[str]) -> Any:
    """Give each configuration a row, its name in short lines."""
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
    """A row a configuration: the names are sentences, which do not fit below an axis."""
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


def convergence_figure(subject: Subject) -> Figure | None:
    """Mean log odds against training steps, on a logarithmic axis."""
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
    return Figure(
        key="convergence",
        title="Convergence speed",
        caption=(
            "Each point is a run of its own with its own schedule; the axis is logarithmic; "
            + bars_said(table, "low", "95 % intervals")
        ),
        charts=charts,
        legend="settings",
        settings=tuple(table.setting.unique()),
    )


def size_figure(subject: Subject, names: Names) -> Figure | None:
    """Log odds against examples per class, a panel a dataset."""
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
    return Figure(
        key="dataset-size",
        title="How much does the size of the training set matter?",
        caption=size_caption(table),
        charts=charts,
        legend="settings",
        settings=tuple(table.setting.unique()),
        narrow=True,
    )
