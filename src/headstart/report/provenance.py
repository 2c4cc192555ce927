"""How every number was made: sources, choices of the analysis, trials, and what is missing."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from headstart.analysis import source_notes
from headstart.report.chart_data import several_seeds
from headstart.report.formatting import count, known, listed, number
from headstart.report.significance import correction_sentence
from headstart.report.subject import Names, Subject
from headstart.report.table_model import Cell, Column, Row, Table, about, figure
from headstart.spec.labels import setting_label

__all__ = [
    "Source",
    "alarms",
    "data_warnings",
    "facts",
    "measured",
    "missing_tables",
    "seeds_sentence",
    "sources",
    "trials_table",
]

ERROR_BARS = {
    "morey": "Morey (2008): within-dataset standard errors with his factor sqrt(M / (M - 1))",
    "cousineau": "Cousineau (2005): within-dataset standard errors without Morey's factor",
}
KINDS = {
    "published": "published table",
    "csv": "table given as CSV",
    "predictions": "predictions on single images",
    "frame": "table given as a data frame",
    "store": "results measured by headstart",
}
# What trials have in common is said once, with how many trials have it.
SHARED = {
    "protocol": "Protocol",
    "precision": "Precision",
    "seed": "Seed of the trials",
    "limit": "Limit",
    "versions": "Versions",
}
Source = dict[str, Any]


def sources(subject: Subject) -> list[Source]:
    """Describe each source for a person; keys that it lacks are empty."""
    keys = ("name", "description", "citation", "sha256", "unit", "error")
    described = []
    for source in subject.sources:
        rows = source.get("rows")
        described.append(
            {
                **{key: str(source.get(key) or "") for key in keys},
                "kind": KINDS.get(str(source.get("kind")), str(source.get("kind") or "source")),
                "digitised": bool(source.get("digitised")),
                "rows": count(int(rows), "row") if rows else "",
                "notes": source_notes(source),
                "columns": [f"{a} = {b}" for a, b in dict(source.get("columns") or {}).items()],
            }
        )
    return described


def measured(subject: Subject) -> int:
    """Count the accuracies that went in: rows of the sources, seeds and levels of sweeps alike."""
    rows = [source.get("rows") for source in subject.sources]
    lacking = sum(int(source.get("without_accuracy") or 0) for source in subject.sources)
    total = sum(int(n) for n in rows if n) - lacking if rows and all(rows) else 0
    return max(total, len(subject.cells))


def seeds_sentence(subject: Subject) -> str:
    """Say how many seeds a cell has and how far they are apart; empty where each has one."""
    if not several_seeds(subject):
        return ""
    cells = subject.cells
    few, most = int(cells.n_seeds.min()), int(cells.n_seeds.max())
    spread = cells.seed_sd[cells.n_seeds > 1].astype(float).median()
    many = f"{most}" if few == most else f"{few} to {most}"
    return f"{many} seeds a cell (median SD {number(spread, 3)} in log odds)"


def facts(subject: Subject) -> list[tuple[str, str]]:
    """List the choices of the analysis, and what the trials have in common."""
    options = subject.options
    given = [
        ("Error bars", ERROR_BARS.get(str(options.get("error_bars")), options.get("error_bars"))),
        ("Correction", correction_sentence(subject)),
        ("Bootstrap resamples", options.get("resamples")),
        ("Seed of the analysis", options.get("seed")),
        ("Level of intervals", options.get("level")),
        ("Groups of datasets", groups_said(options.get("groups") or {})),
        ("Families of models", families_said(subject)),
    ]
    trials = subject.trials
    if len(trials) and "metric" in trials:
        given.append(("Metric", metrics_said(trials)))
    for column, label in SHARED.items():
        if len(trials) and column in trials:
            given.append((label, values_said(trials[column])))
    return [(label, said(value)) for label, value in given if said(value)]


def said(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value) if known(value) else ""


def families_said(subject: Subject) -> str:
    """Say where families were guessed; empty where they were given."""
    guessed = [source for source in subject.sources if source.get("families") == "guessed"]
    if not guessed:
        return ""
    if len(guessed) == len(subject.sources):
        return "guessed from the names of the models"
    names = listed([str(source.get("name")) for source in guessed], 100)
    return f"guessed from the names of the models in {names}"


def groups_said(groups: dict[str, str]) -> str:
    members: dict[str, list[str]] = {}
    for dataset, group in groups.items():
        members.setdefault(str(group), []).append(str(dataset))
    return "; ".join(f"{group}: {listed(names, 100)}" for group, names in members.items())


def metrics_said(trials: pd.DataFrame) -> str:
    """Name the metric; where datasets have different ones, with the datasets that it is for."""
    metric = {d: m for d, m in zip(trials.dataset, trials.metric, strict=True) if known(m)}
    if len(set(metric.values())) < 2:
        return values_said(trials.metric)
    return groups_said(metric)


def values_said(column: Iterable[Any]) -> str:
    """Say a column's distinct values, each with how many trials have it if they differ."""
    values = [str(value) for value in column if known(value)]
    distinct = list(dict.fromkeys(values))
    if len(distinct) < 2:
        return "".join(distinct)
    return "; ".join(f"{value} ({count(values.count(value), 'trial')})" for value in distinct)


def alarms(subject: Subject) -> list[str]:
    """Say what a reader must not overlook: fits that did not converge, images that were skipped."""
    found, trials = [], subject.trials
    if "unconverged" in trials:
        counts = [int(n) for n in trials.unconverged if known(n) and n > 0]
        if counts:
            number = count(sum(counts), "fit")
            found.append(f"{number} did not converge, in {count(len(counts), 'trial')}.")
    if "left_out" in trials:
        lists = [images for images in trials.left_out if isinstance(images, list) and images]
        if lists:
            # One that several trials left out counts once.
            number = count(len({image for images in lists for image in images}), "image")
            found.append(f"{number} could not be decoded, in {count(len(lists), 'trial')}.")
    return found


def data_warnings(subject: Subject) -> dict[str, list[str]]:
    """Return what was found odd about the images of each dataset, each line once."""
    trials, found = subject.trials, dict[str, list[str]]()
    if "data_warnings" not in trials:
        return found
    for dataset, lines in zip(trials.dataset, trials.data_warnings, strict=True):
        for line in lines if isinstance(lines, list) else ():
            of_dataset = found.setdefault(str(dataset), [])
            if line not in of_dataset:
                of_dataset.append(line)
    return found


def trials_table(subject: Subject, names: Names) -> Table | None:
    """One row a trial: what was chosen, how well it converged, the digests of what went in."""
    trials = subject.trials
    if not len(trials):
        return None
    columns = [Column(label, numeric=False) for label in ("Setting", "Model", "Dataset")]
    columns += [Column("Seed"), Column("Chosen", numeric=False)]
    labels = ("Train", "Test", "Relative gap", "Unconverged", "Skipped", "Seconds")
    columns += [Column(label) for label in labels]
    columns += [Column(label, numeric=False, code=True) for label in DIGESTS.values()]
    # What a reader must not overlook comes first.
    records = sorted(trials.to_dict("records"), key=lambda row: -trouble(row))
    rows = [trial_row(row, names) for row in records]
    return Table("trials", f"{count(len(rows), 'trial')}", columns, rows)


def trouble(row: dict[str, Any]) -> float:
    """Count the fits that did not converge and the images that were skipped."""
    counts = (row.get("unconverged"), row.get("skipped_images"))
    return sum(float(n) for n in counts if n is not None and known(n))


DIGESTS = {"examples": "Examples", "weights": "Weights", "key": "Key"}


def trial_row(row: dict[str, Any], names: Names) -> Row:
    gap = row.get("relative_gap")
    cells = [
        Cell(setting_label(str(row["setting"]))),
        Cell(str(row["model"])),
        Cell(str(row["dataset"])),
        figure(row.get("seed"), 0),
        Cell(said(row.get("chosen")) or number(None)),
        figure(row.get("n_train"), 0),
        figure(row.get("n_test"), 0),
        Cell(f"{gap:.1e}" if known(gap) else number(None), gap if known(gap) else None),
        figure(row.get("unconverged"), 0),
        figure(row.get("skipped_images"), 0),
        figure(row.get("seconds"), 1),
    ]
    cells += [Cell(said(row.get(column)) or number(None)) for column in DIGESTS]
    return Row(cells, about(names, **{key: row[key] for key in ("setting", "model", "dataset")}))


def missing_tables(subject: Subject, names: Names) -> list[Table]:
    """Say what could not be given, and what averages leave out."""
    missing, dropped = subject.missing, subject.dropped
    several = "table" in dropped
    what = [Row([Cell(str(r.what)), Cell(str(r.why))]) for r in missing.itertuples(index=False)]
    out = [
        Row(
            [
                Cell(setting_label(str(r.setting))),
                Cell(str(r.kind)),
                Cell(str(r.name)),
                *([Cell(table_said(str(r.table)))] if several else []),
                figure(r.missing, 0),
            ],
            about(names, setting=r.setting),
        )
        for r in dropped.itertuples(index=False)
    ]
    notes = [
        Row([Cell(str(r.about)), Cell(str(r.note))]) for r in subject.notes.itertuples(index=False)
    ]
    two = [Column("What", numeric=False), Column("Why", numeric=False)]
    remarks = [Column("About", numeric=False), Column("Note", numeric=False)]
    labels = ("Setting", "Kind", "Name", *(["Left out of"] if several else []))
    three = [Column(label, numeric=False) for label in labels]
    tables = [
        Table("notes-table", "Notes on the numbers", remarks, notes),
        Table("missing-table", "Not given", two, what),
        Table(
            "dropped-table",
            "Without any number to compare",
            [*three, Column("Missing cells")],
            out,
        ),
    ]
    return [table for table in tables if table.rows]


def table_said(table: str) -> str:
    """Name a table of the analysis, with what it is of."""
    name, colon, of = table.partition(": ")
    if name == "settings":
        of = setting_label(of)
    return {"model_means": "mean log odds", "settings": "comparison with"}.get(name, name) + (
        f": {of}" if colon else ""
    )
