"""`headstart`: the commands. What is slow to import is imported by the command that needs it."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from headstart.cli.dataset_commands import datasets_app
from headstart.cli.embedding_command import embed
from headstart.cli.miniature_command import miniature
from headstart.cli.options import (
    BAD_INPUT,
    DEFAULT_STORE,
    DeviceName,
    DeviceOption,
    ExamplesOption,
    FurtherOption,
    JsonFlag,
    KeepOption,
    LimitOption,
    ListOption,
    LogFolderOption,
    LogOption,
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
from headstart.errors import AnalysisError, CommandError

__all__ = ["app", "main"]

app = typer.Typer(
    help="How much of a head start does pretraining give? "
    "Measures how pretrained image models transfer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

models_app = typer.Typer()
app.add_typer(models_app, name="models")
app.add_typer(datasets_app, name="datasets")
app.add_typer(results_app, name="results")
app.command()(pretrain)
app.command()(ablate)
app.command()(embed)
app.command()(miniature)


class UnitName(StrEnum):
    """What accuracies are given in."""

    percent = "percent"
    proportion = "proportion"


class ErrorBarsName(StrEnum):
    """The form of the within-dataset standard error."""

    morey = "morey"
    cousineau = "cousineau"


class MeasureName(StrEnum):
    """What the numbers of a table are."""

    accuracy = "accuracy"
    error = "error"


class DuplicatesName(StrEnum):
    """What to do with rows that contradict each other."""

    refuse = "refuse"
    average = "average"


class WeightsName(StrEnum):
    """What a dataset weighs."""

    equal = "equal"
    n_test = "n_test"


class CorrectionName(StrEnum):
    """For many comparisons at once."""

    simultaneous = "simultaneous"
    none = "none"


SourcesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SOURCE...",
        help="Results stores, tables (CSV, JSON, Excel, Parquet, Markdown, LaTeX, HTML), published "
        "tables. For one file alone: 'a.csv?dataset:=food101'.",
        show_default=False,
    ),
]
PredictionsOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Table of predictions on single test images: model, dataset, example, and correct "
        "(or prediction and label, or scores and label). May be repeated.",
        show_default=False,
    ),
]
WideFlag = Annotated[
    bool, typer.Option("--wide", help="Tables have one column per dataset; inferred if omitted.")
]
MeasureOption = Annotated[
    MeasureName | None,
    typer.Option(help="What the numbers are; inferred from headers, else accuracies."),
]
SpreadOption = Annotated[
    str,
    typer.Option(
        help="What stands behind ±: se (standard error), or sd:N (standard deviation over N runs)."
    ),
]
DuplicatesOption = Annotated[
    DuplicatesName,
    typer.Option(help="Rows that contradict each other: refuse them, or average them as runs."),
]
AgainstOption = Annotated[
    str | None,
    typer.Option(
        help="A source with other weights of the same models: does upstream accuracy go as far "
        "with transfer in both?",
        show_default=False,
    ),
]
ReferencesOption = Annotated[
    Path | None,
    typer.Option(
        help="CSV of accuracies to draw as lines in the figure settings: dataset, and a column "
        "a line."
    ),
]
ColumnsOption = Annotated[
    str | None,
    typer.Option(
        help="Names of columns: model=Model,accuracy=acc; several joined: model=Arch+Pretraining; "
        "one value for all rows: setting:=linear; left out: ignore=Year.",
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
        help="File that says which dataset is in which group (TOML or CSV); under and over "
        "10,000 training images unless given.",
        show_default=False,
    ),
]
ErrorBarsOption = Annotated[
    ErrorBarsName, typer.Option(help="morey is unbiased; cousineau is what the paper drew.")
]
CorrectionOption = Annotated[
    CorrectionName,
    typer.Option(help="Correction of intervals and p-values for the number of comparisons."),
]
PairsFlag = Annotated[
    bool, typer.Option("--pairs", help="Write all pairs of models, also of more than 100 models.")
]
WeightsOption = Annotated[
    WeightsName,
    typer.Option(
        help="Weight of a dataset in means over datasets: equal, or its number of test images."
    ),
]
ResamplesOption = Annotated[
    int, typer.Option(help="Number of resamples of bootstrap bands and permutation tests.")
]
SeedOption = Annotated[int, typer.Option(help="Random seed of the resamples.")]


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for all results.")] = Path("headstart-demo"),
    device: DeviceOption = DeviceName.auto,
) -> None:
    """Measure three real networks on real images, here and now. Nothing to download."""
    from headstart.cli.demo import run_demo

    if any(run.failures for run in run_demo(out, device.value)):
        sys.exit(BAD_INPUT)


@app.command()
def run(
    study: StudyArgument = None,
    models: ListOption = None,
    datasets: ListOption = None,
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
        bool, typer.Option("--print-study", help="Print the study as a file; run nothing.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what is missing and what it takes; run nothing.")
    ] = False,
) -> None:
    """Measure models x datasets x settings; what is stored already is not done again."""
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


@app.command()
def plan(
    study: StudyArgument = None,
    models: ListOption = None,
    datasets: ListOption = None,
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
        float | None, typer.Option(help="Of an hour of this device, in any currency.", min=0)
    ] = None,
) -> None:
    """Say what a study takes before it is run: steps, images, hours on this device, disk, money.

    A few steps of each network are timed on random pixels; nothing is downloaded.
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


@app.command()
def analyze(
    sources: SourcesArgument = None,
    against: AgainstOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for all tables (CSV) and figures (PNG, SVG, PDF).")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="File for all tables, as JSON.")] = None,
    predict: Annotated[
        float | None,
        typer.Option(help="Upstream accuracy of a model: what will it reach on each dataset?"),
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
    """Say what a table of results shows: correlations, tests, ranks, predictions, figures.

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
        raise AnalysisError("--references: lines are drawn in the figures: give --out, too")
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


@app.command()
def report(
    sources: SourcesArgument = None,
    out: Annotated[Path, typer.Option(help="The page.")] = Path("report.html"),
    latex: Annotated[
        Path | None, typer.Option(help="Also write the tables for a paper to this file.")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(help="Also write all cells with their marks to this file.")
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
    """Write one page, complete in itself, that shows what a table of results says."""
    from headstart.cli.analysis import check_places, make_analysis, write_report

    check_places(out, latex, csv)
    options = _analysis_options(groups, error_bars, correction, resamples, seed)
    options |= _read_options(unit, predictions, wide, measure, spread, duplicates)
    options |= {"weights": weights.value}
    write_report(make_analysis(sources or [], columns, options), out, latex, csv)


@models_app.callback(invoke_without_command=True)
def models(
    context: typer.Context,
    search: Annotated[
        str | None,
        typer.Option(help="Names of all installed libraries that hold this text."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """List the networks, and whether their weights are on this machine."""
    from headstart.cli.networks import search_models, show_models

    if context.invoked_subcommand is not None:
        if search is not None or json:
            raise CommandError(
                "options of `headstart models show` come after the name", code="command.order"
            )
    elif search is not None:
        search_models(search, json=json)
    else:
        show_models(json=json)


@models_app.command()
def show(
    name: Annotated[str, typer.Argument(help="Of the catalogue, or SOURCE:NAME.")],
    json: JsonFlag = False,
) -> None:
    """Say all that is known of one network: its facts, its weights, what a run takes."""
    from headstart.cli.networks import show_model

    show_model(name, json=json)


@app.command()
def upstream(
    imagenet: Annotated[
        Path,
        typer.Option(
            help="Validation images: one folder per class, named by WordNet id or number."
        ),
    ],
    models: Annotated[str, typer.Option(help="Names, separated by commas.")],
    device: DeviceOption = DeviceName.auto,
    limit: Annotated[
        int | None, typer.Option(help="At most so many images, drawn at random.")
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(
            help="Text file with the class folders in the order of the network's outputs.",
            show_default=False,
        ),
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Execute what pickled weights say.")
    ] = False,
) -> None:
    """Measure top-1 accuracy on ImageNet; the analysis then uses it."""
    from headstart.cli.upstream import measure_and_show

    measure_and_show(imagenet, models, device.value, limit, order=classes, trust=trust)


@app.command()
def plugins(json: JsonFlag = False) -> None:
    """List what can be plugged in, and the package that each part comes from."""
    from headstart.cli.networks import show_plugins

    show_plugins(json=json)


def _study_options(**given: object) -> dict[str, object]:
    """Take the values of what is chosen among names."""
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
