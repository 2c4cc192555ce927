"""Charts that compare settings and models: means, ranks, residuals, training from scratch."""

from typing import Any

import altair as alt
from scipy.special import expit

from headstart.report.chart_data import pairs_data
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
    name_axis,
    named,
    odds_axis,
    own_colour,
    own_shape,
    tooltips,
    visible,
)
from headstart.report.palette import residual_steps
from headstart.report.subject import Names, Subject
from headstart.spec.labels import setting_label

__all__ = ["ranks_figure", "residuals_figure", "scratch_figure", "settings_figure"]

ROW = 19
# Number of ranks labelled on the axis.
MOST_RANKS = 10


def settings_figure(subject: Subject, names: Names) -> Figure | None:
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
    return Figure(
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


def scratch_figure(subject: Subject) -> Figure | None:
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
    return Figure(
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


def ranks_figure(subject: Subject, names: Names) -> Figure | None:
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
    return Figure(
        key="ranks-figure",
        title="How certain are the ranks?",
        caption=(
            "Points: rank by mean log odds. Lines: 95 % simultaneous confidence interval of the "
            "rank. Models whose interval includes rank 1 are not significantly different from "
            "the best."
        ),
        charts=charts,
        table="ranks",
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


def residuals_figure(subject: Subject, names: Names, limits: list[float]) -> Figure | None:
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
    return Figure(
        key="residuals",
        title=f"Which models do better or worse than their {subject.upstream_name} predicts?",
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
