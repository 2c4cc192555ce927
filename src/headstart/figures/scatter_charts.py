"""Charts of points: transfer against a predictor, with and without pretraining, embeddings."""

from functools import partial
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from headstart.errors import AnalysisError
from headstart.figures import encodings as enc
from headstart.figures.encodings import WHOLE, equal, quoted
from headstart.figures.figure import Figure
from headstart.figures.figure_data import FigureData, optional
from headstart.figures.figure_text import elided, place, text_width
from headstart.figures.panel import CROWD, LegendEntry, Note, Panel, PlotArea, abreast, legend_of
from headstart.figures.style import FONT_SIZE, Style, class_styles, marker_styles
from headstart.spec.formatting import in_order, number, r_of, role, setting_label

__all__ = [
    "draw_correlation",
    "draw_datasets",
    "draw_embedding",
    "draw_scratch",
    "scratch_pairs",
]

FEWEST_MODELS = 3  # of a least-squares line
MOST_LABELS = 25  # beyond that only extremes and outliers are named
MOST_SETTINGS = 4  # whose combinations have ticks of their own
LABELLED = 12  # so many of them
MOST_OWN = 6  # own models that the page names among published ones
RADIUS, RINGED = 5.5, 7.5  # pixels, of marks and of rings
METHODS = {"morey": " (Morey, 2008)", "cousineau": " (Cousineau, 2005)"}
RING = Style("not significantly different from the best", "var(--ink)", "circle", "")
MEANS_TEST = "simultaneous 95 % intervals of the difference over datasets"
NO_SIZES = "No intervals: test-set sizes missing (add a column n_test)."


def draw_correlation(data: FigureData) -> Figure:
    """Draw mean log odds over datasets against the predictor, with line, band and r."""
    means = data.means[np.isfinite(data.means["x"])]
    n_models = means.groupby("setting")["model"].transform("nunique")
    means = means[n_models >= min(FEWEST_MODELS, n_models.max())]  # two points say nothing
    settings, ends = in_order(means["setting"]), {}
    for setting in settings:
        own = means.loc[means["setting"] == setting, ["mean", "mean_low", "mean_high"]]
        ends[setting] = enc.domain(own)
    # All panels span the same log odds, so that slopes can be compared.
    span = max(high - low for low, high in ends.values())
    crowded = len(settings) == 1 and len(means) > MOST_LABELS
    return Figure(
        "correlation",
        f"Does {data.predictor.label} predict transfer accuracy?",
        correlation_caption(data, means),
        [
            Panel(
                partial(mean_chart, data, setting, (sum(ends[setting]) - span) / 2, span),
                setting_label(setting),
                f"{setting_label(setting)}: mean log odds of transfer against "
                f"{data.predictor.label}, one point per model",
                height=400 if crowded else 270,
                notes=[Note(r) for r in r_notes(data, setting, "all")],
                setting=setting,
                right=0.0 if data.one_dataset else 58.0,
            )
            for setting in settings
        ],
        data,
        [
            *legend_of(data.styles_in(means)),
            *[LegendEntry(RING, "ring")] * bool(means["mean_near"].any()),
        ],
        wide=crowded,
    )


def mean_chart(data: FigureData, setting: str, low: float, span: float, place: PlotArea) -> Any:
    """Draw one setting: band, line, error bars, points, rings; in print the models' names."""
    means = data.means[np.isfinite(data.means["x"])]
    ends = (low, low + span)
    x = enc.predictor_axis(data, means["x"], place)
    axis = alt.Axis(title="Mean log odds of transfer" if place.left else None)
    if data.one_dataset:  # The page shows all of the band, which print cuts off.
        bands = data.bands.loc[data.bands["setting"] == setting, ["band_low", "band_high"]]
        reach = np.append(bands if data.interactive else [], ends)
        axis = enc.accuracy_axis((np.nanmin(reach), np.nanmax(reach)), place)
    about = "accuracy" if data.one_dataset else "mean log odds"
    y = alt.Y("mean:Q", axis=axis, scale=enc.scale(data, ends))
    points = enc.mean_points(data).transform_filter(equal("setting", setting))
    points = points.transform_filter("isValid(datum.x)")
    whole = points.transform_filter(WHOLE)
    opacity = 0.75 if means["model"].nunique() <= CROWD else 0.3
    hover = {"model": "model", "family": "family", "predictor_text": data.predictor.label,
             "mean_text": about, "interval": "95 % interval"}  # fmt: skip
    layers = [
        *band(data, setting, "all"),
        regression(points, "mean"),
        enc.error_bars(whole, BARS, x=x, width=1.2, opacity=opacity),
        enc.ring(whole.transform_filter("datum.mean_near"), x, y, 150, 1.2),
        enc.symbols(points, x, y, label=["model", "mean_text"], hover=hover, size=75,
                    stroke="var(--paper)", strokeWidth=0.8),
    ]  # fmt: skip
    if data.interactive:
        return alt.layer(*layers, *own_names(data, points, x, y))
    own = means[means["setting"] == setting]
    own = own.assign(model=own["model"].map(data.affixes.short))
    layers += name_layers(own, data.head, x, ends, place)
    if data.one_dataset:
        return alt.layer(*layers)
    # The same scale in percent, on the right.
    percents = enc.odds_axis("Equal accuracy", ends, place.height, upright=True, orient="right")
    right = alt.Chart(alt.InlineData(values=[{"at": ends[0]}])).mark_point(opacity=0)
    right = right.encode(y=alt.Y("at:Q", scale=enc.scale(data, ends), axis=percents))
    return alt.layer(alt.layer(*layers), right).resolve_scale(y="independent")


def own_names(data: FigureData, points: Any, x: Any, y: Any) -> list[Any]:
    """Write the names of a few own models among published ones, each to its side."""
    means = data.means[data.means["model"].isin(data.own_models)]
    own = [str(name) for name in means.sort_values("x")["model"].unique()]
    half = len(own) // 2
    return [
        points.transform_filter(alt.FieldOneOfPredicate("model", models))
        .mark_text(align=side, dx=dx, dy=-9, fontWeight="bold", tooltip=None, aria=False)
        .encode(x, y, text="model:N")
        for models, side, dx in ((own[:half], "right", -9), (own[half:], "left", 9))
        if models and len(own) <= MOST_OWN
    ]


def name_layers(
    means: pd.DataFrame, head: int, x: Any, ends: tuple[float, float], area: PlotArea
) -> list[Any]:
    """Write the names of the models near their points, each clear of everything else.

    A thin line leads to a name that had to move away. A name without a free place near its point is
    left out.
    """
    points = means[["x", "mean"]].to_numpy(dtype=float)
    sides = means[list(BARS)].to_numpy(dtype=float)
    bars = np.column_stack([points[:, 0], sides[:, 0], points[:, 0], sides[:, 1]])
    bars = bars[np.isfinite(sides).all(axis=1)]
    which = labelled(points[:, 0], points[:, 1])
    names = [elided(name, head=head) for name in means["model"].iloc[which]]
    radius = RINGED if means["mean_near"].any() else RADIUS
    size = np.array([area.width, area.height])
    # Places are found in pixels.
    low, high = np.array([x.to_dict()["scale"]["domain"], ends]).T
    pixels = size / (high - low)
    places = (points - low) * pixels
    unnamed = np.delete(places, which, axis=0)
    boxes = place(
        places[which],
        np.array([(text_width(name) + 3, FONT_SIZE + 2) for name in names]).reshape(-1, 2),
        np.array([2.0, 2.0, *(size - 2)]),
        np.column_stack([unnamed - radius, unnamed + radius]),
        radius,
        ((bars.reshape(-1, 2) - low) * pixels).reshape(-1, 4),
        strict=len(points) > MOST_LABELS,
    )
    labels, leaders = [], []
    for name, anchor, box in zip(names, places[which], boxes, strict=True):
        if box is None:
            continue
        middle = (box[:2] + box[2:]) / 2 / pixels + low
        labels.append({"label": name, "x": float(middle[0]), "y": float(middle[1])})
        nearest = np.clip(anchor, box[:2], box[2:])
        length = float(np.hypot(*(nearest - anchor)))
        if length > radius + 5:
            start = anchor + (nearest - anchor) * radius / length
            leader = np.concatenate([start, nearest]) / np.tile(pixels, 2) + np.tile(low, 2)
            leaders.append(dict(zip(("x", "y", "x2", "y2"), map(float, leader), strict=True)))
    rules = alt.Chart(alt.InlineData(values=leaders)).mark_rule(strokeWidth=0.6, opacity=0.8)
    texts = alt.Chart(alt.InlineData(values=labels)).mark_text(baseline="middle", align="center")
    return [
        *[rules.encode(x="x:Q", y="y:Q", x2="x2:Q", y2="y2:Q")] * bool(leaders),
        *[texts.encode(x="x:Q", y="y:Q", text="label:N")] * bool(labels),
    ]


BARS = ("mean_low", "mean_high")


def labelled(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the points to label: all; of many, the extremes and those far from the line."""
    if len(x) <= MOST_LABELS:
        return np.arange(len(x))
    distance = np.abs(y - np.polyval(np.polyfit(x, y, 1), x)) if np.ptp(x) else np.abs(y - y.mean())
    first = [x.argmin(), x.argmax(), y.argmin(), y.argmax(), *np.argsort(-distance, kind="stable")]
    return np.array(list(dict.fromkeys(int(index) for index in first))[:LABELLED])


def correlation_caption(data: FigureData, means: pd.DataFrame) -> str:
    one, bars = data.one_dataset, "No intervals."
    if means["low"].notna().any():
        kinds = sorted(set(means["error_bars"].dropna()))
        source = " from the test-set size" if one else "".join(METHODS.get(k, "") for k in kinds)
        bars = f"Error bars: 95 % confidence intervals{source}."
    elif one:
        bars = NO_SIZES
    elif means["se"].notna().any():
        bars = "Error bars: one standard error."
    some_named = not data.interactive and means.groupby("setting").size().max() > MOST_LABELS
    return sentences(
        "Each point is one model." if one else
        "Each point is one model: its mean log odds of a correct prediction over the datasets "
        "(0.1 more multiplies the odds by 1.1).",
        bars,
        line_caption(data, bool((data.bands["group"] == "all").any())),
        f"Rings: {tests_caption(data) if one else MEANS_TEST}." if means["mean_near"].any() else "",
        "Named where space permits: extremes and the models farthest from the line."
        if some_named else "",
        "" if data.interactive else data.affixes.note,
    )  # fmt: skip


def sentences(*parts: str) -> str:
    return " ".join(filter(None, parts))


def line_caption(data: FigureData, bands: bool, order: str = "") -> str:
    """Return what lines, bands and r are."""
    band = "; band: 95 % bootstrap interval over models" if bands else ""
    lines = f"Line: least squares{band}."
    if not len(data.correlations):
        return lines
    scale = data.predictor.scale
    what = f"of log odds with {scale.label(data.predictor.label)}"
    what = "in log odds" if scale.name == "proportion" else what
    return f"{lines} r: Pearson correlation {what}{order}."


def tests_caption(data: FigureData) -> str:
    """Return by which tests models were held against the best of a dataset."""
    return f"{data.tests}, p > 0.05, corrected for the number of models"


def r_notes(data: FigureData, setting: str, group: str) -> list[str]:
    """Return r of a group of datasets, if it is known; of all of them with its interval."""
    own = data.correlations
    own = own[(own["setting"] == setting) & (own["group"] == group)].head(1)
    own = own if group == "all" else own.assign(low=np.nan, high=np.nan)
    why = ", no interval" if group == "all" else ""
    return [r_of(row.estimate, row.low, row.high) + why * bool(np.isnan(row.low))
            for row in own.itertuples()]  # fmt: skip


def band(data: FigureData, setting: str, group: str) -> list[Any]:
    """Draw the bootstrap band of the whole table; draw none for a part of it."""
    bands = data.bands
    if not ((bands["setting"] == setting) & (bands["group"] == group)).any():
        return []
    own = (
        enc.named(data, "bands", setting=setting, group=group)
        .transform_filter(WHOLE if group == "all" else "length(hidden_models) == 0")
        .mark_area(
            color="var(--band)", opacity=1, tooltip=None, aria=False, clip=not data.interactive
        )
    )
    return [own.encode(x=alt.X("x:Q"), y=alt.Y("band_low:Q"), y2="band_high:Q")]


def regression(points: Any, y: str, by: str = "") -> Any:
    """Draw the least-squares line through the visible points: at least three, not all at one x."""
    groups: dict[str, Any] = {"groupby": [by]} if by else {}
    return (
        points.transform_joinaggregate(shown_models="count()", places="distinct(x)", **groups)
        .transform_filter(f"datum.shown_models >= {FEWEST_MODELS} && datum.places > 1")
        .transform_regression("x", y, **groups)
        .mark_line(strokeWidth=1.4, opacity=0.8 if by else 1, tooltip=None, aria=False)
        .encode(
            x=alt.X("x:Q"), y=alt.Y(f"{y}:Q"),
            color=enc.from_row(alt.Color, by) if by else alt.value("var(--soft)"),
        )
    )  # fmt: skip


def draw_datasets(data: FigureData) -> Figure:
    """Draw accuracy against the predictor, one panel per dataset, with lines and r.

    Colours are settings if there are several, else families; shapes are families.
    """
    cells = data.cells[np.isfinite(data.cells["x"])]
    settings = in_order(cells["setting"])
    several = len(settings) > 1
    datasets = data.names_in(cells, "dataset")
    metrics = optional(data.tables, "cells", ["dataset", "metric"]).dropna(subset="metric")
    metric_of = dict(zip(metrics["dataset"], metrics["metric"], strict=True))
    legend = legend_of(data.styles_in(cells))
    if several:
        shapes = [LegendEntry(one.style._replace(colour="var(--soft)")) for one in legend]
        boxes = [LegendEntry(data.setting_styles[name], "box", name) for name in settings]
        legend = [*boxes, *shapes]
    return Figure(
        "datasets",
        "Results per dataset",
        datasets_caption(data, cells, several),
        [
            Panel(
                partial(dataset_chart, data, name, several),
                name,
                f"{name}: {metric_of.get(name, 'accuracy')} against {data.predictor.label}, one "
                "point per model and setting",
                height=210 if len(datasets) <= 4 else 150,
                notes=[
                    Note(r, data.setting_styles[one].colour if several else "", one)
                    for one in settings for r in r_notes(data, one, name)
                ],
                dataset=name,
            )
            for name in datasets
        ],
        data,
        [*legend, *[LegendEntry(RING, "ring")] * bool(cells["near"].any())],
        columns=abreast(len(datasets)),
        narrow=True,
    )  # fmt: skip


def dataset_chart(data: FigureData, dataset: str, several: bool, place: PlotArea) -> Any:
    cells = data.cells[np.isfinite(data.cells["x"])]
    x = enc.predictor_axis(data, cells["x"], place)
    own = cells[cells["dataset"] == dataset]
    crowded = own["model"].nunique() > CROWD
    drawn = ["log_odds"] if crowded else ["log_odds", "low_odds", "high_odds"]
    ends = enc.domain(own[drawn])
    axis = enc.accuracy_axis(ends, place)
    if data.interactive and 1 < own["setting"].nunique() <= MOST_SETTINGS:
        axis.values, axis.tickCount = enc.shown_ticks(own, drawn, place.height), enc.MOST_TICKS
    y = alt.Y("log_odds:Q", scale=enc.scale(data, ends), axis=axis)
    points = enc.named(data, "cells", "setting", "model", dataset=dataset)
    points = points.transform_filter("isValid(datum.x)")
    style = "setting_" if several else ""
    seeds = {"seeds": "seeds"} if (data.cells["n_seeds"] > 1).any() else {}
    hover = {"model": "model", "dataset": "dataset", "setting_label": "setting",
             "predictor_text": data.predictor.label, "accuracy_text": "accuracy",
             "interval": "95 % interval", **seeds}  # fmt: skip
    bars = enc.error_bars(points, ("low_odds", "high_odds"), style, x=x, width=1, opacity=0.5)
    marks = enc.symbols(points, x, y, label=["model", "setting_label", "accuracy_text"],
                        hover=hover, size=42, opacity=0.9)  # fmt: skip
    return alt.layer(
        *([] if several else band(data, own["setting"].iloc[0], dataset)),
        regression(points, "log_odds", "setting_colour" if several else ""),
        *[bars] * (not crowded),
        enc.ring(points.transform_filter("datum.near"), x, y, 95, 1.2),
        marks.encode(enc.from_row(alt.Color, f"{style}colour")),
    )


def datasets_caption(data: FigureData, cells: pd.DataFrame, several: bool) -> str:
    bands = not several and bool(data.bands["group"].isin(cells["dataset"]).any())
    few = (cells.groupby("dataset")["model"].nunique() <= CROWD).any()
    drawn = "Error bars:" if few or not data.interactive else "Hover to see"
    some = "" if cells["low"].notna().all() else ", where known"
    bars = f"{drawn} 95 % confidence intervals from the test-set size{some}."
    return sentences(
        "Each point is one model.",
        bars if cells["low"].notna().any() else NO_SIZES,
        line_caption(data, bands, ", settings in the order of the legend" if several else ""),
        f"Rings: {tests_caption(data)}." if cells["near"].any() else "",
        "Each panel has its own vertical axis, on a logit scale.",
    )


def scratch_pairs(cells: pd.DataFrame) -> pd.DataFrame:
    """Return pairs of settings, fine-tuned and from scratch, that share a model and dataset.

    Raises
    ------
    AnalysisError
        No setting is fine-tuning, none is training from scratch, or no cell has both.
    """
    figure = "finetune-vs-scratch"
    settings = in_order(cells["setting"])
    tuned, scratch = ([setting for setting in settings if role(setting) == one]
                      for one in ("finetune", "scratch"))  # fmt: skip
    if not tuned or not scratch:
        raise AnalysisError(
            f"figure '{figure}' needs a fine-tuned setting and one trained from scratch, "
            f"found the settings {', '.join(settings)}: add results of the missing one",
            code="figure.settings_missing", figure=figure, found=settings,
        )  # fmt: skip
    pairs = cells[cells["setting"].isin(tuned)].merge(
        cells[cells["setting"].isin(scratch)], on=["model", "dataset"], suffixes=("", "_scratch")
    )
    if pairs.empty:
        raise AnalysisError(
            f"figure '{figure}' needs models and datasets measured in both {tuned[0]} and "
            f"{scratch[0]}, found none",
            code="figure.nothing_shared", figure=figure, settings=[tuned[0], scratch[0]],
        )  # fmt: skip
    return pairs[["setting", "setting_scratch"]].drop_duplicates()


def draw_scratch(data: FigureData) -> Figure:
    """Draw fine-tuned accuracy against that from scratch, with the line where both are equal."""
    settings = scratch_pairs(data.cells)
    styles = marker_styles(data.pairs["dataset"].astype(str), "other datasets")
    return Figure(
        "finetune-vs-scratch",
        "What does pretraining add to final accuracy?",
        "Each point is one model on one dataset. Above the dashed line, fine-tuning is more "
        "accurate than training from scratch. Both axes are on a logit scale labelled in percent.",
        [
            Panel(
                partial(scratch_chart, data, tuned, scratch),
                "" if len(settings) == 1 else f"{setting_label(tuned)}, {setting_label(scratch)}",
                "Accuracy of fine-tuning against training from scratch, one point per model and "
                "dataset",
                height=420,
                square=True,
                widest=560,
            )
            for tuned, scratch in settings.itertuples(index=False)
        ],
        data,
        legend_of(styles),
    )


def scratch_chart(data: FigureData, tuned: str, scratch: str, place: PlotArea) -> Any:
    ends = enc.domain(data.pairs[["log_odds", "log_odds_scratch"]], 0.05)
    both = alt.Scale(domain=list(ends), nice=False, zero=False)
    diagonal = alt.Chart(alt.InlineData(values=[{"at": end} for end in ends])).mark_line(
        color="var(--soft)", strokeDash=[4, 4], strokeWidth=1, tooltip=None, aria=False
    )
    points = enc.named(data, "pairs", "setting", "dataset", "model")
    points = points.transform_filter(enc.visible("setting", "setting_scratch"))
    points = points.transform_filter(equal("setting", tuned))
    points = points.transform_filter(equal("setting_scratch", scratch))
    across = enc.odds_axis(f"{setting_label(scratch)}: accuracy", ends, place.height)
    up = enc.odds_axis(f"{setting_label(tuned)}: accuracy", ends, place.height, upright=True)
    hover = {"model": "model", "family": "family", "dataset": "dataset",
             "accuracy_text": "fine-tuned", "interval": "95 % interval",
             "accuracy_text_scratch": "from scratch"}  # fmt: skip
    return alt.layer(
        diagonal.encode(x=alt.X("at:Q", scale=both), y=alt.Y("at:Q", scale=both)),
        enc.symbols(
            points, alt.X("log_odds_scratch:Q", scale=both, axis=across),
            alt.Y("log_odds:Q", scale=both, axis=up), "dataset_",
            ["model", "dataset", "accuracy_text", "accuracy_text_scratch"],
            hover=hover, size=50, opacity=0.9, stroke="var(--paper)", strokeWidth=0.4,
        ),
    )  # fmt: skip


NUMBERS = ["position", "silhouette", "neighbours", "neighbour_accuracy"]


def draw_embedding(data: FigureData) -> Figure:
    """Draw each network's points in the styles of their classes, the numbers above."""
    points = data.tables["embedding"].dropna(subset=["x", "y"])
    points = points.sort_values(["position", "image"], kind="stable", ignore_index=True)
    separation = optional(data.tables, "separation", NUMBERS)
    networks = [(place, own) for place, own in points.groupby("position", sort=True)]
    styles = class_styles(points["class"].astype(str))
    return Figure(
        "embedding",
        "t-SNE of test features",
        "t-SNE: nearby points are similar; axes, cluster sizes and distances between clusters have "
        "no meaning. Numbers are computed on the features, by cosine distance.",
        [
            Panel(
                partial(embedding_chart, data, place, own),
                str(own["model"].iloc[0]),
                f"{own['model'].iloc[0]}: t-SNE of {len(own)} images",
                square=True,
                bare=True,
                notes=[
                    Note(f"silhouette {number(row.silhouette)}, {row.neighbours:.0f} neighbours "
                         f"{100 * row.neighbour_accuracy:.1f} %")
                    for row in separation[separation["position"] == place].itertuples()
                ],
            )
            for place, own in networks
        ],
        data,
        legend_of(styles),
        columns=3,
    )  # fmt: skip


def embedding_chart(data: FigureData, position: int, own: pd.DataFrame, _: PlotArea) -> Any:
    """Draw the points of one network; on the page an image hovered in any is ringed in all."""
    # Both axes are equally long.
    ends = own[["x", "y"]].agg(["min", "max"])
    reach = max(0.54 * float((ends.loc["max"] - ends.loc["min"]).max()), 0.5)
    across, up = (alt.Scale(domain=[float(middle) - reach, float(middle) + reach], nice=False)
                  for middle in ends.mean())  # fmt: skip
    x = alt.X(f"x{position}:Q", axis=None, scale=across)
    y = alt.Y(f"y{position}:Q", axis=None, scale=up)
    points = alt.Chart(alt.NamedData(name="points"))
    looks = enc.from_row(alt.Color, "colour"), enc.from_row(alt.Shape, "shape")
    if not data.interactive:
        marks = points.mark_point(
            filled=True, size=26, opacity=1, stroke="var(--paper)", strokeWidth=0.3
        )
        return marks.encode(x, y, *looks).properties(view=alt.ViewBackground(stroke="var(--rule)"))
    marks = points.mark_point(filled=True, size=34, stroke="var(--paper)", strokeWidth=0.4)
    unlit = f"lit !== {quoted('')} && datum['class'] !== lit"
    marks = marks.encode(
        x, y, *looks, enc.aria_label("class", "where"),
        opacity=alt.condition(unlit, alt.value(0.12), alt.value(0.9)),
        tooltip=enc.tooltips(**{"class": "title", "picture": "image", "where": "name"}),
    )  # fmt: skip
    ring = enc.ring(points.transform_filter("datum.image === picked"), x, y, 190)
    params = [alt.param(name="lit", value=""), alt.param(name="picked", value=-1)]
    return alt.layer(ring, marks).add_params(*params)
