"""Charts of transfer against upstream accuracy: over all datasets, and per dataset."""

from typing import Any

import altair as alt
import numpy as np

from headstart.analysis import FEWEST_MODELS
from headstart.report.chart_data import odds, several_seeds
from headstart.report.chart_parts import (
    MODEL,
    WHOLE,
    Chart,
    Figure,
    aria_label,
    domain,
    equal,
    finished,
    log_odds_scale,
    named,
    odds_axis,
    own_colour,
    own_shape,
    tooltips,
)
from headstart.report.correlation_text import pearson_rows, r_of
from headstart.report.formatting import coefficient_interval, joined
from headstart.report.subject import Names, Subject
from headstart.spec.labels import setting_label

__all__ = ["correlation_figure", "panels_figure"]

PANEL = 210
# With more models, error bars would hide the points.
CROWD = 30


def upstream(values: Any, name: str) -> Any:
    scale = alt.Scale(domain=domain(odds(values)), zero=False, nice=False)
    return alt.X("x:Q", title=name, scale=scale, axis=odds_axis(name, values))


def correlation_figure(subject: Subject, names: Names) -> Figure | None:
    """Draw mean log odds against upstream accuracy, one chart per setting."""
    means = subject.model_means
    means = means[means.upstream_accuracy.notna()] if len(means) else means
    if not len(means):
        return None
    settings = [name for name in names.settings if name in set(means.setting)]
    x = upstream(means.upstream_accuracy, subject.upstream_name)
    return Figure(
        key="correlation",
        title=f"Does {subject.upstream_name} predict transfer accuracy?",
        caption=correlation_caption(subject, means),
        charts=[correlation_chart(subject, setting, x) for setting in settings],
        legend="families",
        table="means",
    )


def correlation_caption(subject: Subject, means: Any) -> str:
    """Return how to read the figure; name only what is drawn in it."""
    line = means.groupby("setting").model.nunique().max() >= FEWEST_MODELS
    lines = subject.lines
    bars = bool(means.low.notna().any())
    band = bool(len(lines) and lines[lines.group == "all"].low.notna().any())
    drawn = [
        *(["error bars"] if bars else []),
        *(["the band around the least-squares line"] if band else []),
    ]
    bars_and_band = joined(drawn)
    parts = [
        "Each point is one model: its mean log odds of a correct prediction over the datasets "
        "(0.1 more multiplies the odds by 1.1).",
        f"{bars_and_band[:1].upper()}{bars_and_band[1:]} {'show' if bars else 'shows'} "
        f"95 % confidence interval{'s' if bars else ''}."
        if drawn
        else "",
        "" if bars else "The means have no intervals.",
        "The line is the least-squares fit." if line and not band else "",
        "" if line else "A line needs at least three models.",
        "Both axes are on a logit scale (log odds).",
    ]
    return " ".join(filter(None, parts))


def correlation_chart(subject: Subject, setting: str, x: Any) -> Chart:
    """Draw one setting: band, line, error bars, points; means are over the visible rows."""
    y = alt.Y("mean:Q", title="Mean log odds of transfer", scale=log_odds_scale())
    points = (
        named("cells", "dataset", "model")
        .transform_filter("datum.averaged")
        .transform_filter(equal("setting", setting))
        .transform_aggregate(mean="mean(adjusted)", groupby=[*MODEL, "mean_interval"])
        .transform_filter("isValid(datum.x)")
        .transform_calculate(
            mean_text="format(datum.mean, '.3f')",
            interval=f"{WHOLE} ? datum.mean_interval : 'only without a filter'",
        )
    )
    opacity = 0.75 if subject.model_means.model.nunique() <= CROWD else 0.3
    bars = points.transform_filter(WHOLE).mark_rule(strokeWidth=1.2, opacity=opacity)
    marks = points.mark_point(
        filled=True, size=75, opacity=1, stroke="var(--paper)", strokeWidth=0.8
    )
    hover = tooltips(
        model="model",
        family="family",
        upstream_text=subject.upstream_name,
        mean_text="mean log odds",
        interval="95 % interval",
    )
    chart = alt.layer(
        band(setting, "all"),
        regression(points, "mean"),
        bars.encode(x=x, y=alt.Y("mean_low:Q"), y2="mean_high:Q", color=own_colour()),
        marks.encode(
            x=x,
            y=y,
            color=own_colour(),
            shape=own_shape(),
            tooltip=hover,
            description=aria_label("model", "mean_text"),
        ),
    )
    label = setting_label(setting)
    description = (
        f"{label}: mean log odds of transfer against {subject.upstream_name}, one point per model"
    )
    r = correlation_note(subject, setting)
    return Chart(label, description, finished(chart, description), setting=setting, note=r)


def correlation_note(subject: Subject, setting: str) -> str:
    """Return r of the whole table with its interval, if there is one."""
    rows = [row for row in pearson_rows(subject) if row.setting == setting]
    if not rows:
        return ""
    between = coefficient_interval(rows[0].low, rows[0].high)
    return r_of(rows[0].estimate) + (f" (95 % interval {between})" if between else "")


def band(setting: str, group: str) -> Any:
    """Draw the bootstrap band of the whole table; draw none for a part of it."""
    return (
        named("bands")
        .transform_filter(equal("setting", setting))
        .transform_filter(equal("group", group))
        .transform_filter(WHOLE if group == "all" else "length(hidden_models) == 0")
        .mark_area(color="var(--band)", opacity=1, tooltip=None)
        .encode(x=alt.X("x:Q"), y=alt.Y("low:Q"), y2="high:Q")
    )


def enough(points: Any, by: list[str]) -> Any:
    """Keep points only where a line is defined: at least three, and not all at one x."""
    return points.transform_joinaggregate(
        shown_models="count()", places="distinct(x)", **({"groupby": by} if by else {})
    ).transform_filter(f"datum.shown_models >= {FEWEST_MODELS} && datum.places > 1")


def regression(points: Any, y: str) -> Any:
    """Draw the least-squares line through the visible points."""
    return (
        enough(points, [])
        .transform_regression("x", y)
        .mark_line(color="var(--soft)", strokeWidth=1.4, tooltip=None)
        .encode(x=alt.X("x:Q"), y=alt.Y(f"{y}:Q"))
    )


def panels_figure(subject: Subject, names: Names) -> Figure | None:
    """Draw accuracy against upstream accuracy, one panel per dataset."""
    cells = subject.cells
    cells = cells[cells.upstream_accuracy.notna()] if len(cells) else cells
    if not len(cells):
        return None
    x = upstream(cells.upstream_accuracy, subject.upstream_name)
    datasets = [name for name in names.datasets if name in set(cells.dataset)]
    several = cells.setting.nunique() > 1
    means = len(subject.model_means) and subject.model_means.upstream_accuracy.notna().any()
    shapes = " Shapes are the model families of the figure above." if several and means else ""
    return Figure(
        key="panels",
        title="Results per dataset",
        caption=(
            f"Each point is one model; {panel_bars(cells)} "
            "Each panel has its own vertical axis, on a logit scale labelled in "
            f"percent.{shapes}"
        ),
        charts=[panel(subject, name, x, cells[cells.dataset == name]) for name in datasets],
        legend="colours" if several else "families",
        settings=tuple(cells.setting.unique()),
        narrow=True,
        table="accuracy",
    )


def panel_bars(cells: Any) -> str:
    """Return what the error bars of the panels show, or why there are none."""
    if not cells.low.notna().any():
        return "no intervals: test-set sizes missing (add a column n_test)."
    drawn = cells.groupby("dataset").model.nunique() <= CROWD
    drawn_as = "error bars show" if drawn.any() else "hover to see"
    some = "" if cells.low.notna().all() else ", where known"
    return f"{drawn_as} 95 % confidence intervals from the test-set size{some}."


def panel(subject: Subject, dataset: str, x: Any, cells: Any) -> Chart:
    """Draw one dataset; colours are settings if there are several, else families."""
    several = subject.cells.setting.nunique() > 1
    metric = str(cells.metric.iloc[0]) if cells.metric.notna().any() else "accuracy"
    # Error bars reach beyond the points: ticks cover them, too.
    drawn = cells[["accuracy", "low", "high"]].astype(float).to_numpy().ravel()
    axis = odds_axis(None, drawn[np.isfinite(drawn)])
    y = alt.Y("log_odds:Q", scale=log_odds_scale(), axis=axis)
    points = (
        named("cells", "setting", "model")
        .transform_filter(equal("dataset", dataset))
        .transform_filter("isValid(datum.x)")
    )
    hover = tooltips(
        model="model",
        dataset="dataset",
        setting_label="setting",
        upstream_text=subject.upstream_name,
        accuracy_text="accuracy",
        interval="95 % interval",
        **({"seeds": "seeds"} if several_seeds(subject) else {}),
    )
    colour = own_colour("setting_colour" if several else "colour")
    line = (
        enough(points, ["setting_colour"])
        .transform_regression("x", "log_odds", groupby=["setting_colour"])
        .mark_line(strokeWidth=1.2, opacity=0.8, tooltip=None)
        .encode(x=x, y=y, color=colour if several else alt.value("var(--soft)"))
    )
    bars = points.mark_rule(strokeWidth=1, opacity=0.5).encode(
        x=x, y=alt.Y("low_odds:Q"), y2="high_odds:Q", color=colour
    )
    marks = points.mark_point(filled=True, size=42, opacity=0.9).encode(
        x=x,
        y=y,
        color=colour,
        shape=own_shape(),
        tooltip=hover,
        description=aria_label("model", "setting_label", "accuracy_text"),
    )
    description = (
        f"{dataset}: {metric} against {subject.upstream_name}, one point per model and setting"
    )
    layers = [line, bars, marks] if cells.model.nunique() <= CROWD else [line, marks]
    spec = finished(alt.layer(*layers), description, PANEL)
    return Chart(dataset, description, spec, dataset=dataset)
