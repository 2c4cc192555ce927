"""The pages of test images: that of a single result, and that of embeddings.

The page of a result has its validation, confusions, calibration, classes and worst mistakes. Heat
maps are tables, which screen readers read; curves are charts as on every page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import altair as alt
import pandas as pd

from headstart.deploy.result_details import (
    Mistake,
    ResultDetails,
    Surface,
    validation_surfaces,
)
from headstart.figures import encodings as enc
from headstart.figures.figure import Figure
from headstart.figures.figure_data import FigureData, as_key
from headstart.figures.panel import Panel
from headstart.figures.scatter_charts import draw_embedding
from headstart.figures.style import class_styles
from headstart.metrics import CalibrationBin
from headstart.report.page_model import Column, PageTable, filled, named
from headstart.report.page_templates import render_page
from headstart.spec import Result, Value
from headstart.spec.formatting import SmallPicture, decimals, number, number_label, percent, ranged
from headstart.stats import wilson_interval

__all__ = [
    "MistakePicture",
    "cell_html",
    "class_table",
    "confusion_table",
    "embedding_html",
    "mistake_table",
    "separation_table",
    "similarity_table",
]

IN_PERCENT = decimals(1, scale=100)
# More classes would make cells of a few pixels; their confusions are listed.
MOST_CLASSES = 40
MOST_CONFUSIONS = 200
BLUE = {"colour": "var(--blue)", "shape": "circle"}


@dataclass(frozen=True)
class MistakePicture:
    """A mistake, what was taken for what, with its image."""

    mistake: Mistake
    image: SmallPicture


def cell_html(details: ResultDetails, pictures: Sequence[MistakePicture]) -> str:
    """Return the page of a result as HTML, with its most confident mistakes."""
    result = details.result
    several = details.confusion is None
    tables = [class_table(details)]
    if details.confused:
        tables.append(confusion_table(details))
    every = validation_surfaces(result)
    surfaces = [one for one in every if len(one.rows) * len(one.columns) > 1]
    curves = [curve_figure(one, i) for i, one in enumerate(surfaces) if not one.column]
    calibration = calibration_figure(details.calibration)
    return render_page(
        "cell.html",
        result.trial.title,
        {},
        figures=[*curves, calibration],
        tables=tables,
        description=f"One result: {result.trial.title}",
        numbers=headline_numbers(result),
        classes=tables[0],
        confused=tables[1] if len(tables) > 1 else None,
        heat=heat_map(details),
        n_classes=len(result.trial.dataset.classes),
        most_classes=MOST_CLASSES,
        alone=[only_candidate(one) for one in every if one not in surfaces],
        curves=curves,
        grids=[heat_of(one) for one in surfaces if one.column],
        calibration=calibration,
        pictures=pictures,
        n_mistakes=details.n_mistakes,
        mistakes_noun="labels" if several else "images",
        facts=facts(result),
    )


def headline_numbers(result: Result) -> list[tuple[str, str]]:
    """Return the measures of a result, each with its name."""
    metric, measures = result.trial.dataset.metric, result.metrics
    found = []
    if result.accuracy is not None:
        label = f"{metric} on {result.n_test:,} test images"
        if metric == "top-1":
            one = wilson_interval(result.accuracy, result.n_test)
            label += f", 95 % interval {ranged(one.low, one.high, IN_PERCENT)}"
        found.append((label, f"{percent(result.accuracy)} %"))
    if "log-loss" in measures:
        found.append(("log loss, nats", number(measures["log-loss"], 3)))
    if "calibration-error" in measures:
        error = f"{percent(measures['calibration-error'])} %"
        found.append(("expected calibration error", error))
    return found


def class_table(details: ResultDetails) -> PageTable:
    """Return one row per class, the worst first."""
    several = details.confusion is None
    columns = [
        named("Class", "name"),
        Column("Images", "n", lambda n: f"{n:,}"),
        Column("Average precision" if several else "Accuracy", "score", IN_PERCENT, "%"),
    ]
    if not several:
        columns += [
            Column("95 % interval", ("low", "high"), IN_PERCENT),
            Column("Precision", "precision", IN_PERCENT, "%"),
            named("Most often taken for", "taken_for"),
        ]
    rows = sorted(details.per_class, key=lambda row: (row.score is None, row.score or 0, row.name))
    caption = "Classes, the worst first"
    return filled("classes", caption, columns, [asdict(row) for row in rows])


def confusion_table(details: ResultDetails) -> PageTable:
    """Return the pairs of classes that are confused, the most frequent first."""
    columns = [
        named("Class", "label"),
        named("Taken for", "predicted"),
        Column("Images", "n", lambda n: f"{n:,}"),
        Column("Of the class", lambda row: row["n"] / row["of"], IN_PERCENT, "%"),
    ]
    rows = [asdict(one) for one in details.confused[:MOST_CONFUSIONS]]
    return filled("confused", "Most frequent confusions", columns, rows)


def mistake_table(details: ResultDetails, pictures: Sequence[MistakePicture]) -> PageTable:
    """Return the most confident mistakes as a table: where there is no page."""
    columns = [
        named("Image", "where"),
        named("Class", "label"),
        named("Taken for", "predicted"),
        Column("Confidence", "confidence", IN_PERCENT, "%"),
        Column("Probability of the class", "probability", IN_PERCENT, "%"),
    ]
    rows = [{**asdict(one.mistake), "where": one.image.where} for one in pictures]
    caption = f"Most confident of {details.n_mistakes:,} mistakes"
    return filled("mistaken", caption, columns, rows)


def heat_map(details: ResultDetails) -> dict[str, Any] | None:
    """Return the confusion matrix as a table of shares; None where there are too many classes."""
    matrix, classes = details.confusion, details.result.trial.dataset.classes
    if matrix is None or len(classes) > MOST_CLASSES:
        return None

    def cell(of: str, to: str, count: int, n: int) -> dict[str, Any]:
        title, text = f"{of} taken for {to}: {count:,} of {n:,}", f"{count:,}" if count else ""
        share = count / max(1, n)
        return {"text": text, "share": share, "right": of == to, "chosen": False, "title": title}

    rows = [
        (name, [cell(name, to, n, sum(counts)) for to, n in zip(classes, counts, strict=True)])
        for name, counts in zip(classes, matrix.tolist(), strict=True)
    ]
    return {"columns": classes, "rows": rows}


def heat_of(surface: Surface) -> dict[str, Any]:
    """Return a surface of two hyperparameters as a table of shares between its ends."""
    known = [score for row in surface.scores for score in row if score is not None]
    low, high = min(known, default=0.0), max(known, default=1.0)

    def cell(score: float | None, chosen: bool) -> dict[str, Any]:
        share = 0 if score is None else (score - low) / ((high - low) or 1)
        text = "diverged" if score is None else IN_PERCENT(score)
        return {"text": text, "share": share, "right": True, "chosen": chosen, "title": ""}

    rows = [
        (label_of(value), [cell(one, surface.chosen == (i, j)) for j, one in enumerate(scores)])
        for i, (value, scores) in enumerate(zip(surface.rows, surface.scores, strict=True))
    ]
    names = {"row": surface.row.replace("_", " "), "column": surface.column.replace("_", " ")}
    columns = [label_of(value) for value in surface.columns]
    return {**names, "title": surface.title, "columns": columns, "rows": rows}


def only_candidate(surface: Surface) -> str:
    """State what a search with a single candidate tried, and what it reached."""
    tried = [(surface.row, surface.rows[0]), (surface.column, surface.columns[0])]
    names = [f"{name.replace('_', ' ')} {label_of(value)}" for name, value in tried if name]
    score = surface.scores[0][0]
    reached = "diverged" if score is None else f"validation score {IN_PERCENT(score)} %"
    return f"One candidate {surface.title}".rstrip() + f" ({', '.join(names)}): {reached}."


def label_of(value: Value) -> str:
    return value if isinstance(value, str) else number_label(value)


def points_of(rows: list[dict[str, Any]]) -> Any:
    """Start a chart of these rows, each in one colour."""
    return alt.Chart(alt.InlineData(values=[{**row, **BLUE} for row in rows]))


def one_chart(name: str, title: str, caption: str, *layers: Any) -> Figure:
    panel = Panel(lambda _: alt.layer(*layers), "", title, height=260, widest=620)
    return Figure(name, title, caption, [panel], FigureData({}, interactive=True))


def curve_figure(surface: Surface, place: int) -> Figure:
    """Draw a path over one hyperparameter, on a logarithmic axis where its values need one."""
    name = surface.row.replace("_", " ")
    points = points_of([
        {"value": value, "score": 100 * score, "chosen": surface.chosen == (i, 0),
         "name": f"{name} {label_of(value)}", "score_text": f"{IN_PERCENT(score)} %"}
        for i, (value, (score,)) in enumerate(zip(surface.rows, surface.scores, strict=True))
        if score is not None
    ])  # fmt: skip
    values = [value for value in surface.rows if isinstance(value, (int, float)) and value > 0]
    if len(values) == len(surface.rows) and max(values) >= 100 * min(values):
        scale = alt.Scale(type="log", nice=False, padding=10)
        x = alt.X("value:Q", title=name, scale=scale, axis=alt.Axis(grid=False, format="~g"))
    else:
        axis = alt.Axis(grid=False, labelAngle=0, labelOverlap=True)
        x = alt.X("value:O", title=name, sort=None, axis=axis)
    y = alt.Y("score:Q", title="Validation score", scale=alt.Scale(zero=False, padding=10),
              axis=enc.percent_axis())  # fmt: skip
    hover = {"name": "tried", "score_text": "validation score"}
    line = points.mark_line(strokeWidth=1.8, stroke="var(--blue)", aria=False, tooltip=None)
    of = f", {surface.title}" if surface.title else ""
    return one_chart(
        f"validation-{place}",
        f"Validation score by {name}",
        f"Validation score by {name}{of}; the ring marks the choice.",
        line.encode(x, y),
        enc.symbols(points, x, y, label=[*hover], hover=hover, size=45),
        enc.ring(points.transform_filter("datum.chosen"), x, y, 220, 1.8),
    )


def calibration_figure(bins: Sequence[CalibrationBin]) -> Figure:
    """Draw accuracy against confidence, with intervals of the accuracies."""
    rows = []
    for one in bins:
        ends = wilson_interval(one.accuracy, one.n)
        rows.append({
            "confidence": 100 * one.confidence, "accuracy": 100 * one.accuracy,
            "low": 100 * ends.low, "high": 100 * ends.high, "predictions": f"{one.n:,}",
            "confidence_text": f"{IN_PERCENT(one.confidence)} %",
            "accuracy_text": f"{IN_PERCENT(one.accuracy)} %",
            "interval": f"{ranged(ends.low, ends.high, IN_PERCENT)} %",
        })  # fmt: skip
    whole = alt.Scale(domain=[0, 100], nice=False)
    x = alt.X("confidence:Q", title="Confidence", scale=whole, axis=enc.percent_axis(grid=False))
    y = alt.Y("accuracy:Q", title="Accuracy", scale=whole, axis=enc.percent_axis())
    hover = {"confidence_text": "confidence", "accuracy_text": "accuracy",
             "interval": "95 % interval", "predictions": "predictions"}  # fmt: skip
    points = points_of(rows)
    diagonal = points_of([{"confidence": end, "accuracy": end} for end in (0, 100)]).mark_line(
        strokeDash=[4, 4], strokeWidth=1, stroke="var(--soft)", aria=False, tooltip=None
    )
    return one_chart(
        "calibration",
        "Accuracy against confidence",
        "Accuracy against confidence, in 15 bins of confidence. On the dashed "
        "line confidence is accuracy; below it the network is too sure. Bars: 95 % Wilson "
        "intervals of the accuracy.",
        diagonal.encode(x, y),
        enc.error_bars(points, ("low", "high"), x=x, width=1.4, opacity=0.6),
        enc.symbols(points, x, y, label=[*hover], hover=hover, size=45),
    )


def facts(result: Result) -> list[tuple[str, str]]:
    trial = result.trial
    chosen = result.selection.chosen if result.selection else {}
    made_by = result.provenance.get("versions", {})
    found = [
        ("Model", f"{trial.model.name}, weights {trial.model.weights_name}"),
        ("Dataset", f"{trial.dataset.name}, revision {trial.dataset.revision[:16]}"),
        ("Setting", f"{trial.setting.name}, protocol {trial.setting.protocol}, seed {trial.seed}"),
        ("Chosen on validation", ", ".join(
            f"{name.replace('_', ' ')} {label_of(value)}" for name, value in chosen.items()
        )),
        ("Splits", trial.dataset.split_rule),
        ("Versions", ", ".join(f"{name} {version}" for name, version in made_by.items())),
        ("Key", trial.key),
        ("To deploy it", f"headstart export {trial.key[:12]} --to onnx"),
    ]  # fmt: skip
    return [(name, text) for name, text in found if text]


def embedding_html(tables: Mapping[str, pd.DataFrame], title: str, source: str) -> str:
    """Return the page of the tables that `headstart.embedding` makes as HTML."""
    data = FigureData(tables, interactive=True)
    images = tables["images"]
    shown = [separation_table(tables["separation"]), similarity_table(tables["similarity"])]
    return render_page(
        "embedding.html",
        title,
        {},
        figures=[draw_embedding(data)],
        tables=shown,
        description=source,
        source=source,
        styles={as_key(name): look for name, look in class_styles(images["class"]).items()},
        # Show single pixels only where all images are tiny.
        tiny=bool(images["tiny"].all()),
        separation=shown[0],
        neighbours=tables["separation"]["neighbours"].iloc[0],
        similarity=shown[1],
    )


def separation_table(separation: pd.DataFrame) -> PageTable:
    """Return one row per network: how far the classes are apart for it."""
    rows = separation.sort_values("position").to_dict("records")
    columns = [
        named("Network", "model"),
        Column("Features", "features", "{:,}".format),
        Column("Silhouette", "silhouette", decimals(3)),
        Column(f"{rows[0]['neighbours']} neighbours", "neighbour_accuracy",
               decimals(1, scale=100), "%"),
        Column("Within / between", "variance_ratio", number),
    ]  # fmt: skip
    return filled("separation", "Separation of classes", columns, rows)


def similarity_table(similarity: pd.DataFrame) -> PageTable:
    """Return one row per pair of networks: how alike their features are."""
    columns = [
        named("Network", "model"),
        named("Other", "other"),
        Column("CKA", "cka", decimals(3)),
        Column("Unbiased", "unbiased_cka", decimals(3)),
    ]
    rows = similarity.to_dict("records")
    return filled("similarity", "Similarity of representations", columns, rows)
