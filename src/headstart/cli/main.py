"""`headstart`: the commands. What is slow to import is imported by the command that needs it."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from headstart.cli.cache_commands import cache_app
from headstart.cli.dataset_commands import datasets_app
from headstart.cli.embedding_command import embed
from headstart.cli.manners import (
    HELP,
    PANELS,
    CommandGroup,
    QuietFlag,
    VerboseFlag,
    add_command,
    command,
    group,
)
from headstart.cli.miniature_command import miniature
from headstart.cli.options import (
    BAD_INPUT,
    DEFAULT_STORE,
    DatasetsOption,
    DeviceName,
    DeviceOption,
    ExamplesOption,
    FurtherOption,
    JsonFlag,
    KeepOption,
    LimitOption,
    LogFolderOption,
    LogOption,
    ModelsOption,
    PrecisionOption,
    SeedsOption,
    SettingsOption,
    SkipBrokenFlag,
    StepsOption,
    StoreOption,
    StudyArgument,
    TrustFlag,
    WorkersOption,
)
from headstart.cli.pretraining_commands import ablate, pretrain
from headstart.cli.result_commands import results_app
from headstart.cli.streams import run_command
from headstart.cli.verbosity import set_verbosity
from headstart.errors import AnalysisError, CommandError

__all__ = ["app", "main"]

app = typer.Typer(
    cls=CommandGroup,
    context_settings=HELP,
    help="How much of a head start does pretraining give? "
    "Measures how pretrained image models transfer.",
    epilog="Downloads, features and prepared images are kept in $HEADSTART_CACHE (default: "
    "~/.cache/headstart; see `headstart cache`). Exit codes: 0 done, 2 bad input or a failed "
    "trial, 130 interrupted (Ctrl-C), 141 the reader of the output is gone.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

models_app = typer.Typer(cls=CommandGroup, context_settings=HELP)
for _app, _name in (
    (models_app, "models"),
    (datasets_app, "datasets"),
    (results_app, "results"),
    (cache_app, "cache"),
):
    app.add_typer(_app, name=_name, rich_help_panel=PANELS[_name])
for _function in (pretrain, ablate, embed, miniature):
    add_command(app, _function)


def _print_version(wanted: bool) -> None:
    if wanted:
        import headstart

        typer.echo(f"headstart {headstart.__version__}")
        raise typer.Exit


@app.callback()
def headstart_(
    quiet: QuietFlag = False,
    verbose: VerboseFlag = False,
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version.",
            is_eager=True,
            callback=_print_version,
        ),
    ] = False,
) -> None:
    """Set how much is printed."""
    set_verbosity(quiet=quiet, verbose=verbose)


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


@command(app)
def demo(
    out: Annotated[Path, typer.Option(help="Folder for all results.", metavar="FOLDER")] = Path(
        "headstart-demo"
    ),
    device: DeviceOption = DeviceName.auto,
) -> None:
    """Measure three pretrained networks on real images in minutes, without any download."""
    from headstart.cli.demo import run_demo

    if any(run.failures for run in run_demo(out, device.value)):
        sys.exit(BAD_INPUT)


@command(app)
def run(
    study: StudyArgument = None,
    models: ModelsOption = None,
    datasets: DatasetsOption = None,
    settings: SettingsOption = None,
    seeds: SeedsOption = None,
    further: FurtherOption = None,
    steps: StepsOption = None,
    examples_per_class: ExamplesOption = None,
    limit: LimitOption = None,
    store: StoreOption = DEFAULT_STORE,
    device: DeviceOption = DeviceName.auto,
    precision: PrecisionOption = None,
    skip_broken: SkipBrokenFlag = False,
    trust: TrustFlag = False,
    workers: WorkersOption = 0,
    keep_models: KeepOption = None,
    log: LogOption = None,
    log_folder: LogFolderOption = None,
    print_study: Annotated[
        bool,
        typer.Option("--print-study", help="Print the study as a TOML file; run nothing."),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="List what is missing, and estimate the cost; run nothing.",
        ),
    ] = False,
) -> None:
    """Measure models x datasets x settings. Run the same command again to resume."""
    from headstart.cli.commands import log_to, run_and_show, show_outlook
    from headstart.cli.study_options import read_study

    options = _study_options(
        models=models,
        datasets=datasets,
        settings=settings,
        seeds=seeds,
        study=further,
        steps=steps,
        examples_per_class=examples_per_class,
        limit=limit,
        precision=precision,
        skip_broken=skip_broken or None,
    )
    asked, replaced = read_study(study, options, trust=trust)
    if print_study:
        typer.echo("".join(f"# {line}\n" for line in replaced) + asked.to_toml(), nl=False)
        return
    for line in replaced:
        typer.echo(line)
    if dry_run:
        show_outlook(asked, store)
    elif run_and_show(
        asked,
        store,
        device.value,
        trust=trust,
        workers=workers,
        keep_models=keep_models,
        log=log_to(log, log_folder),
    ).failures:
        sys.exit(BAD_INPUT)


@command(app)
def plan(
    study: StudyArgument = None,
    models: ModelsOption = None,
    datasets: DatasetsOption = None,
    settings: SettingsOption = None,
    seeds: SeedsOption = None,
    further: FurtherOption = None,
    steps: StepsOption = None,
    examples_per_class: ExamplesOption = None,
    limit: LimitOption = None,
    store: StoreOption = DEFAULT_STORE,
    device: DeviceOption = DeviceName.auto,
    precision: PrecisionOption = None,
    skip_broken: SkipBrokenFlag = False,
    trust: TrustFlag = False,
    price: Annotated[
        float | None,
        typer.Option(
            help="Price per hour of this device, in any currency.",
            min=0,
            metavar="NUMBER",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Estimate the cost of a study: steps, images, hours on this device, disk, money.

    Times a few steps of each network on random pixels; downloads nothing.
    """
    from headstart.cli.plan import show_plan
    from headstart.cli.study_options import read_study

    options = _study_options(
        models=models,
        datasets=datasets,
        settings=settings,
        seeds=seeds,
        study=further,
        steps=steps,
        examples_per_class=examples_per_class,
        limit=limit,
        precision=precision,
        skip_broken=skip_broken or None,
    )
    asked, replaced = read_study(study, options, trust=trust)
    for line in replaced:
        typer.echo(line)
    show_plan(asked, store, device.value, price)


@command(app)
def analyze(
    sources: SourcesArgument = None,
    against: AgainstOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for all tables (CSV) and figures (PNG, SVG, PDF).",
            metavar="FOLDER",
            show_default=False,
        ),
    ] = None,
    json: Annotated[
        Path | None,
        typer.Option(help="JSON file for all tables.", metavar="FILE", show_default=False),
    ] = None,
    predict: Annotated[
        float | None,
        typer.Option(
            help="Upstream accuracy of a new model, to predict its accuracy on each dataset.",
            metavar="NUMBER",
            show_default=False,
        ),
    ] = None,
    references: ReferencesOption = None,
    columns: ColumnsOption = None,
    unit: UnitOption = None,
    predictions: PredictionsOption = None,
    wide: WideFlag = False,
    measure: MeasureOption = None,
    spread: SpreadOption = "se",
    duplicates: DuplicatesOption = DuplicatesName.refuse,
    groups: GroupsOption = None,
    error_bars: ErrorBarsOption = ErrorBarsName.morey,
    correction: CorrectionOption = CorrectionName.simultaneous,
    weights: WeightsOption = WeightsName.equal,
    resamples: ResamplesOption = 10_000,
    seed: SeedOption = 0,
    pairs: PairsFlag = False,
) -> None:
    """Analyze a table of results: correlations, tests, ranks, predictions, figures.

    A source is a results store, a table in a file, or a published table: kornblith2019,
    kornblith2019-public, kornblith2019-regularizers, clip2021, timm2026, mieb2026.
    """
    from headstart.analysis import read_references
    from headstart.cli.analysis import (
        check_places,
        check_upstream,
        make_analysis,
        predict_and_show,
        show_analysis,
        write_folder,
        write_json,
    )

    if references is not None and out is None:
        raise AnalysisError("--references draws lines in the figures: pass --out FOLDER as well")
    check_upstream(predict)
    check_places(json, out / "figures" if out else None)
    lines = None if references is None else read_references(references)
    options = _analysis_options(groups, error_bars, correction, resamples, seed)
    options |= _read_options(unit, predictions, wide, measure, spread, duplicates)
    options |= {"weights": weights.value}
    options |= {"against": against, "pairs": pairs}
    analysis = make_analysis(sources or [], columns, options)
    show_analysis(analysis)
    if predict is not None:
        predict_and_show(analysis, predict)
    if json is not None:
        write_json(analysis, json)
    if out is not None:
        write_folder(analysis, out, lines)


@command(app)
def report(
    sources: SourcesArgument = None,
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
    columns: ColumnsOption = None,
    unit: UnitOption = None,
    predictions: PredictionsOption = None,
    wide: WideFlag = False,
    measure: MeasureOption = None,
    spread: SpreadOption = "se",
    duplicates: DuplicatesOption = DuplicatesName.refuse,
    groups: GroupsOption = None,
    error_bars: ErrorBarsOption = ErrorBarsName.morey,
    correction: CorrectionOption = CorrectionName.simultaneous,
    weights: WeightsOption = WeightsName.equal,
    resamples: ResamplesOption = 10_000,
    seed: SeedOption = 0,
) -> None:
    """Write a self-contained HTML report of a table of results."""
    from headstart.cli.analysis import check_places, make_analysis, write_report

    check_places(out, latex, csv)
    options = _analysis_options(groups, error_bars, correction, resamples, seed)
    options |= _read_options(unit, predictions, wide, measure, spread, duplicates)
    options |= {"weights": weights.value}
    write_report(make_analysis(sources or [], columns, options), out, latex, csv)


@group(models_app)
def models(
    context: typer.Context,
    search: Annotated[
        str | None,
        typer.Option(
            help="Part of a name, looked for in the names of all installed libraries.",
            metavar="TEXT",
            show_default=False,
        ),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """List the models, and whether their weights are on this machine."""
    from headstart.cli.networks import search_models, show_models

    if context.invoked_subcommand is not None:
        if search is not None or json:
            raise CommandError(
                "options of `headstart models` must follow the subcommand: headstart models show "
                "NAME --json",
                code="command.order",
            )
    elif search is not None:
        search_models(search, json=json)
    else:
        show_models(json=json)


@command(models_app)
def show(
    name: Annotated[
        str,
        typer.Argument(help="Model: a name of the catalogue, or SOURCE:NAME.", metavar="NAME"),
    ],
    json: JsonFlag = False,
) -> None:
    """Show model details: size, preprocessing, weights, upstream accuracy."""
    from headstart.cli.networks import show_model

    show_model(name, json=json)


@command(app)
def upstream(
    imagenet: Annotated[
        Path,
        typer.Option(
            help="Folder of validation images: one folder per class, named by WordNet id or "
            "number.",
            metavar="FOLDER",
        ),
    ],
    models: Annotated[str, typer.Option(help="Models, separated by commas.", metavar="NAMES")],
    device: DeviceOption = DeviceName.auto,
    limit: Annotated[
        int | None,
        typer.Option(
            help="Maximum number of images, drawn at random; all if omitted.",
            metavar="INTEGER",
            show_default=False,
        ),
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(
            help="Text file with the class folders in the order of the network's outputs.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    trust: TrustFlag = False,
) -> None:
    """Measure top-1 accuracy on ImageNet, for use in analyses."""
    from headstart.cli.upstream import measure_and_show

    measure_and_show(imagenet, models, device.value, limit, order=classes, trust=trust)


@command(app)
def plugins(json: JsonFlag = False) -> None:
    """List the plugins, and the package that provides each."""
    from headstart.cli.networks import show_plugins

    show_plugins(json=json)


def _study_options(**given: object) -> dict[str, object]:
    """Return options by name, with the values of enumerations."""
    return {name: v.value if isinstance(v, StrEnum) else v for name, v in given.items()}


def _read_options(
    unit: UnitName | None,
    predictions: list[str] | None,
    wide: bool,
    measure: MeasureName | None,
    spread: str,
    duplicates: DuplicatesName,
) -> dict[str, object]:
    from headstart.analysis import ReadOptions

    reading = ReadOptions(
        unit.value if unit else None,
        wide,
        measure.value if measure else None,
        spread,
        duplicates.value,
    )
    return {"predictions": predictions or [], "reading": reading}


def _analysis_options(
    groups: Path | None,
    error_bars: ErrorBarsName,
    correction: CorrectionName,
    resamples: int,
    seed: int,
) -> dict[str, object]:
    return {
        "groups": groups,
        "error_bars": error_bars.value,
        "correction": correction.value,
        "resamples": resamples,
        "seed": seed,
    }


def main() -> None:
    """Run a command; bad input is one line on the error stream and exit code 2."""
    run_command(app)
