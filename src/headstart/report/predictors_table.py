"""The table of predictors judged: how well each orders the models of a dataset."""

from headstart.analysis import Analysis
from headstart.report.page_model import (
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

__all__ = ["predictors_table"]

INTERVAL = "95 % interval"
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
        Column("Models", "n_models", decimals(0), detail=2),
        Column("Datasets", "n_datasets", decimals(0), detail=2),
    ]
    return filled("predictors", "Predictors of transfer, judged", columns, rows, names, note=NOTE)
