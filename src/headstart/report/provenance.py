"""How every number was obtained: sources, options of the analysis, trials, omissions."""

from collections.abc import Iterable
from functools import partial
from typing import Any

from headstart.analysis import Analysis, source_notes
from headstart.report.page_model import (
    DATASET,
    MODEL,
    SETTING,
    Column,
    Names,
    PageTable,
    Record,
    correction_sentence,
    filled,
    named,
)
from headstart.spec.formatting import (
    ERROR_BARS,
    UNKNOWN,
    count,
    decimals,
    known,
    listed,
    setting_label,
)

__all__ = [
    "alarms",
    "by_dataset",
    "datasets_table",
    "facts",
    "measured",
    "missing_tables",
    "skipped",
    "sources",
    "trials_table",
    "with_labels",
]

KINDS = {
    "published": "published table",
    "csv": "CSV table",
    "predictions": "per-image predictions",
    "frame": "pandas data frame",
    "store": "headstart results store",
}
# Values that trials share are listed once, with the number of trials.
SHARED = {
    "protocol": "Protocol",
    "precision": "Precision",
    "seed": "Trial seeds",
    "limit": "Limit",
    "versions": "Versions",
}
UNITS = {"percent": "accuracies in percent", "proportion": "accuracies as proportions"}
WHOLE = "{:,.0f}".format
Source = dict[str, Any]


def sources(subject: Analysis) -> list[Source]:
    """Return a readable description of each source; unknown values are empty."""
    keys = ("name", "description", "citation", "sha256", "error")
    described = []
    for source in subject.sources:
        rows = source.get("rows")
        described.append(
            {
                **{key: str(source.get(key) or "") for key in keys},
                "unit": UNITS.get(str(source.get("unit")), ""),
                "kind": KINDS.get(str(source.get("kind")), str(source.get("kind") or "source")),
                "digitised": bool(source.get("digitised")),
                "rows": count(int(rows), "row") if rows else "",
                "notes": source_notes(source),
                "columns": [f"{a} = {b}" for a, b in dict(source.get("columns") or {}).items()],
            }
        )
    return described


def measured(subject: Analysis) -> int:
    """Count the accuracies used: rows of the sources, with all seeds and levels of sweeps."""
    rows = [source.get("rows") for source in subject.sources]
    lacking = sum(int(source.get("without_accuracy") or 0) for source in subject.sources)
    total = sum(int(n) for n in rows if n) - lacking if rows and all(rows) else 0
    return max(total, len(subject.cells))


def facts(subject: Analysis) -> list[tuple[str, str]]:
    """List the options of the analysis, and what the trials have in common."""
    options = subject.options
    guessed = [source for source in subject.sources if source.get("families") == "guessed"]
    families = "inferred from model names" if guessed else ""
    if 0 < len(guessed) < len(subject.sources):
        families += f" in {listed([str(source.get('name')) for source in guessed], 100)}"
    given = [
        ("Error bars", ERROR_BARS.get(str(options.get("error_bars")), options.get("error_bars"))),
        ("Multiple comparisons", correction_sentence(subject)),
        ("Bootstrap resamples", options.get("resamples")),
        ("Random seed of the analysis", options.get("seed")),
        ("Confidence level", options.get("level")),
        ("Dataset groups", groups_text(options.get("groups") or {})),
        ("Model families", families),
    ]
    trials = subject.trials
    if "metric" in trials:
        metric = {d: m for d, m in zip(trials.dataset, trials.metric, strict=True) if known(m)}
        several = len(set(metric.values())) > 1
        given.append(("Metric", groups_text(metric) if several else values_text(trials.metric)))
    given += [
        (label, values_text(trials[name])) for name, label in SHARED.items() if name in trials
    ]
    return [(label, text(value)) for label, value in given if text(value)]


def text(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value) if known(value) else ""


def groups_text(groups: dict[str, str]) -> str:
    members: dict[str, list[str]] = {}
    for dataset, group in groups.items():
        members.setdefault(str(group), []).append(str(dataset))
    return "; ".join(f"{group}: {listed(names, 100)}" for group, names in members.items())


def values_text(column: Iterable[Any]) -> str:
    """Return a column's distinct values, each with its number of trials if they differ."""
    values = [str(value) for value in column if known(value)]
    distinct = list(dict.fromkeys(values))
    if len(distinct) < 2:
        return "".join(distinct)
    return "; ".join(f"{value} ({count(values.count(value), 'trial')})" for value in distinct)


def alarms(subject: Analysis) -> list[str]:
    """Return warnings: fits that did not converge, images that could not be decoded."""
    found, trials = [], subject.trials
    counts = [int(n) for n in trials["unconverged"] if known(n) and n > 0]
    if counts:
        fits = count(sum(counts), "fit")
        found.append(f"{fits} did not converge (in {count(len(counts), 'trial')}).")
    lists = [images for images in trials.get("left_out", ()) if isinstance(images, list) and images]
    if lists:
        # An image that several trials skipped counts once.
        images = count(len({image for one in lists for image in one}), "image")
        found.append(f"{images} could not be decoded (in {count(len(lists), 'trial')}).")
    return found


def by_dataset(subject: Analysis, column: str) -> dict[str, list[Any]]:
    """Return what a column of lists of the trials holds for each dataset, each once."""
    trials, found = subject.trials, dict[str, dict[Any, None]]()
    for dataset, items in zip(trials.get("dataset", ()), trials.get(column, ()), strict=False):
        if isinstance(items, list) and items:
            found.setdefault(str(dataset), {}).update(dict.fromkeys(items))
    return {dataset: list(items) for dataset, items in found.items()}


def skipped(subject: Analysis) -> dict[str, list[str]]:
    """Return the images that could not be decoded, by dataset."""
    images = by_dataset(subject, "left_out")
    return {name: [*dict.fromkeys(file for _, file in of)] for name, of in images.items()}


def datasets_table(subject: Analysis, names: Names) -> PageTable:
    """Return one row per dataset: its sizes, metric and splits; columns where known."""
    source = subject.trials if len(subject.trials) else subject.cells
    known_of = source.groupby("dataset", sort=False).first()
    warned = by_dataset(subject, "data_warnings")
    rows = [
        {"dataset": name, **known_of.loc[name], "warnings": len(warned.get(name, ()))}
        for name in names.datasets
        if name in known_of.index
    ]
    columns = [
        DATASET,
        Column("Training images", "n_train", WHOLE),
        Column("Test images", "n_test", WHOLE),
        Column("Classes", "n_classes", WHOLE),
        named("Metric", "metric"),
        named("Splits", "splits"),
    ]
    if not any(column.cell(row).text != UNKNOWN for row in rows for column in columns[1:]):
        rows = []
    columns += [Column("Data warnings", "warnings", WHOLE)] if len(subject.trials) else []
    return filled("datasets-table", "Datasets", columns, rows, names)


def trials_table(subject: Analysis, names: Names) -> PageTable:
    """Return one row per trial: selected hyperparameters, convergence, digests of the inputs."""
    columns = [
        *(SETTING, MODEL, DATASET),
        Column("Seed", "seed", decimals(0)),
        named("Selected", "chosen", text),
        Column("Train images", "n_train", WHOLE),
        Column("Test images", "n_test", WHOLE),
        Column("Relative gap", "relative_gap", "{:.1e}".format),
        Column("Unconverged", "unconverged", WHOLE),
        Column("Skipped images", "skipped_images", WHOLE),
        Column("Seconds", "seconds", decimals(1)),
        *(named(label, of, code=True) for of, label in DIGESTS.items()),
    ]

    # Fits that did not converge and images that were skipped stand first.
    counts = ("unconverged", "skipped_images")
    rows = sorted(subject.trials.to_dict("records"), reverse=True, key=lambda row: sum(
        float(row[of]) for of in counts if known(row.get(of))))  # fmt: skip
    return filled("trials", count(len(rows), "trial"), columns, rows, names)


DIGESTS = {"examples": "Data digest", "weights": "Weights digest", "key": "Trial key"}


def missing_tables(subject: Analysis, names: Names) -> list[PageTable]:
    """Return the notes, what could not be computed, and what was excluded."""
    excluded = [
        SETTING,
        named("Kind", "kind"),
        named("Name", "name"),
        named("Excluded from", "table", excluded_from),
        Column("Missing cells", "missing", WHOLE),
    ]

    def labelled(row: Record, of: str) -> str:
        return with_labels(str(row[of]), names)

    tables = [
        ("notes-table", "Notes on the numbers", subject.notes,
         [named("About", partial(labelled, of="about")), named("Note", "note")]),
        ("missing-table", "Not computed", subject.missing,
         [named("Result", partial(labelled, of="what")), named("Reason", "why")]),
        ("dropped-table", "Excluded: nothing to compare with", subject.dropped, excluded),
    ]  # fmt: skip
    made = [filled(key, caption, columns, table.to_dict("records"), names)
            for key, caption, table, columns in tables]  # fmt: skip
    return [table for table in made if table.rows]


def with_labels(text: str, names: Names) -> str:
    """Return a text with settings by their labels, as everywhere else."""
    for name in names.settings:
        text = text.replace(f"({name})", f"({setting_label(name)})")
    return text


def excluded_from(table: str) -> str:
    name, colon, of = table.partition(": ")
    if name == "settings":
        of = setting_label(of)
    return {
        "model_means": "mean log odds",
        "settings": "comparison with",
        "effects": "training change",
    }.get(name, name) + (f": {of}" if colon else "")
