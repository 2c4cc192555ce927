"""What `analyze` and `report` do: read, analyse, show, write. Nothing here needs torch."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import typer

from headstart.analysis import Analysis, analyze, match_names, parse_mapping
from headstart.cli import estimates
from headstart.cli.streams import screen
from headstart.errors import CommandError
from headstart.files import replaced, writable_folder

__all__ = [
    "check_places",
    "check_upstream",
    "make_analysis",
    "predict_and_show",
    "show_analysis",
    "write_folder",
    "write_json",
    "write_report",
]

# Its tables are the widest.
console = screen()


def check_places(*files: Path | None) -> None:
    """Prove that files can be written before the work starts; make their folders."""
    for file in files:
        if file is not None:
            writable_folder(file.parent)


def check_upstream(upstream: float | None) -> None:
    """Raise CommandError for what is no accuracy to predict from, before the work starts."""
    if upstream is not None and not 0 < upstream < 100:
        raise CommandError(
            f"invalid --predict {upstream:g}: expected an accuracy between 0 and 100",
            code="command.value",
            name="--predict",
            value=upstream,
        )


def make_analysis(sources: list[str], columns: str | None, options: dict[str, Any]) -> Analysis:
    """Analyse sources with the options that were given (not None)."""
    given = {name: value for name, value in options.items() if value is not None}
    return analyze(*sources, columns=parse_mapping(columns or ""), **given)


def show_analysis(analysis: Analysis) -> None:
    """Print what fits a screen."""
    for part in estimates.summary(analysis):
        console.print(part)


def predict_and_show(analysis: Analysis, upstream: float) -> None:
    """Print what a model of this upstream accuracy is predicted to reach.

    A number over 1 is in percent, as in the tables.
    """
    accuracy = upstream / 100 if upstream > 1 else upstream
    console.print(f"\nPredicted from an upstream accuracy of {accuracy:.2%}")
    console.print(estimates.prediction(analysis.predict(accuracy)))


def write_json(analysis: Analysis, file: Path) -> None:
    """Write every table as a list of records under its name, whole or not at all."""
    tables = {name: table.to_json(orient="records", double_precision=15)
              for name, table in analysis.tables().items()}  # fmt: skip
    content = {name: json.loads(text) for name, text in tables.items()}
    content |= {"sources": list(analysis.sources), "options": [analysis.options]}
    with replaced(file) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    console.print(f"Tables: {file}")


def write_folder(analysis: Analysis, folder: Path, references: pd.DataFrame | None) -> None:
    """Write every table that has rows as CSV, and every figure as PNG, SVG and PDF."""
    from headstart.figures import available, save

    lines = {}
    if references is not None:
        same = match_names("dataset", references["dataset"], analysis.cells["dataset"])
        lines["references"] = references.assign(dataset=references["dataset"].replace(same))
    writable_folder(folder)
    for name, table in analysis.tables().items():
        if not table.empty:
            with replaced(folder / f"{name}.csv") as temporary:
                table.to_csv(temporary, index=False)
    names = available(analysis.tables())
    if names:
        figures = writable_folder(folder / "figures")
        for name in names:
            save(analysis.figure(name, **(lines if name == "settings" else {})), figures / name)
    console.print(f"Tables: {folder}/*.csv")
    console.print(f"Figures: {folder / 'figures'}: {', '.join(names) or 'none'}")


def write_report(
    analysis: Analysis, out: Path, latex: Path | None, csv: Path | None, title: str | None = None
) -> None:
    """Write the page, and the tables as a paper needs them."""
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
