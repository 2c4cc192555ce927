"""`headstart`: the commands. What is slow to import is imported by the command that needs it."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from headstart.cli.analysis_options import (
    AgainstOption,
    ColumnsOption,
    CorrectionName,
    CorrectionOption,
    CsvFileOption,
    DuplicatesName,
    DuplicatesOption,
    ErrorBarsName,
    ErrorBarsOption,
    FolderOption,
    GroupsOption,
    JsonFileOption,
    LatexOption,
    MeasureName,
    MeasureOption,
    PageOption,
    PairsFlag,
    PredictionsOption,
    PredictOption,
    ReferencesOption,
    ResamplesOption,
    SeedOption,
    SourcesArgument,
    SpreadOption,
    UnitName,
    UnitOption,
    WeightsName,
    WeightsOption,
    WideFlag,
)
from headstart.cli.cache_commands import cache_app
from headstart.cli.dataset_commands import datasets_app
from headstart.cli.embedding_command import embed
from headstart.cli.manners import (
    HELP,
    PANELS,
    CommandGroup,
    QuietFlag,
    RootGroup,
    VerboseFlag,
    add_command,
    command,
    group,
)
from headstart.cli.options import (
    BAD_INPUT,
    DEFAULT_STORE,
    DatasetsOption,
    DeviceName,
    DeviceOption,
    DryRunFlag,
    ExamplesOption,
    ExecutorOption,
    FurtherOption,
    JsonFlag,
    KeepOption,
    LimitOption,
    LogFolderOption,
    LogOption,
    ModelsOption,
    PrecisionOption,
    PriceOption,
    PrintStudyFlag,
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
from headstart.errors import CommandError

__all__ = ["app", "main"]

app = typer.Typer(
    cls=RootGroup,
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
for _function in (pretrain, ablate, embed):
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
    executor: ExecutorOption = None,
    keep_models: KeepOption = None,
    log: LogOption = None,
    log_folder: LogFolderOption = None,
    print_study: PrintStudyFlag = False,
    dry_run: DryRunFlag = False,
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
        executor=executor,
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
    price: PriceOption = None,
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
    out: FolderOption = None,
    json: JsonFileOption = None,
    predict: PredictOption = None,
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
        raise CommandError(
            "--references draws lines in the figures: pass --out FOLDER as well",
            code="command.missing",
            name="--out",
        )
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
    out: PageOption = Path("report.html"),
    latex: LatexOption = None,
    csv: CsvFileOption = None,
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


@command(app)
def explain(
    code: Annotated[
        str | None,
        typer.Argument(
            help="Code of an error, as --verbose shows it; all are listed if omitted.",
            metavar="CODE",
            show_default=False,
        ),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Explain an error by its code: what it means, its messages, the page about its subject."""
    import json as json_module
    from dataclasses import asdict

    from headstart.error_index import error_index, explained

    found = list(error_index().values()) if code is None else [explained(code)]
    if json:
        typer.echo(json_module.dumps([asdict(one) for one in found], indent=1))
    elif code is None:
        width = max(len(one.code) for one in found)
        shown = [(one.code, one.messages[0] if one.messages else one.meaning) for one in found]
        typer.echo("\n".join(f"{name:<{width}}  {message}" for name, message in shown))
    else:
        typer.echo("\n".join(line for one in found for line in one.text()))


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
