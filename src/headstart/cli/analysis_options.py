"""Options of `headstart analyze` and `report`. Imports nothing that is slow."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "AgainstOption",
    "ColumnsOption",
    "CorrectionName",
    "CorrectionOption",
    "CsvFileOption",
    "DuplicatesName",
    "DuplicatesOption",
    "ErrorBarsName",
    "ErrorBarsOption",
    "FolderOption",
    "GroupsOption",
    "JsonFileOption",
    "LatexOption",
    "MeasureName",
    "MeasureOption",
    "PageOption",
    "PairsFlag",
    "PredictOption",
    "PredictionsOption",
    "ReferencesOption",
    "ResamplesOption",
    "SeedOption",
    "SourcesArgument",
    "SpreadOption",
    "UnitName",
    "UnitOption",
    "WeightsName",
    "WeightsOption",
    "WideFlag",
]


class UnitName(StrEnum):
    """Units of accuracies."""

    percent = "percent"
    proportion = "proportion"


class ErrorBarsName(StrEnum):
    """Forms of the within-dataset standard error."""

    morey = "morey"
    cousineau = "cousineau"


class MeasureName(StrEnum):
    """Meanings of the numbers of a table."""

    accuracy = "accuracy"
    error = "error"


class DuplicatesName(StrEnum):
    """Treatments of rows that contradict each other."""

    refuse = "refuse"
    average = "average"


class WeightsName(StrEnum):
    """Weights of datasets in means."""

    equal = "equal"
    n_test = "n_test"


class CorrectionName(StrEnum):
    """Corrections for many comparisons."""

    simultaneous = "simultaneous"
    none = "none"


SourcesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SOURCE...",
        help="Results stores, tables (CSV, JSON, Excel, Parquet, Markdown, LaTeX, HTML), published "
        "tables. Options for one file: 'a.csv?dataset:=food101'.",
        show_default=False,
    ),
]
PredictionsOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Table of predictions on single test images: model, dataset, example, and correct "
        "(or prediction and label, or scores and label). May be repeated.",
        metavar="FILE",
        show_default=False,
    ),
]
WideFlag = Annotated[
    bool,
    typer.Option("--wide", help="Tables with one column per dataset; inferred if omitted."),
]
MeasureOption = Annotated[
    MeasureName | None,
    typer.Option(
        help="Meaning of the numbers: accuracies or error rates; inferred from headers, else "
        "accuracies.",
        show_default=False,
    ),
]
SpreadOption = Annotated[
    str,
    typer.Option(
        help="Meaning of the number after ±: se (standard error), or sd:N (standard deviation "
        "over N runs).",
        metavar="SPREAD",
    ),
]
DuplicatesOption = Annotated[
    DuplicatesName,
    typer.Option(
        help="Treatment of rows that contradict each other: an error, or an average over runs."
    ),
]
AgainstOption = Annotated[
    str | None,
    typer.Option(
        help="Source with other weights of the same models, to compare how well upstream accuracy "
        "predicts transfer.",
        metavar="SOURCE",
        show_default=False,
    ),
]
ReferencesOption = Annotated[
    Path | None,
    typer.Option(
        help="CSV file of accuracies to draw as lines in the figure settings: dataset, and one "
        "column per line. Needs --out.",
        metavar="FILE",
        show_default=False,
    ),
]
ColumnsOption = Annotated[
    str | None,
    typer.Option(
        help="Names of columns: model=Model,accuracy=acc; several joined: model=Arch+Pretraining; "
        "one value for all rows: setting:=linear; ignored: ignore=Year.",
        metavar="COLUMNS",
        show_default=False,
    ),
]
UnitOption = Annotated[
    UnitName | None,
    typer.Option(help="Unit of accuracies; inferred if omitted.", show_default=False),
]
GroupsOption = Annotated[
    Path | None,
    typer.Option(
        help="Groups of datasets (TOML or CSV file); under and over 10,000 training images if "
        "omitted.",
        metavar="FILE",
        show_default=False,
    ),
]
ErrorBarsOption = Annotated[
    ErrorBarsName,
    typer.Option(help="Form of the error bars: morey (unbiased), or cousineau (as in the paper)."),
]
CorrectionOption = Annotated[
    CorrectionName,
    typer.Option(help="Correction of intervals and p-values for the number of comparisons."),
]
PairsFlag = Annotated[
    bool,
    typer.Option("--pairs", help="Write all pairs of models, even of more than 100 models."),
]
WeightsOption = Annotated[
    WeightsName,
    typer.Option(
        help="Weight of a dataset in means over datasets: equal, or its number of test images."
    ),
]
ResamplesOption = Annotated[
    int,
    typer.Option(
        help="Number of resamples of bootstrap bands and permutation tests.", metavar="INTEGER"
    ),
]
SeedOption = Annotated[int, typer.Option(help="Random seed of the resamples.", metavar="INTEGER")]
FolderOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder for all tables (CSV) and figures (PNG, SVG, PDF).",
        metavar="FOLDER",
        show_default=False,
    ),
]
JsonFileOption = Annotated[
    Path | None,
    typer.Option(help="JSON file for all tables.", metavar="FILE", show_default=False),
]
PredictOption = Annotated[
    float | None,
    typer.Option(
        help="Upstream accuracy of a new model, to predict its accuracy on each dataset.",
        metavar="NUMBER",
        show_default=False,
    ),
]
PageOption = Annotated[Path, typer.Option(help="HTML file of the report.", metavar="FILE")]
LatexOption = Annotated[
    Path | None,
    typer.Option(
        help="LaTeX file for the tables; not written if omitted.",
        metavar="FILE",
        show_default=False,
    ),
]
CsvFileOption = Annotated[
    Path | None,
    typer.Option(
        help="CSV file for all accuracies with their marks; not written if omitted.",
        metavar="FILE",
        show_default=False,
    ),
]
