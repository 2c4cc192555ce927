"""`headstart analyze` and `report`: read, analyze, show, write. Nothing here needs torch.

What is slow to import is imported when a command runs.
"""

import json as json_module
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart.cli.options import AnalysisOptions
from headstart.cli.output import console
from headstart.errors import CommandError

if TYPE_CHECKING:
    import pandas as pd

    from headstart.analysis import Analysis
    from headstart.predictors import Scale

__all__ = ["analyze", "report", "write_folder", "write_json", "write_report"]


@dataclass(frozen=True)
class _AnalyzeOptions:
    """What `headstart analyze` compares, predicts and writes."""

    against: Annotated[
        str | None,
        typer.Option(
            help="Source with other weights of the same models, to compare how well upstream "
            "accuracy predicts transfer.",
            metavar="SOURCE",
            show_default=False,
        ),
    ] = None
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for all tables (CSV) and figures (PNG, SVG, PDF).",
            metavar="FOLDER",
            show_default=False,
        ),
    ] = None
    json: Annotated[
        Path | None,
        typer.Option(help="JSON file for all tables.", metavar="FILE", show_default=False),
    ] = None
    predict: Annotated[
        float | None,
        typer.Option(
            help="Predictor (by default, upstream accuracy) of a new model, to predict its "
            "accuracy on each dataset.",
            metavar="NUMBER",
            show_default=False,
        ),
    ] = None
    references: Annotated[
        Path | None,
        typer.Option(
            help="CSV file of accuracies to draw as lines in the figure settings: dataset, and one "
            "column per line. Needs --out.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None
    pairs: Annotated[
        bool,
        typer.Option("--pairs", help="Write all pairs of models, even of more than 100 models."),
    ] = False


def analyze(options: AnalysisOptions, wanted: _AnalyzeOptions) -> None:
    """Analyze a table of results: correlations, tests, ranks, predictions, figures.

    A source is a results store, a table in a file, or a published table: kornblith2019,
    kornblith2019-public, kornblith2019-regularizers, clip2021, timm2026, mieb2026.
    """
    from headstart.analysis import read_references
    from headstart.cli import estimates

    out, json = wanted.out, wanted.json
    _check_analyze(options.predictor, wanted)
    _make_parents(json, out / "figures" if out else None)
    lines = None if wanted.references is None else read_references(wanted.references)
    analysis = _analysis(options, against=wanted.against, pairs=wanted.pairs)
    for part in estimates.summary(analysis):
        console.print(part)
    if wanted.predict is not None:
        _predict_and_show(analysis, wanted.predict)
    if json is not None:
        write_json(analysis, json)
    if out is not None:
        write_folder(analysis, out, lines)


def report(
    options: AnalysisOptions,
    out: Annotated[Path, typer.Option(help="HTML file of the report.", metavar="FILE")] = Path(
        "report.html"
    ),
    latex: Annotated[
        Path | None,
        typer.Option(
            help="LaTeX file for the tables; not written if omitted.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(
            help="CSV file for all accuracies with their marks; not written if omitted.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write a self-contained HTML report of a table of results."""
    _make_parents(out, latex, csv)
    write_report(_analysis(options), out, latex, csv)


def _check_analyze(predictor: str, wanted: _AnalyzeOptions) -> None:
    """Refuse options that cannot be followed, before the work starts."""
    from headstart.predictors import find_predictor

    scale, value = find_predictor(predictor).scale, wanted.predict
    if wanted.references is not None and wanted.out is None:
        raise CommandError(
            "--references draws lines in the figures: pass --out FOLDER as well",
            code="command.missing",
            name="--out",
        )
    if value is not None and not scale.allows(_in_unit(value, scale)):
        percent = "an accuracy between 0 and 100" if scale.name == "proportion" else scale.expected
        raise CommandError(
            f"invalid --predict {value:g}: expected {percent}",
            code="command.value",
            name="--predict",
            value=value,
        )


def _in_unit(value: float, scale: "Scale") -> float:
    """Return a number as the scale has it: a proportion over 1 is in percent, as in the tables."""
    return value / 100 if scale.name == "proportion" and value > 1 else value


def _make_parents(*files: Path | None) -> None:
    """Prove that files can be written before the work starts; make their folders."""
    from headstart.files import writable_folder

    for file in files:
        if file is not None:
            writable_folder(file.parent)


def _analysis(options: AnalysisOptions, **more: Any) -> "Analysis":
    from headstart.analysis import ReadOptions, parse_mapping
    from headstart.analysis import analyze as analyze_tables

    return analyze_tables(
        *(options.sources or []),
        columns=parse_mapping(options.columns or ""),
        predictions=options.predictions or [],
        reading=ReadOptions(*options.reading()),
        **options.keywords(),
        **more,
    )


def _predict_and_show(analysis: "Analysis", value: float) -> None:
    """Print what a model with this value of the predictor is predicted to reach."""
    from headstart.cli import estimates

    predictor = analysis.predictor
    value = _in_unit(value, predictor.scale)
    console.print(f"\nPredicted from {predictor.label} {predictor.scale.text(value)}")
    console.print(estimates.prediction(analysis.predict(value)))


def write_json(analysis: "Analysis", file: Path) -> None:
    """Write every table as a list of records under its name, whole or not at all."""
    from headstart.files import replaced

    tables = {name: table.to_json(orient="records", double_precision=15)
              for name, table in analysis.tables().items()}  # fmt: skip
    content = {name: json_module.loads(text) for name, text in tables.items()}
    content |= {"sources": list(analysis.sources), "options": [analysis.options]}
    with replaced(file) as temporary:
        temporary.write_text(
            json_module.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8"
        )
    console.print(f"Tables: {file}")


def write_folder(analysis: "Analysis", folder: Path, references: "pd.DataFrame | None") -> None:
    """Write every table that has rows as CSV, and every figure as PNG, SVG and PDF."""
    from headstart.analysis import match_names
    from headstart.figures import available, save
    from headstart.files import replaced, writable_folder

    lines = {}
    if references is not None:
        same = match_names("dataset", references["dataset"], analysis.cells["dataset"])
        lines["references"] = references.assign(dataset=references["dataset"].replace(same))
    writable_folder(folder)
    for name, table in analysis.tables().items():
        if not table.empty:
            with replaced(folder / f"{name}.csv") as temporary:
                table.to_csv(temporary, index=False)
    names = available(analysis.tables(), analysis.predictor)
    if names:
        figures = writable_folder(folder / "figures")
        for name in names:
            save(analysis.figure(name, **(lines if name == "settings" else {})), figures / name)
    console.print(f"Tables: {folder}/*.csv")
    console.print(f"Figures: {folder / 'figures'}: {', '.join(names) or 'none'}")


def write_report(
    analysis: "Analysis", out: Path, latex: Path | None, csv: Path | None, title: str | None = None
) -> None:
    """Write the page, and the tables as a paper needs them."""
    from headstart.files import replaced
    from headstart.report import csv_text, latex_tables, write_page

    # Not through the console, which would break a long path.
    typer.echo(f"Report: {write_page(analysis, out, title).resolve()}")
    if latex is not None:
        with replaced(latex) as temporary:
            temporary.write_text(latex_tables(analysis), encoding="utf-8")
        console.print(f"LaTeX: {latex}")
    if csv is not None:
        with replaced(csv) as temporary:
            temporary.write_text(csv_text(analysis), encoding="utf-8", newline="")
        console.print(f"CSV: {csv}")
