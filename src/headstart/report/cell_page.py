"""The page of a single result: validation, confusions, calibration, classes, worst mistakes.

It needs neither torch nor a library of charts: heat maps are tables, curves are drawn as SVG.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from headstart.deploy.result_details import (
    Mistake,
    ResultDetails,
    Surface,
    validation_surfaces,
)
from headstart.metrics import CalibrationBin
from headstart.report.page_model import Column, Names, PageTable, filled
from headstart.report.page_templates import render_page
from headstart.spec import Result, Value
from headstart.spec.display_names import number_label
from headstart.spec.formatting import decimals, number, percent, ranged
from headstart.stats import wilson_interval

__all__ = ["MistakePicture", "cell_html", "class_table", "confusion_table", "mistake_table"]

NAMES = Names((), (), ())
IN_PERCENT = decimals(1, scale=100)
# More classes would make cells of a few pixels; their confusions are listed.
MOST_CLASSES = 40
MOST_CONFUSIONS = 200
# Of a curve's drawing: its sides, and the margins at its left and below.
WIDTH, HEIGHT, LEFT, RIGHT, BELOW = 520, 260, 52, 24, 40
MOST_TICKS = 7


@dataclass(frozen=True)
class MistakePicture:
    """A mistake with its image.

    Parameters
    ----------
    mistake
        What was taken for what.
    where
        File name, or number of the example.
    picture
        A small copy as a data URI; "" without one.
    tiny
        Whether its pixels are to be seen.
    """

    mistake: Mistake
    where: str
    picture: str = ""
    tiny: bool = False


def cell_html(details: ResultDetails, pictures: Sequence[MistakePicture]) -> str:
    """Return the page of a result as HTML.

    Parameters
    ----------
    details
        What its stored predictions say.
    pictures
        Its most confident mistakes.
    """
    result = details.result
    several = details.confusion is None
    tables = [class_table(details)]
    if details.confused:
        tables.append(confusion_table(details))
    surfaces = validation_surfaces(result)
    return render_page(
        "cell.html",
        result.trial.title,
        {},
        charts=False,
        tables=tables,
        description=f"One result: {result.trial.title}",
        numbers=headline_numbers(result),
        classes=tables[0],
        confused=tables[1] if len(tables) > 1 else None,
        heat=heat_map(details),
        most_classes=MOST_CLASSES,
        curves=[line_of(one) for one in surfaces if not one.column],
        grids=[heat_of(one) for one in surfaces if one.column],
        calibration=calibration_drawing(details.calibration),
        pictures=pictures,
        n_mistakes=details.n_mistakes,
        mistakes_noun="labels" if several else "images",
        facts=facts(result),
        settings=[],
        families=[],
        residual_steps=[],
        most_families=0,
    )


def headline_numbers(result: Result) -> list[tuple[str, str]]:
    """Return the measures of a result, each with its name."""
    metric, measures = result.trial.dataset.metric, result.metrics
    found = []
    if result.accuracy is not None:
        interval = ""
        if metric == "top-1":
            one = wilson_interval(result.accuracy, result.n_test)
            interval = f", 95 % interval {ranged(one.low, one.high, IN_PERCENT)}"
        label = f"{metric} on {result.n_test:,} test images{interval}"
        found.append((label, f"{percent(result.accuracy)} %"))
    if "log-loss" in measures:
        found.append(("log loss, nats", number(measures["log-loss"], 3)))
    if "calibration-error" in measures:
        error = percent(measures["calibration-error"])
        found.append(("expected calibration error", f"{error} %"))
    return found


def class_table(details: ResultDetails) -> PageTable:
    """Return one row per class, the worst first."""
    several = details.confusion is None
    columns = [
        Column("Class", "name", numeric=False),
        Column("Images", "n", lambda n: f"{n:,}"),
        Column("Average precision" if several else "Accuracy", "score", IN_PERCENT, "%"),
    ]
    if not several:
        columns += [
            Column("95 % interval", ("low", "high"), IN_PERCENT),
            Column("Precision", "precision", IN_PERCENT, "%"),
            Column("Most often taken for", "taken_for", numeric=False),
        ]
    rows = sorted(details.per_class, key=lambda row: (row.score is None, row.score or 0, row.name))
    caption = "Classes, the worst first"
    return filled("classes", caption, columns, [asdict(row) for row in rows], NAMES)


def confusion_table(details: ResultDetails) -> PageTable:
    """Return the pairs of classes that are confused, the most frequent first."""
    columns = [
        Column("Class", "label", numeric=False),
        Column("Taken for", "predicted", numeric=False),
        Column("Images", "n", lambda n: f"{n:,}"),
        Column("Of the class", lambda row: row["n"] / row["of"], IN_PERCENT, "%"),
    ]
    rows = [asdict(one) for one in details.confused[:MOST_CONFUSIONS]]
    return filled("confused", "Most frequent confusions", columns, rows, NAMES)


def mistake_table(details: ResultDetails, pictures: Sequence[MistakePicture]) -> PageTable:
    """Return the most confident mistakes as a table: where there is no page."""
    columns = [
        Column("Image", "where", numeric=False),
        Column("Class", "label", numeric=False),
        Column("Taken for", "predicted", numeric=False),
        Column("Confidence", "confidence", IN_PERCENT, "%"),
        Column("Probability of the class", "probability", IN_PERCENT, "%"),
    ]
    rows = [{**asdict(one.mistake), "where": one.where} for one in pictures]
    caption = f"Most confident of {details.n_mistakes:,} mistakes"
    return filled("mistaken", caption, columns, rows, NAMES)


def heat_map(details: ResultDetails) -> dict[str, Any] | None:
    """Return the confusion matrix as a table of shares; None where there are too many classes."""
    matrix, classes = details.confusion, details.result.trial.dataset.classes
    if matrix is None or len(classes) > MOST_CLASSES:
        return None
    rows = []
    for place, (name, counts) in enumerate(zip(classes, matrix.tolist(), strict=True)):
        n = max(1, sum(counts))
        cells = [
            {"text": f"{count:,}" if count else "", "share": count / n, "right": place == column,
             "chosen": False,
             "title": f"{name} taken for {classes[column]}: {count:,} of {sum(counts):,}"}
            for column, count in enumerate(counts)
        ]  # fmt: skip
        rows.append((name, cells))
    return {"columns": classes, "rows": rows}


def heat_of(surface: Surface) -> dict[str, Any]:
    """Return a surface of two hyperparameters as a table of shares between its ends."""
    known = [score for row in surface.scores for score in row if score is not None]
    low, high = min(known, default=0.0), max(known, default=1.0)
    rows = []
    for place, (value, scores) in enumerate(zip(surface.rows, surface.scores, strict=True)):
        cells = [
            {
                "text": "diverged" if score is None else IN_PERCENT(score),
                "share": 0 if score is None else (score - low) / ((high - low) or 1),
                "right": True,
                "chosen": surface.chosen == (place, column),
                "title": "",
            }
            for column, score in enumerate(scores)
        ]
        rows.append((label_of(value), cells))
    return {
        "title": surface.title,
        "row": surface.row.replace("_", " "),
        "column": surface.column.replace("_", " "),
        "columns": [label_of(value) for value in surface.columns],
        "rows": rows,
    }


def label_of(value: Value) -> str:
    """Return a hyperparameter's value as text."""
    return value if isinstance(value, str) else number_label(value)


def line_of(surface: Surface) -> dict[str, Any]:
    """Return a path over one hyperparameter as a drawing, on a logarithmic axis where it has one.

    Values that are not numbers of several magnitudes are evenly spaced.
    """
    scores = [row[0] for row in surface.scores]
    known = [score for score in scores if score is not None]
    low, high = min(known, default=0.0), max(known, default=1.0)
    room = 0.06 * ((high - low) or 1)
    low, high = max(0.0, low - room), min(1.0, high + room)
    shares, ticks = places_of(surface.rows)
    points = [
        (x_of(share), y_of((score - low) / ((high - low) or 1)), label_of(value), score)
        for share, value, score in zip(shares, surface.rows, scores, strict=True)
        if score is not None
    ]
    chosen = surface.chosen[0] if surface.chosen else None
    name = surface.row.replace("_", " ")
    return {
        "title": surface.title,
        "name": name,
        "path": " ".join(f"{x:.1f},{y:.1f}" for x, y, *_ in points),
        "points": [
            (x, y, f"{name} {value}: {IN_PERCENT(score)} %") for x, y, value, score in points
        ],
        "x_ticks": [(x_of(share), text) for share, text in ticks],
        "y_ticks": levels(low, high),
        "ring": None
        if chosen is None or scores[chosen] is None
        else (x_of(shares[chosen]), y_of(((scores[chosen] or 0) - low) / ((high - low) or 1))),
    }


def places_of(values: Sequence[Value]) -> tuple[list[float], list[tuple[float, str]]]:
    """Return where values lie on an axis from 0 to 1, and its ticks with their labels."""
    numbers = [value for value in values if isinstance(value, (int, float)) and value > 0]
    across = max(1, len(values) - 1)
    even = [i / across for i in range(len(values))]
    if len(numbers) == len(values) and max(numbers) >= 100 * min(numbers):
        first, last = math.log10(min(numbers)), math.log10(max(numbers))
        powers = range(math.ceil(first - 1e-9), math.floor(last + 1e-9) + 1)
        step = max(1, math.ceil(len(powers) / MOST_TICKS))
        return (
            [(math.log10(number) - first) / (last - first) for number in numbers],
            [((power - first) / (last - first), power_label(power)) for power in powers[::step]],
        )
    step = math.ceil(len(values) / MOST_TICKS)
    return even, [(even[i], label_of(values[i])) for i in range(0, len(values), step)]


def power_label(power: int) -> str:
    """Write a power of ten.

    Examples
    --------
    >>> power_label(-1), power_label(2), len(power_label(-6))
    ('0.1', '100', 4)
    """
    if -3 < power < 4:
        return f"{10.0**power:g}"
    digits = "\u207b", *"\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"
    return "10" + str(power).translate(dict(zip(map(ord, "-0123456789"), digits, strict=True)))


def levels(low: float, high: float) -> list[tuple[float, str]]:
    """Return levels of a drawing at round percentages, three at the least."""
    steps = (20.0, 10.0, 5.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
    for step in steps:
        first, last = math.ceil(100 * low / step - 1e-9), math.floor(100 * high / step + 1e-9)
        if last - first >= 2:
            break
    marks = [i * step for i in range(first, last + 1)]
    return [(y_of((mark / 100 - low) / ((high - low) or 1)), f"{mark:.4g}") for mark in marks]


def x_of(share: float) -> float:
    """Return where a share of the width lies in a drawing."""
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def y_of(share: float) -> float:
    """Return where a share of the height lies in a drawing; 0 is at the bottom."""
    return (HEIGHT - BELOW) - share * (HEIGHT - BELOW - 12)


def calibration_drawing(bins: Sequence[CalibrationBin]) -> dict[str, Any]:
    """Return confidence against accuracy as a drawing, with intervals of the accuracies."""
    points = []
    for one in bins:
        ends = wilson_interval(one.accuracy, one.n)
        about = (
            f"confidence {IN_PERCENT(one.confidence)} %, accuracy {IN_PERCENT(one.accuracy)} %, "
            f"95 % interval {ranged(ends.low, ends.high, IN_PERCENT)}, {one.n:,} predictions"
        )
        places = x_of(one.confidence), y_of(one.accuracy), y_of(ends.low), y_of(ends.high)
        points.append((*places, about))
    percents = range(0, 101, 20)
    return {
        "points": points,
        "diagonal": (x_of(0), y_of(0), x_of(1), y_of(1)),
        "x_ticks": [(x_of(mark / 100), f"{mark}") for mark in percents],
        "y_ticks": [(y_of(mark / 100), f"{mark}") for mark in percents],
    }


def facts(result: Result) -> list[tuple[str, str]]:
    """Return what the result is, and what made it."""
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
