"""The tables of comparisons: one source against another, predictors of transfer."""

from pathlib import PurePath

from headstart.analysis import Analysis
from headstart.report.page_model import (
    DATASET,
    MODEL,
    SETTING,
    Column,
    Names,
    PageTable,
    Record,
    filled,
    named,
    pivoted,
    records,
)
from headstart.spec.formatting import coefficient, decimals

__all__ = ["compared_names", "comparison_tables", "predictors_table"]

INTERVAL = "95 % interval"
WHOLE, SIGNED = decimals(0), decimals(3, plus=True)


def comparison_tables(subject: Analysis, names: Names) -> list[PageTable]:
    """Return the tables of one source against another, those that have rows."""
    first, other = compared_names(subject)
    counts = [Column("Models", "n_models", WHOLE, detail=1),
              Column("Datasets", "n_datasets", WHOLE, detail=1)]  # fmt: skip
    sets = [SETTING]
    for label, of in (("r", ""), ("r, other weights", "other_"), ("Difference", "difference_")):
        text = coefficient if of != "difference_" else SIGNED
        sets += [Column(label, f"{of}r", text),
                 Column(INTERVAL, (f"{of}low", f"{of}high"), text)]  # fmt: skip
    in_percent, points = decimals(1, scale=100), decimals(1, plus=True, scale=100)
    means = [
        SETTING,
        named("Model", lambda row: "all models" if row["model"] == "all" else row["model"]),
        Column("Mean difference", "mean", SIGNED),
        Column(INTERVAL, ("low", "high"), decimals(3)),
        Column("Mean difference in accuracy", "accuracy", points, unit="pp"),
        Column("Wins", "wins", WHOLE),
        Column("Ties", "ties", WHOLE, detail=1),
        *counts,
    ]  # fmt: skip
    cells = [
        SETTING,
        MODEL,
        DATASET,
        Column("First", "accuracy", in_percent, unit="%"),
        Column("Other", "other_accuracy", in_percent, unit="%"),
        Column("Difference", "difference", points, unit="pp"),
        Column(INTERVAL, ("low", "high"), in_percent),
        named("Interval", "interval", detail=1),
    ]
    labels = {"source": "Only in", "kind": "What", "name": "Name"}
    alone = [Column(label, numeric=False, of=of) for of, label in labels.items()]
    less = f"{first} less {other}"
    together = subject.options.get("correction") == "simultaneous"
    single = "hold together" if together else "are not corrected"
    tables = [
        ("model-sets", "model_sets", sets,
         f"Correlation of mean log odds with {subject.predictor.label}, models in both: "
         f"{first} against {other}", ""),
        ("compared-means", "compared_means", means, f"Mean difference in log odds: {less}",
         "Intervals are for other datasets, that of all models for other models and datasets; "
         f"those of single models {single}. A win is a cell where {first} is higher."),
        ("compared", "compared", cells, f"Difference in accuracy: {less}",
         f"First: {first}; other: {other}. Intervals are for other test images, not corrected: "
         "paired, from predictions on the same images, or independent, which is too wide if the "
         "test images are the same."),
        ("unshared", "unshared", alone, "In one of the two only", ""),
    ]  # fmt: skip
    if len(subject.compared) and (subject.compared["difference"] == 0).all():
        # The answer says that all are equal.
        tables = [table for table in tables if not table[0].startswith("compared")]
    made = []
    for key, table, columns, caption, note in tables:
        rows = getattr(subject, table)
        # Here `other` is a source, which no filter knows.
        rows = records(rows.drop(columns="other", errors="ignore"), names)
        made.append(filled(key, caption, columns, rows, names, note=note))
    return [table for table in made if table.rows]


def compared_names(subject: Analysis) -> tuple[str, str]:
    """Return what the two sources of a comparison are called: files without their folders."""
    parts: tuple[list[str], list[str]] = [], []
    for fact in subject.sources:
        parts["against" in fact].append(str(fact.get("name")))
    short = [" and ".join(PurePath(name).name for name in names) for names in parts]
    long = [" and ".join(names) for names in parts]
    first, other = short if short[0] != short[1] else long
    return (first, other) if first != other else ("the first table", "the other table")


REGRET = "regret"
LABELS = {
    "weighted_kendall": "Weighted τ",
    "kendall": "Kendall τ",
    "pearson": "Pearson r",
    REGRET: "Regret",
}
NOTE = (
    "Means over datasets, on each of which a predictor orders the models, with t intervals over "
    "datasets. Weighted τ: Kendall's, by which exchanges among the best models count more. Regret: "
    "accuracy lost by taking the model that the predictor ranks first. Difference: of weighted τ, "
    "from the baseline of mean standing on the other datasets, paired by dataset."
)


def predictors_table(subject: Analysis, names: Names) -> PageTable:
    """Return one row per setting and predictor, the best first; empty where none was judged."""
    table = subject.predictors
    means = table[table["dataset"] == "all"] if len(table) else table
    rows = pivoted(records(means, names), ["setting", "score"], "statistic")
    first = "weighted_kendall"
    order = list(names.settings)
    rows.sort(key=lambda row: (order.index(row["setting"]), -row["at"][first]["estimate"]))

    def label(row: Record) -> str:
        return f"{row['label']} (baseline)" if row["baseline"] else str(row["label"])

    columns = [SETTING, named("Predictor", label)]
    for name, heading in LABELS.items():
        text, unit = (decimals(2, scale=100), "points") if name == REGRET else (coefficient, "")
        columns.append(Column(heading, "estimate", text, unit, at=name))
        if name in (first, REGRET):
            columns.append(Column(INTERVAL, ("low", "high"), text, at=name))
    ends = "difference_low", "difference_high"
    columns += [
        Column("Difference from standing", "difference", coefficient, at=first, detail=1),
        Column(INTERVAL, ends, coefficient, at=first, detail=1),
        Column("Models", "n_models", WHOLE, detail=2),
        Column("Datasets", "n_datasets", WHOLE, detail=2),
    ]
    return filled("predictors", "Predictors of transfer, judged", columns, rows, names, note=NOTE)
