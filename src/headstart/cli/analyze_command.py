"""`headstart analyze` and `report`: read, analyze, show, write. Nothing here needs torch."""

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from headstart.cli.options import AnalysisFlags
from headstart.cli.output import console, echo, writable_file
from headstart.errors import CommandError
from headstart.registry import REPORTERS

if TYPE_CHECKING:
    import pandas as pd

    from headstart.analysis import Analysis
    from headstart.predictors import Scale
    from headstart.report import Reporter
    from headstart.spec.formatting import SmallPicture

__all__ = ["analyze", "report", "write_reports", "write_tables"]


AgainstOption = Annotated[
    str | None,
    typer.Option(
        help="Source to compare with: the same models in another store, or with other weights. "
        "Differences per cell and over datasets, and how well upstream accuracy predicts each.",
        metavar="SOURCE",
    ),
]


@dataclass(frozen=True)
class _AnalyzeOptions:
    """What `headstart analyze` compares, predicts and writes."""

    against: AgainstOption = None
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for all tables (CSV) and figures (PNG, SVG, PDF).", metavar="FOLDER"
        ),
    ] = None
    json: Annotated[Path | None, typer.Option(help="JSON file for all tables.", metavar="FILE")] = (
        None
    )
    predict: Annotated[
        float | None,
        typer.Option(
            help="Predictor (by default, upstream accuracy) of a new model, to predict its "
            "accuracy on each dataset.",
            metavar="NUMBER",
        ),
    ] = None
    references: Annotated[
        Path | None,
        typer.Option(
            help="CSV file of accuracies to draw as lines in the figure settings: dataset, and one "
            "column per line. Needs --out.",
            metavar="FILE",
        ),
    ] = None


def analyze(options: AnalysisFlags, wanted: _AnalyzeOptions) -> None:
    """Analyze a table of results: correlations, tests, ranks, predictions, figures.

    A source is a results store, a table in a file, or a published table: kornblith2019,
    kornblith2019-public, kornblith2019-regularizers, clip2021, timm2026, mieb2026.
    """
    from headstart.analysis import read_references
    from headstart.cli import analysis_tables
    from headstart.files import writable_folder

    out, json = wanted.out, wanted.json
    _check_analyze(options.predictor, wanted)
    if json is not None:
        writable_file(json)
    if out is not None:
        writable_folder(out)
    lines = None if wanted.references is None else read_references(wanted.references)
    analysis = _analysis(options, against=wanted.against)
    for part in analysis_tables.summary(analysis):
        console.print(part)
    if wanted.predict is not None:
        predictor = analysis.predictor
        value = _in_unit(wanted.predict, predictor.scale)
        title = f"Predicted from {predictor.label} {predictor.scale.text(value)}"
        for part in analysis_tables.prediction(analysis.predict(value), title):
            console.print(part)
    if json is not None:
        write_reports(analysis, (REPORTERS["json"], json))
    if out is not None:
        write_tables(analysis, out, lines)


@dataclass(frozen=True)
class _ReportOptions:
    """What `headstart report` writes, and in which formats."""

    against: AgainstOption = None
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write, in the format of its suffix: .html, .tex, .csv, .json.",
            metavar="FILE",
            show_default="report.html",
        ),
    ] = None
    format_name: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="Format of --out, whatever its suffix: html, latex, csv, json, card (a folder), "
            "notebook (a piece of HTML), or a plugin's.",
            metavar="NAME",
        ),
    ] = None
    latex: Annotated[
        Path | None,
        typer.Option(help="LaTeX file for the tables; not written if omitted.", metavar="FILE"),
    ] = None
    intervals: Annotated[
        bool, typer.Option("--intervals", help="In LaTeX, the 95 % interval below each accuracy.")
    ] = False
    images: Annotated[
        bool,
        typer.Option(
            "--images",
            help="On the page, a small copy of one test image per class: at most 24 per dataset "
            "and 300 in all, of about 3 kB each.",
        ),
    ] = False
    card: Annotated[
        Path | None,
        typer.Option(
            help="Folder for a results card: a table and a figure for a README, as PDF, PNG and "
            "SVG; not written if omitted.",
            metavar="FOLDER",
        ),
    ] = None
    csv: Annotated[
        Path | None,
        typer.Option(
            help="CSV file for all accuracies with their marks; not written if omitted.",
            metavar="FILE",
        ),
    ] = None


def report(options: AnalysisFlags, wanted: _ReportOptions) -> None:
    """Write a report of a table of results: a self-contained HTML page, LaTeX, CSV or JSON."""
    from headstart.report import find_reporter

    reporter = find_reporter(wanted.out or Path("report.html"), wanted.format_name)
    files = [(reporter, wanted.out or Path(f"report{(*reporter.suffixes, '')[0]}"))]
    others = (("latex", wanted.latex), ("csv", wanted.csv), ("card", wanted.card))
    files += [(REPORTERS[name], file) for name, file in others if file]
    if wanted.intervals:
        files = _with(files, "intervals", lambda: True, "LaTeX: pass --latex FILE as well")
    if wanted.images:
        made = partial(_test_pictures, options.sources or [])
        files = _with(files, "pictures", made, "the HTML page: pass --out FILE.html")
    for one, file in files:
        # A card is a folder, and looks itself at what is in it.
        getattr(one, "check", writable_file)(file)
    write_reports(_analysis(options, against=wanted.against), *files)


Files = list[tuple["Reporter", Path]]


def _with(files: Files, option: str, value: Callable[[], Any], remedy: str) -> Files:
    """Return the reporters with an option of those that have it.

    Raises
    ------
    CommandError
        None has it.
    """
    having = [is_dataclass(one) and option in {own.name for own in fields(one)} for one, _ in files]
    if not any(having):
        flag = OPTION_FLAGS[option]
        raise CommandError(f"{flag} is for {remedy}", code="command.missing", name=flag)
    more = {option: value()}
    return [
        (replace(cast(Any, one), **more) if has else one, file)
        for (one, file), has in zip(files, having, strict=True)
    ]


OPTION_FLAGS = {"intervals": "--intervals", "pictures": "--images"}
# Test images of a dataset, and of all together: of about 3 kB each on the page.
MOST_PICTURES, MOST_OF_ALL = 24, 300


def _test_pictures(sources: list[str]) -> "dict[str, list[tuple[str, SmallPicture]]]":
    """Return a test image per class of the datasets in these results stores.

    A dataset whose images are not at hand is printed and left out.
    """
    from headstart.analysis import store_of
    from headstart.context import default_cache
    from headstart.datasets.labelled import class_pictures
    from headstart.errors import HeadstartError
    from headstart.store import ResultStore

    stores = [store for one in sources if (store := store_of(one))]
    if not stores:
        raise CommandError(
            "--images shows the datasets of a results store: found only tables",
            code="command.conflict",
            option="--images",
        )
    found: dict[str, list[tuple[str, SmallPicture]]] = {}
    trials = {
        one.trial.dataset.name: one.trial for each in stores for one in ResultStore(each).results()
    }
    most = min(MOST_PICTURES, MOST_OF_ALL // max(1, len(trials)))
    for name, trial in trials.items():
        try:
            found[name] = class_pictures(trial.dataset, trial.seed, default_cache(), most)
        except HeadstartError as error:
            echo(f"no images of {name}: {error}", err=True)
    return found


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


def _analysis(options: AnalysisFlags, **more: Any) -> "Analysis":
    from headstart.analysis import ReadOptions, parse_mapping, read_sources
    from headstart.analysis import analyze as analyze_tables
    from headstart.predictors import find_predictor
    from headstart.registry import PREDICTORS

    sources, columns = options.sources or [], parse_mapping(options.columns or "")
    predictions, reading = options.predictions or [], ReadOptions(*options.reading())
    names = _predictor_names(options)
    if names:
        # Columns that are not there are refused before scores are computed, which takes long.
        for one in map(find_predictor, names):
            if one.column not in PREDICTORS:
                read_sources(sources, columns, replace(reading, predictor=one), predictions)
        more |= {"predictors": names, "scores": _computed_scores(options, names)}
    return analyze_tables(
        *sources,
        columns=columns,
        predictions=predictions,
        reading=reading,
        **options.keywords(),
        **more,
    )


def _predictor_names(options: AnalysisFlags) -> list[str]:
    """Return the predictors to judge; `all` stands for every registered score."""
    from headstart.registry import PREDICTORS

    names = [name.strip() for name in (options.predictors or "").split(",") if name.strip()]
    if options.predictors is not None and not names:
        raise CommandError(
            "--predictors names none: expected columns or scores, for example logme,leep, or all",
            code="command.value", name="--predictors", value=options.predictors,
        )  # fmt: skip
    every = [one for name in names for one in (PREDICTORS.names if name == "all" else [name])]
    return list(dict.fromkeys(every))


def _computed_scores(options: AnalysisFlags, names: list[str]) -> "pd.DataFrame | None":
    """Compute the registered scores among `names` for each results store; None where none is."""
    from headstart.analysis import store_of
    from headstart.predictors import find_predictor
    from headstart.registry import PREDICTORS

    stores = [store for one in options.sources or [] if (store := store_of(one))]
    columns = dict.fromkeys(find_predictor(name).column for name in names)
    registered = [column for column in columns if column in PREDICTORS]
    if not (stores and registered):
        return None
    import pandas as pd

    from headstart.cli.progress import LiveReporter
    from headstart.context import RunContext
    from headstart.study.feature_scores import transfer_scores

    found = []
    with LiveReporter(console) as reporter:
        for store in stores:
            scores = transfer_scores(store, registered, RunContext(reporter=reporter))
            found.append(scores.values)
            for note in scores.notes:
                reporter.note(f"no score: {note}")
    values = pd.concat(found, ignore_index=True)
    return values.groupby(["model", "dataset"], sort=False, as_index=False).mean()


def write_reports(analysis: "Analysis", *files: "tuple[Reporter, Path]") -> None:
    """Write an analysis to each file by its reporter, and print where it is."""
    for reporter, file in files:
        reporter.write(analysis, file)
        # Not through the console, which would break a long path.
        echo(f"{reporter.label}: {file.resolve()}")


def write_tables(
    analysis: "Analysis", folder: Path, references: "pd.DataFrame | None" = None
) -> None:
    """Write all tables and figures to a folder, and print where they are."""
    from headstart.report import write_folder

    figures = write_folder(analysis, folder, references)
    console.print(f"Tables: {folder}/*.csv")
    console.print(f"Figures: {folder / 'figures'}: {', '.join(figures) or 'none'}")
