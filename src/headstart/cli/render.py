"""Nouns -> tables for the screen."""

from collections.abc import Sequence
from typing import Any

from rich.console import Group
from rich.text import Text

from headstart.cli.tables import plain_table, shortened
from headstart.metrics import AtChance
from headstart.spec import Dataset, Result
from headstart.spec.labels import number_label
from headstart.stats import wilson_interval
from headstart.store import data_warnings, left_out, result_row
from headstart.study import Outlook

__all__ = ["needs", "outlook", "results", "sizes_line"]

# Said once under the table where all rows agree.
SHARED = (
    "configuration", "setting", "protocol", "metric", "precision", "seed", "limit", "steps",
    "examples_per_class",
)  # fmt: skip

HEADINGS = {"examples_per_class": "a class", "configuration": "training"}


def results(found: Sequence[Result]) -> Group:
    """One row per result; top-1 accuracies with their 95 % interval from the size of the test set.

    What all rows share is said once, below.
    """
    rows = [result_row(result) for result in found]
    varying = [name for name in SHARED if len({row[name] for row in rows}) > 1]
    # What was chosen on validation; several hyperparameters share a column, to keep it narrow.
    names = list(dict.fromkeys(name for r in found if r.selection for name in r.selection.chosen))
    chosen = names if len(names) == 1 else ["chosen"]
    upstream = _upstream_heading(found)
    numbers = (upstream, "accuracy", "95 % CI", "n", *chosen, "time")
    headings = [HEADINGS.get(name, name) for name in varying]
    table = plain_table("model", upstream, "dataset", *headings, *numbers[1:], right=set(numbers))
    for result, row in zip(found, rows, strict=True):
        accuracy = row["upstream_accuracy"]
        table.add_row(
            shortened(row["model"]),
            f"{100 * accuracy:.2f}" if accuracy else "-",
            _dataset(row, rows),
            *("-" if row[name] is None else _level(name, row[name]) for name in varying),
            f"{100 * row['accuracy']:.2f}",
            _interval(result),
            str(row["n_test"]),
            _chosen(result),
            f"{row['seconds']:.1f} s",
        )
    said = [_shared(rows, varying), *_legend(found), *_certified(rows)]
    return Group(table, *(Text(line, style="dim") for line in said), *_warnings(found, rows))


def _level(name: str, value: Any) -> str:
    """Write a level of a factor; of how a model was trained what stands before a colon."""
    return str(value).partition(":")[0] if name == "configuration" else str(value)


def _upstream_heading(found: Sequence[Result]) -> str:
    """Name the upstream task; what was pretrained here may know another than ImageNet."""
    known = [result.trial.model.upstream for result in found]
    names = {first.dataset.partition("-")[0] for first, *_ in filter(None, known)}
    return "ImageNet" if names <= {"ImageNet"} else "upstream"


def _dataset(row: dict[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    """Name a dataset, with its content where others of that name have another."""
    name = str(row["dataset"])
    several = {other["content"] for other in rows if other["dataset"] == name}
    return f"{name} ({row['content']})" if len(several) > 1 else name


def outlook(found: Outlook, hours: float | None) -> list[str]:
    """What is here and what is missing, a line each; then how much it takes."""
    lines = [
        *needs(found),
        f"to download: {found.weight_bytes / 1e9:,.1f} GB of weights, and the datasets; to keep: "
        f"{found.feature_bytes / 1e9:,.1f} GB of features",
        _hours(hours),
    ]
    if found.unknown_sizes:
        lines.append(f"without {', '.join(found.unknown_sizes)}: of unknown size")
    return lines


def needs(found: Outlook) -> list[str]:
    """What is here and what is missing, a line each; then how many trials that leaves."""
    width = max(len(need.name) for need in found.needs) + 2
    here = {True: "here", False: "missing"}
    lines = [
        f"{need.kind:<9}{need.name:<{width}}{here[need.present]:<9}{need.place}".rstrip()
        for need in found.needs
    ]
    missing = sum(not need.present for need in found.needs)
    waiting = found.n_trials - found.n_stored - found.n_ready
    trials = "trial" if found.n_trials == 1 else "trials"
    return [
        *lines,
        *found.notes,
        "",
        f"{found.n_trials:,} {trials}: {found.n_stored:,} stored, {found.n_ready:,} can be "
        f"measured now, {waiting:,} blocked ({missing} of {len(found.needs)} above missing)",
    ]


def _hours(hours: float | None) -> str:
    if hours is None:
        return "hours: unknown, since the arithmetic of a network is"
    return (
        f"about {hours:,.1f} hours of forward passes for features on this processor, of whose "
        "matrix products half the rate is assumed"
    )


def sizes_line(dataset: Dataset) -> str:
    """State how much of a dataset is used."""
    used = dict(dataset.used_sizes)
    parts = [f"{used[split]:,} of {size:,} {split}" for split, size in dataset.sizes]
    return f"{dataset.name}: {', '.join(parts)} images"


def _shared(rows: Sequence[dict[str, Any]], varying: Sequence[str]) -> str:
    if not rows:
        return "no results yet"
    shared = ["accuracies in percent"]
    shared += [
        f"{name} {rows[0][name]}"
        for name in SHARED
        if name not in varying and rows[0][name] is not None
    ]
    return ", ".join(shared)


def _certified(rows: Sequence[dict[str, Any]]) -> list[str]:
    """State how far from its optimum a regression of the table may be at most."""
    gaps = [row["relative_gap"] for row in rows if row["relative_gap"] is not None]
    if not gaps:
        return []
    which = "each regression" if len(gaps) == len(rows) else f"{len(gaps)} of {len(rows)}"
    return [f"{which} certified to within {max(gaps):.1e} of its optimum (relative duality gap)"]


def _warnings(found: Sequence[Result], rows: Sequence[dict[str, Any]]) -> list[Text]:
    counts = {
        "choices on the edge of their grid": sum(bool(row["on_edge"]) for row in rows),
        "fits that did not reach their tolerance": sum(row["unconverged"] for row in rows),
        "broken images left out": len(left_out(found)),
    }
    lines = [f"{what}: {count}" for what, count in counts.items() if count]
    lines += [
        f"warning: {result.trial.title}: {AtChance(**chance).text}"
        for result in found
        if (chance := result.provenance.get("at_chance"))
    ]
    lines += [
        f"data warnings: {name}: {', '.join(dict.fromkeys(codes.values())).replace('-', ' ')} "
        "(headstart results show)"
        for name, codes in data_warnings(found).items()
    ]
    return [Text(line, style="yellow") for line in lines]


def _chosen(result: Result) -> str:
    """Write the choices, in the order in which the setting names them."""
    chosen = result.selection.chosen if result.selection else {}
    values = [chosen[name] for name in result.trial.setting.chosen if name in chosen]
    said = (value if isinstance(value, str) else number_label(value) for value in values)
    return " / ".join(said) or "-"


def _legend(found: Sequence[Result]) -> list[str]:
    """Return which choices stand in a column that has several."""
    orders = dict.fromkeys(result.trial.setting.chosen for result in found)
    if len(orders) == 1 and all(len(names) == 1 for names in orders):
        return []
    said = (" / ".join(name.replace("_", " ") for name in names) for names in orders)
    return [f"chosen: {', or '.join(said)}"] if orders else []


def _interval(result: Result) -> str:
    accuracy = result.accuracy
    if accuracy is None or result.trial.dataset.metric != "top-1":
        return "-"
    interval = wilson_interval(accuracy, result.n_test)
    return f"{100 * interval.low:.1f}-{100 * interval.high:.1f}"
