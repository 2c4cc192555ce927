"""The page of `headstart rank`: the model to take first, then the table, the front, the test."""

import math
from typing import Any

import altair as alt

from headstart.figures import encodings as enc
from headstart.figures.figure import Figure
from headstart.figures.figure_data import FigureData
from headstart.figures.figure_text import elided, telling_head
from headstart.figures.panel import Panel
from headstart.ranking.answer import HeldOut, NotTried, RankAnswer
from headstart.report.page_model import NEVER, Column, PageTable, filled, named
from headstart.report.page_templates import render_page
from headstart.spec.formatting import (
    Affixes,
    capitalized,
    count,
    decimals,
    first_few,
    listed,
    number,
    percent,
    ranged,
)

__all__ = ["not_tried_table", "rank_html", "rank_table"]

POINTS = decimals(1, plus=True, scale=100)
IN_PERCENT = decimals(1, scale=100)
MILLISECONDS = decimals(1, scale=1e3)
# Of the candidates that were not tried for one reason.
MOST_NAMES = 20
UNCOMPARED = dict.fromkeys(("difference", "difference_low", "difference_high"))
HEIGHT = 340
# More names would hide the points.
MOST_LABELS = 12


def rank_html(answer: RankAnswer) -> str:
    """Return the page as HTML."""
    held_out, front = answer.held_out, front_figure(answer)
    tables: dict[str, Any] = {
        "ranking": rank_table(answer),
        "finetuned": finetuned_table(answer) if answer.finetuned else None,
        "classes": class_table(held_out) if held_out else None,
        "not_tried": not_tried_table(answer) if answer.not_tried else None,
    }
    return render_page(
        "rank.html",
        f"Which backbone for {answer.dataset}?",
        {},
        figures=[front],
        tables=[one for one in tables.values() if one],
        description=answer.sentence,
        answer=answer,
        supporting=supporting(answer),
        numbers=headline_numbers(answer),
        front=front,
        held_out=held_out,
        tested=test_sentence(held_out) if held_out else "",
        facts=facts(answer),
        **tables,
    )


def headline_numbers(answer: RankAnswer) -> list[tuple[str, str]]:
    """Return the numbers of the recommended model, each with what it is."""
    taken, test = answer.winner, answer.held_out
    # Of fewer images, which lower it, where the budget ended before all were used.
    of = f"by cross-validation on {taken.images:,} images"
    found = [(of, f"{percent(taken.accuracy)} %")]
    if test:
        fitted = f"on {test.n:,} test images, fitted to {answer.images:,}"
        found.append((fitted, f"{percent(test.accuracy)} %"))
    found.append(("latency of one image", f"{MILLISECONDS(taken.cost.latency)} ms"))
    if taken.parameters:
        found.append(("parameters", f"{number(taken.parameters / 1e6, 1)} M"))
    return found


def supporting(answer: RankAnswer) -> list[str]:
    """Return what a reader should know before using the recommendation."""

    def are(n: int) -> str:
        return "is" if n == 1 else "are"

    leaders = {answer.recommended, answer.models[0].name}
    tied = [model.name for model in answer.tied if model.name not in leaders]
    worse, found = sum(not model.tied for model in answer.models), []
    if tied:
        found.append(f"{listed(tied, 3)} {are(len(tied))} not significantly different from the "
                     "best.")  # fmt: skip
    if worse:
        found.append(f"{worse} of {len(answer.models)} measured models {are(worse)} "
                     "significantly worse than another one.")  # fmt: skip
    if answer.held_out:
        found.append(test_sentence(answer.held_out))
    found += [
        f"Fine-tuning {one.name} by {one.setting}: {one.verdict} "
        f"({POINTS(one.difference)} points, {ranged(one.low, one.high, POINTS)})."
        + (f" To deploy it: {one.deploy}" if one.low > 0 and one.deploy else "")
        for one in answer.finetuned
    ]
    found += [f"{capitalized(note)}." for note in answer.notes]
    if answer.not_tried:
        n = count(len(answer.not_tried), "candidate")
        found.append(f"{n} not tried: the reasons are below.")
    if answer.winner.licence:
        licence = answer.winner.licence
        found.append(f"Licence of the weights of {answer.recommended}: {licence}.")
    return found


def test_sentence(found: HeldOut) -> str:
    """Return what the images say that played no part in the choice."""
    ends = ranged(found.low, found.high, IN_PERCENT)
    interval = f" (95 % interval {ends})" if ends else ""
    left_out = f" Left out: {count(found.left_out, 'test image')} that cannot be decoded."
    left_out *= found.left_out > 0
    return (
        f"On {found.n:,} test images that played no part in the choice: {found.metric} accuracy "
        f"{percent(found.accuracy)} %{interval}, expected calibration error "
        f"{percent(found.calibration_error)} %, log loss {number(found.log_loss, 3)}.{left_out}"
    )


def rank_table(answer: RankAnswer) -> PageTable:
    """Return the measured models, those that may be the best first."""
    columns = [
        named("Model", "name", folded=True),
        Column("Accuracy", of="accuracy", format=IN_PERCENT, unit="%", marked=True),
        Column("Images", of="images", format=lambda value: f"{value:,}"),
        Column("95 % interval", of=("low", "high"), format=IN_PERCENT),
        Column("Difference", of="difference", format=POINTS, unit="points"),
        Column("Simultaneous interval", of=("difference_low", "difference_high"), format=POINTS,
               detail=1),
        named("Verdict", lambda row: (
            "recommended" if row["recommended"] else "tied" if row["tied"] else "worse")),
        Column("Latency", of="latency", format=MILLISECONDS, unit="ms"),
        Column("95th percentile", of="latency_95", format=MILLISECONDS, unit="ms", detail=1),
        Column("Throughput", of="throughput", format=decimals(0), unit="images/s", detail=1),
        Column("Peak memory", of="memory", format=decimals(0, scale=1e-6), unit="MB", detail=1),
        Column("Parameters", of="parameters", format=decimals(1, scale=1e-6), unit="M"),
        Column("Multiply-adds", of="multiply_adds", format=decimals(2, scale=1e-9), unit="G",
               detail=1),
        Column("Prior", of="prior", format=IN_PERCENT, unit="%", detail=1),
        Column("Time", of="seconds", format=decimals(0), unit="s", detail=1),
        named("Measured no further", lambda row: row["reason"] or None, detail=NEVER),
        named("Licence", "licence", detail=NEVER),
        named("Why a candidate", "why", detail=NEVER),
    ]  # fmt: skip
    rows = []
    for row in answer.rows():
        best = row["name"] == answer.models[0].name
        # It is what the others are compared with.
        alone = UNCOMPARED if best else {}
        rows.append({**row, "best": best, "not_different": row["tied"], **alone})
    note = (
        f"Accuracy by {answer.repeats} times {answer.folds}-fold cross-validation. The difference "
        "is from the best model on the images that both were measured on; its interval is of the "
        "difference from the best other model, simultaneous over all looks and models: the best "
        f"candidate is dropped in at most {percent(answer.error, 0)} % of races. The prior is what "
        "public tables let expect on an average dataset; it orders the race and enters no measured "
        f"number. Latency and throughput on {answer.device}; peak memory is that of weights and "
        "tensors for one image."
    )
    return filled(
        "ranking",
        "Measured models",
        columns,
        rows,
        note=note,
        marker_legend="Bold: best. Underlined: not significantly different from the best."
        * (len(rows) > 1),
        marks=len(rows) > 1,
    )


def class_table(found: HeldOut) -> PageTable:
    columns = [
        named("Class", "name"),
        Column("Accuracy", of="accuracy", format=IN_PERCENT, unit="%"),
        Column("95 % interval", of=("low", "high"), format=IN_PERCENT),
        Column("Test images", of="n", format=str),
    ]
    rows = sorted((vars(one) for one in found.classes), key=lambda row: (row["accuracy"], row["n"]))
    return filled("classes", "Accuracy per class on the test images", columns, rows)


def finetuned_table(answer: RankAnswer) -> PageTable:
    columns = [
        named("Model", "name", folded=True),
        Column("Linear", of="linear", format=IN_PERCENT, unit="%"),
        Column("Fine-tuned", of="accuracy", format=IN_PERCENT, unit="%"),
        Column("Difference", of="difference", format=POINTS, unit="points"),
        Column("Simultaneous interval", of=("low", "high"), format=POINTS),
        named("Verdict", "verdict"),
        Column("Time", of="seconds", format=decimals(0), unit="s"),
    ]
    rows = [{**vars(one), "verdict": one.verdict} for one in answer.finetuned]
    note = (
        f"Fine-tuned by the search of {answer.finetuned[0].setting}; a longer one may reach more. "
        "Both on the same test images: a model that is chosen by these numbers was chosen on them."
    )
    return filled("finetuned", "Does fine-tuning pay?", columns, rows, note=note)


def not_tried_table(answer: RankAnswer) -> PageTable:
    """Return the candidates that were not measured, by reason."""
    columns = [
        named("Why", "reason"),
        Column("Candidates", of="n", format=str),
        named("Names", "names"),
        named("What to do", "remedy"),
    ]
    reasons: dict[str, list[NotTried]] = {}
    for one in answer.not_tried:
        reasons.setdefault(one.reason, []).append(one)
    rows = []
    for reason, some in reasons.items():
        names, remedies = [one.name for one in some], {one.remedy for one in some}
        remedy = some[0].remedy if len(remedies) == 1 else f"for the first: {some[0].remedy}"
        shown = first_few(names, MOST_NAMES)
        rows.append({"reason": reason, "n": len(some), "names": shown, "remedy": remedy})
    return filled("missing", "Candidates that were not tried", columns, rows)


def front_rows(answer: RankAnswer) -> list[dict[str, Any]]:
    """Return the points of the front; those on fewer images than the best are hollow."""
    affixes = Affixes.of(model.name for model in answer.models)
    head = telling_head(affixes.short(model.name) for model in answer.models)
    latencies = [model.cost.latency for model in answer.models]
    middle = math.sqrt(min(latencies) * max(latencies))
    rows = []
    for model in answer.models:
        partial = model.images < answer.models[0].images
        colour = "var(--blue)" if model.tied else "var(--grey)"
        rows.append({
            "model": model.name,
            "label": elided(affixes.short(model.name), head=head),
            "latency": 1e3 * model.cost.latency,
            **{of: 100 * getattr(model, of) for of in ("accuracy", "low", "high")},
            "front": model.pareto,
            "taken": (taken := model.name == answer.recommended),
            "named": model.pareto or taken or model is answer.models[0],
            "fast": model.cost.latency < middle,
            "partial": partial,
            "shape": "circle",
            "colour": colour,
            "fill": "var(--paper)" if partial else colour,
            "images_text": f"{model.images:,} images",
            "accuracy_text": f"{percent(model.accuracy)} %",
            "interval": ranged(model.low, model.high, IN_PERCENT),
            "latency_text": f"{MILLISECONDS(model.cost.latency)} ms",
        })  # fmt: skip
    return rows


def front_figure(answer: RankAnswer) -> Figure:
    """Draw accuracy against latency, and the models that no other one beats in both."""
    rows = front_rows(answer)
    points = alt.Chart(alt.InlineData(values=rows))
    x = alt.X(
        "latency:Q",
        title="Latency of one image (ms)",
        scale=alt.Scale(type="log", nice=False, padding=24),
        axis=alt.Axis(grid=False, tickCount=6, format="~r"),
    )
    reach = enc.domain([row[end] for row in rows for end in ("low", "high")])
    y = alt.Y("accuracy:Q", title="Accuracy", scale=alt.Scale(domain=list(reach), nice=False),
              axis=enc.percent_axis())  # fmt: skip
    hover = {"model": "model", "accuracy_text": "accuracy", "images_text": "measured on",
             "interval": "95 % interval", "latency_text": "latency"}  # fmt: skip
    label = ["model", "accuracy_text", "images_text", "latency_text"]
    marks = enc.symbols(points, x, y, label=label, hover=hover, filled=False, size=80,
                        strokeWidth=1.6)  # fmt: skip
    line = points.transform_filter("datum.front").mark_line(
        interpolate="step-after", stroke="var(--rule)", strokeWidth=1.4, aria=False, tooltip=None
    )

    # The line rises to the right: below a point on its right is no line, nor above on its left.
    text = {name: alt.ExprRef(f"{when} ? {yes} : {no}") for name, when, yes, no in (
        ("align", "datum.fast", "'left'", "'right'"), ("dx", "datum.fast", 8, -8),
        ("baseline", "datum.fast || datum.partial", "'top'", "'bottom'"),
        ("dy", "datum.fast || datum.partial", 5, -5),
    )}  # fmt: skip
    texts = [
        points.transform_filter(f"datum.{which}")
        .mark_text(**text, fontSize=11, aria=False, tooltip=None)
        .encode(x, y, text=f"{field}:N")
        for which, field in (("partial", "images_text"), ("named", "label"))
        if sum(row[which] for row in rows) <= MOST_LABELS
    ]
    chart = alt.layer(
        line.encode(x, y),
        enc.error_bars(points, ("low", "high"), x=x, width=1.2, opacity=0.5),
        marks.encode(enc.from_row(alt.Fill, "fill")),
        enc.ring(points.transform_filter("datum.taken"), x, y, 240),
        *texts,
    )
    caption = (
        "Each point is a measured model, with the 95 % interval of its accuracy. Blue: not "
        "significantly different from the best; grey: significantly worse; hollow: measured on "
        "fewer images, which lowers its accuracy. The line joins the models on as many images as "
        "the best that no other one beats in both; the ring marks the recommended one. Latency is "
        f"of one image at a time on {answer.device}, on a logarithmic scale."
    )
    description = f"Accuracy against latency of {len(rows)} models"
    panel = Panel(lambda _: chart, "", description, HEIGHT)
    data = FigureData({}, interactive=True)
    return Figure("front", "Accuracy against latency", caption, [panel], data)


def facts(answer: RankAnswer) -> list[tuple[str, str]]:
    ended = "all candidates measured on all images, or dropped" if answer.complete else (
        "ended by the budget: some models were not measured on all images"
    )  # fmt: skip
    found = [
        ("Images", f"{answer.images:,} to choose by, {answer.test_images:,} set aside for the test "
                   f"({answer.split_rule}); {answer.classes} classes"),
        ("Probe", "L2-regularised logistic regression on penultimate features, each fit "
                  f"certified; {answer.repeats} times {answer.folds}-fold cross-validation, the "
                  "penalty of a fold chosen by the other folds"),
        ("Race", "nested subsets, each twice as large as the one before; a model is dropped by a "
                 "paired test on the same images whose variance allows for training images that "
                 f"folds share; the best is dropped with probability {percent(answer.error, 0)} % "
                 "at most"),
        ("Recommended", "the fastest of the models that are not significantly different from the "
                        "best, were measured on as many images, and are at most "
                        f"{number(100 * answer.tolerance, 1)} points less accurate; the best, if "
                        "that saves less than a tenth of its latency"),
        ("Budget", f"{answer.spent:,.0f} s of {answer.budget:,.0f} s; {ended}"),
        ("Device", answer.device),
        ("Seed", str(answer.seed)),
    ]  # fmt: skip
    if answer.held_out:
        test = answer.held_out
        found.append(("Stored as", f"trial {test.key[:12]} in {test.store}"))
        if test.folder:
            found.append(("Network", test.folder))
        found.append(("To deploy it", test.deploy))
    return found
