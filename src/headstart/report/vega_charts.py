"""Charts of models, settings and datasets: transfer against a predictor, ranks, residuals."""

from typing import Any

import altair as alt
import numpy as np
from scipy.special import expit

from headstart.analysis import FEWEST_MODELS
from headstart.predictors import Predictor
from headstart.report.chart_data import pairs_data, predictor_coordinates, several_seeds
from headstart.report.chart_style import (
    MODEL,
    WHOLE,
    Chart,
    PageFigure,
    aria_label,
    domain,
    equal,
    finished,
    log_odds_scale,
    name_axis,
    named,
    odds_axis,
    own_colour,
    own_shape,
    residual_steps,
    tooltips,
    visible,
)
from headstart.report.page_model import Names, Subject
from headstart.report.sentences import pearson_rows, r_of
from headstart.spec.display_names import setting_label
from headstart.spec.formatting import coefficient_interval, joined

__all__ = [
    "correlation_figure",
    "panels_figure",
    "ranks_figure",
    "residuals_figure",
    "scratch_figure",
    "settings_figure",
]

PANEL = 210
# With more models, error bars would hide the points.
CROWD = 30


def predictor_axis(values: Any, predictor: Predictor) -> Any:
    """Return the horizontal encoding of the predictor, labelled in its unit."""
    x = predictor_coordinates(values, predictor)
    scale = alt.Scale(domain=domain(x), zero=False, nice=False)
    axis = alt.Axis(title=predictor.label, grid=False, labelOverlap="greedy", tickCount=5)
    if predictor.scale.name == "proportion":
        axis = odds_axis(predictor.label, values)
    elif predictor.scale.name == "log":
        axis.labelExpr = "format(pow(10, datum.value), '.3~s')"
    return alt.X("x:Q", title=predictor.label, scale=scale, axis=axis)


def correlation_figure(subject: Subject, names: Names) -> PageFigure | None:
    """Draw mean log odds against the predictor, one chart per setting."""
    means = subject.model_means
    means = means[means[subject.predictor.column].notna()] if len(means) else means
    if not len(means):
        return None
    settings = [name for name in names.settings if name in set(means.setting)]
    x = predictor_axis(means[subject.predictor.column], subject.predictor)
    return PageFigure(
        key="correlation",
        title=f"Does {subject.predictor.label} predict transfer accuracy?",
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
        "Both axes are on a logit scale (log odds)."
        if subject.predictor.scale.name == "proportion"
        else "The vertical axis is in log odds.",
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
        predictor_text=subject.predictor.label,
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
        f"{label}: mean log odds of transfer against {subject.predictor.label}, one point per model"
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


def panels_figure(subject: Subject, names: Names) -> PageFigure | None:
    """Draw accuracy against the predictor, one panel per dataset."""
    cells = subject.cells
    cells = cells[cells[subject.predictor.column].notna()] if len(cells) else cells
    if not len(cells):
        return None
    x = predictor_axis(cells[subject.predictor.column], subject.predictor)
    datasets = [name for name in names.datasets if name in set(cells.dataset)]
    several = cells.setting.nunique() > 1
    means = len(subject.model_means) and subject.model_means[subject.predictor.column].notna().any()
    shapes = " Shapes are the model families of the figure above." if several and means else ""
    return PageFigure(
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
        predictor_text=subject.predictor.label,
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
        f"{dataset}: {metric} against {subject.predictor.label}, one point per model and setting"
    )
    layers = [line, bars, marks] if cells.model.nunique() <= CROWD else [line, marks]
    spec = finished(alt.layer(*layers), description, PANEL)
    return Chart(dataset, description, spec, dataset=dataset)


ROW = 19
# Number of ranks labelled on the axis.
MOST_RANKS = 10


def settings_figure(subject: Subject, names: Names) -> PageFigure | None:
    """Draw the mean log odds of every model in every setting."""
    means = subject.model_means
    if means.model.nunique() < 2:
        return None
    several = means.setting.nunique() > 1
    points = (
        named("cells", "setting", "dataset", "model")
        .transform_filter("datum.averaged")
        .transform_aggregate(
            mean="mean(adjusted)",
            groupby=["setting_label", "setting_colour", "setting_shape", *MODEL, "mean_interval"],
        )
        .transform_calculate(
            mean_text="format(datum.mean, '.3f')",
            interval=f"{WHOLE} ? datum.mean_interval : 'only without a filter'",
        )
    )
    y = model_axis(names, set(means.model))
    hover = tooltips(
        model="model",
        setting_label="setting",
        mean_text="mean log odds",
        interval="95 % interval",
    )
    colour = own_colour("setting_colour")
    bars = points.transform_filter(WHOLE).mark_rule(strokeWidth=2, opacity=0.45)
    x = alt.X("mean:Q", title="Mean log odds of transfer", scale=log_odds_scale())
    chart = alt.layer(
        bars.encode(x=alt.X("mean_low:Q"), x2="mean_high:Q", y=y, color=colour),
        points.mark_point(filled=True, size=60, opacity=1).encode(
            x=x,
            y=y,
            color=colour,
            shape=own_shape("setting_shape"),
            tooltip=hover,
            description=aria_label("model", "setting_label", "mean_text"),
        ),
    )
    description = "Mean log odds of transfer per model, one point per setting"
    height = ROW * means.model.nunique()
    return PageFigure(
        key="settings-figure",
        title="How do the settings compare?" if several else "How do the models compare?",
        caption=(
            "Mean log odds of a correct prediction per model"
            + (", with 95 % confidence intervals" if means.low.notna().any() else "; no intervals")
            + ("; models are sorted by the first setting." if several else ".")
        ),
        charts=[Chart("", description, finished(chart, description, height))],
        legend="settings",
        settings=tuple(means.setting.unique()),
        table="means",
    )


def model_axis(names: Names, present: set[str]) -> Any:
    """Return a vertical axis with one row per model, in the order of the page."""
    axis = name_axis(grid=True)
    order = [name for name in names.models if name in present]
    return alt.Y("model:N", sort=order, axis=axis)


def scratch_figure(subject: Subject) -> PageFigure | None:
    """Draw fine-tuning against training from scratch, one point per model and dataset."""
    pairs = pairs_data(subject.cells)
    if not len(pairs):
        return None
    reach = [float(v) for column in ("log_odds", "log_odds_scratch") for v in pairs[column]]
    scale = alt.Scale(domain=domain(reach, 0.03), nice=False, zero=False)
    ends = [float(p) for p in expit(domain(reach, 0.03))]
    points = named("pairs", "dataset", "model").transform_filter(visible("setting"))
    points = points.transform_filter("indexof(hidden_settings, datum.setting_scratch) < 0")
    diagonal = alt.Chart(
        alt.InlineData(values=[{"at": end} for end in domain(reach, 0.03)])
    ).mark_line(color="var(--soft)", strokeDash=[4, 4], strokeWidth=1, tooltip=None)
    hover = tooltips(
        model="model",
        family="family",
        dataset="dataset",
        accuracy_text="fine-tuned",
        interval="95 % interval",
        accuracy_text_scratch="from scratch",
    )
    x = alt.X(
        "log_odds_scratch:Q", scale=scale, axis=odds_axis("Accuracy, trained from scratch", ends)
    )
    y = alt.Y("log_odds:Q", scale=scale, axis=odds_axis("Accuracy, fine-tuned", ends))
    chart = alt.layer(
        diagonal.encode(x=alt.X("at:Q", scale=scale), y=alt.Y("at:Q", scale=scale)),
        points.mark_point(filled=True, size=45, opacity=0.85).encode(
            x=x,
            y=y,
            color=own_colour(),
            shape=own_shape(),
            tooltip=hover,
            description=aria_label("model", "dataset", "accuracy_text", "accuracy_text_scratch"),
        ),
    )
    description = (
        "Accuracy of fine-tuning against training from scratch, one point per model and dataset"
    )
    return PageFigure(
        key="scratch",
        title="What does pretraining add to final accuracy?",
        caption=(
            "Each point is one model on one dataset; above the dashed line, fine-tuning is more "
            "accurate than training from scratch. Both axes are on a logit scale labelled in "
            "percent."
        ),
        charts=[Chart("", description, finished(chart, description, 420))],
        legend="families",
        table="accuracy",
    )


def ranks_figure(subject: Subject, names: Names) -> PageFigure | None:
    """Draw the ranks with their simultaneous confidence intervals."""
    ranks = subject.ranks
    ranks = ranks[ranks.low.notna()] if len(ranks) else ranks
    if not len(ranks):
        return None
    charts = [
        ranks_chart(setting, ranks[ranks.setting == setting])
        for setting in names.settings
        if setting in set(ranks.setting)
    ]
    return PageFigure(
        key="ranks-figure",
        title="How certain are the ranks?",
        caption=(
            "Points: rank by mean log odds. Lines: 95 % simultaneous confidence interval of the "
            "rank. Models whose interval includes rank 1 are not significantly different from "
            "the best."
        ),
        charts=charts,
        table="means",
    )


def ranks_chart(setting: str, ranks: Any) -> Chart:
    order = [str(name) for name in ranks.sort_values("rank").model]
    axis = name_axis(grid=True)
    y = alt.Y("model:N", sort=order, axis=axis)
    rows = named("ranks", "model").transform_filter(equal("setting", setting))
    step = max(1, round(len(order) / MOST_RANKS))
    values = [1, *range(2 * step if step == 1 else step, len(order) + 1, step)]
    whole = alt.Axis(title="Rank", format="d", values=values, grid=False)
    scale = alt.Scale(domain=[0.5, len(order) + 0.5], nice=False)
    x = alt.X("low:Q", title="Rank", axis=whole, scale=scale)
    hover = tooltips(
        model="model", family="family", rank="rank", interval="95 % simultaneous interval"
    )
    chart = alt.layer(
        rows.mark_rule(strokeWidth=3, color="var(--blue)", opacity=0.4).encode(
            x=x, x2="high:Q", y=y
        ),
        rows.mark_point(filled=True, size=60, color="var(--blue)", opacity=1).encode(
            x=alt.X("rank:Q"),
            y=y,
            tooltip=hover,
            description=aria_label("model", "rank", "interval"),
        ),
    )
    label = setting_label(setting)
    description = f"{label}: ranks of the models with their intervals"
    return Chart(label, description, finished(chart, description, ROW * len(order)), setting)


def residuals_figure(subject: Subject, names: Names, limits: list[float]) -> PageFigure | None:
    """Draw each model's residual from the least-squares line of each dataset."""
    cells = subject.cells
    cells = cells[cells.residual.notna()] if len(cells) else cells
    if not len(cells):
        return None
    charts = [
        residuals_chart(setting, cells[cells.setting == setting], names, limits)
        for setting in names.settings
        if setting in set(cells.setting)
    ]
    return PageFigure(
        key="residuals",
        title=f"Which models do better or worse than their {subject.predictor.label} predicts?",
        caption=(
            "Each cell is a model's log odds minus the prediction of the dataset's least-squares "
            "line. Models are sorted as in the tables."
        ),
        charts=charts,
        legend="residuals",
        table="accuracy",
    )


def residuals_chart(setting: str, cells: Any, names: Names, limits: list[float]) -> Chart:
    _, colours = residual_steps(1)
    present = set(cells.model)
    order = [name for name in names.datasets if name in set(cells.dataset)]
    y_axis = name_axis()
    x_axis = name_axis(labelAngle=-90, labelLimit=130)
    scale = alt.Scale(type="threshold", domain=limits, range=colours)
    hover = tooltips(
        model="model",
        dataset="dataset",
        accuracy_text="accuracy",
        interval="95 % interval",
        residual_text="residual (log odds)",
    )
    chart = (
        named("cells", "dataset", "model")
        .transform_filter(equal("setting", setting))
        .transform_filter("isValid(datum.residual)")
        .mark_rect(stroke="var(--paper)", strokeWidth=1)
        .encode(
            x=alt.X("dataset:N", sort=order, axis=x_axis),
            y=alt.Y("model:N", sort=[m for m in names.models if m in present], axis=y_axis),
            color=alt.Color("residual:Q", scale=scale, legend=None),
            tooltip=hover,
            description=aria_label("model", "dataset", "residual_text"),
        )
    )
    label = setting_label(setting)
    description = f"{label}: residuals of every model on every dataset"
    return Chart(label, description, finished(chart, description, ROW * len(present)), setting)
