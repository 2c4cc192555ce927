"""`headstart export` and `predict`: results as folders that classify images, and their answers."""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Group

from headstart.cli.options import (
    BAD_INPUT,
    DEFAULT_STORE,
    CsvFlag,
    DeviceOption,
    JsonFlag,
    StoreOption,
    TrustFlag,
    refuse_password,
)
from headstart.cli.output import console, echo, one_form, print_json
from headstart.errors import CommandError
from headstart.shown_text import one_line

if TYPE_CHECKING:
    from headstart.deploy.classifier import ClassifiedImages
    from headstart.deploy.export import Exported
    from headstart.spec import Result
    from headstart.store import ResultStore

__all__ = ["export", "predict"]

KeptModelsOption = Annotated[
    str | None,
    typer.Option(
        help="Folder or URL where the run kept its models (default: STORE.models).",
        metavar="FOLDER",
        callback=refuse_password,
        show_default=False,
    ),
]


@dataclass(frozen=True)
class _ExportOptions:
    """Which result, in which form, where to."""

    trial: Annotated[
        list[str] | None,
        typer.Argument(
            help="Result: its key, the start of one, or words of its title (resnet50 dtd).",
            metavar="KEY",
            show_default=False,
        ),
    ] = None
    best: Annotated[
        bool,
        typer.Option("--best", help="The result with the best validation score of its dataset."),
    ] = False
    dataset: Annotated[
        str | None,
        typer.Option(help="Dataset of --best.", metavar="NAME", show_default=False),
    ] = None
    to: Annotated[
        Literal["onnx", "torch", "timm"],
        typer.Option(
            help="Form: an ONNX file, a torch program, or a folder for timm.create_model."
        ),
    ] = "onnx"
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder to write (default: export-KEY-FORM).", metavar="FOLDER", show_default=False
        ),
    ] = None
    half: Annotated[
        bool, typer.Option("--half", help="Also a float16 ONNX file, measured beside the full one.")
    ] = False
    int8: Annotated[
        bool, typer.Option("--int8", help="Also an int8 ONNX file, measured beside the full one.")
    ] = False


def export(
    options: _ExportOptions,
    store: StoreOption = DEFAULT_STORE,
    kept_models: KeptModelsOption = None,
    device: DeviceOption = "auto",
    trust: TrustFlag = False,
    json: JsonFlag = False,
) -> None:
    """Write a result's network as a folder that classifies images; verify it on the test images."""
    from headstart.cli.progress import watched
    from headstart.context import RunContext
    from headstart.deploy.export import ExportTarget, export_result
    from headstart.deploy.final_network import final_network, kept_models_of
    from headstart.store import ResultStore

    opened = ResultStore(store)
    result, chosen_by = _chosen(opened, options)
    folder = options.out or Path(f"export-{result.trial.key[:12]}-{options.to}")
    predictions = opened.predictions(result.trial.key)
    kept = kept_models_of(opened, kept_models)
    with watched("nothing was written", for_programs=json) as reporter:
        context = RunContext(device=device, reporter=reporter, trust=trust)
        exported = export_result(
            result,
            predictions,
            lambda: final_network(result, context, kept),
            ExportTarget(folder, options.to, half=options.half, int8=options.int8),
            context,
            chosen_by=chosen_by,
        )
    if json:
        print_json(
            {
                "folder": str(exported.folder.resolve()),
                "form": exported.form,
                "key": result.trial.key,
                "network": exported.origin,
                "measured": [asdict(one) for one in exported.measured],
                "notes": exported.notes,
            }
        )
        return
    console.print(f"{result.trial.title} (network {exported.origin})")
    console.print(_measured_table(result, exported))
    for note in exported.notes:
        console.print(note)
    echo(f"Folder: {exported.folder.resolve()}")
    echo(f"Try: python {exported.folder / 'example.py'} IMAGE")


def _chosen(store: "ResultStore", options: _ExportOptions) -> tuple["Result", str]:
    """Return the result that is asked for, and how it was chosen, for the card."""
    from headstart.deploy.final_network import best_result, find_result

    named, best, dataset = options.trial or [], options.best, options.dataset
    if best and named:
        raise CommandError(
            "KEY and --best exclude each other: pass one of them",
            code="command.conflict",
            option="--best",
        )
    if not best and dataset:
        raise CommandError(
            "--dataset is for --best: pass both, or words of a title",
            code="command.conflict",
            option="--dataset",
        )
    if best:
        found = best_result(store, dataset)
        among = sum(one.trial.dataset.name == found.trial.dataset.name for one in store.results())
        said = f"the best on validation of {among:,} results of {found.trial.dataset.name}"
        return found, said if among > 1 else "the only result of its dataset"
    if not named:
        raise CommandError(
            "argument KEY is missing: name a result, or pass --best; `headstart results --csv` "
            "has the keys",
            code="command.missing",
            name="KEY",
        )
    return find_result(store, " ".join(named)), "named on the command line"


def _measured_table(result: "Result", exported: "Exported") -> Group:
    """One row per file or runtime: what it gives on the test images."""
    from headstart.cli.terminal_tables import column_table
    from headstart.report.page_model import Column, named
    from headstart.spec.formatting import decimals

    columns = [
        named("run by", "name"),
        Column(f"{result.trial.dataset.metric} %", "score", decimals(2, scale=100)),
        Column("95 % interval", ("low", "high"), decimals(1, scale=100)),
        Column("other predictions", lambda row: f"{row['changed']:,} of {row['n']:,}"),
        Column("largest difference", "largest", "{:.1e}".format),
        Column("ms", "milliseconds", decimals(1)),
        Column("95th", "slow_milliseconds", decimals(1)),
        Column("MB", lambda row: row["n_bytes"] or None, decimals(1, scale=1e-6)),
    ]
    return column_table(columns, map(vars, exported.measured))


def predict(
    source: Annotated[
        str,
        typer.Argument(
            help="Key of a result or its start; or a folder: an export, or a kept model.",
            metavar="KEY|FOLDER",
            callback=refuse_password,
            show_default=False,
        ),
    ],
    images: Annotated[
        list[str] | None,
        typer.Argument(
            help="Images, folders of images, patterns.", metavar="IMAGE...", show_default=False
        ),
    ] = None,
    top: Annotated[
        int, typer.Option(help="Number of classes per image.", min=1, metavar="INTEGER")
    ] = 5,
    store: StoreOption = DEFAULT_STORE,
    kept_models: KeptModelsOption = None,
    device: DeviceOption = "auto",
    trust: TrustFlag = False,
    csv: CsvFlag = False,
    json: JsonFlag = False,
) -> None:
    """Classify images as they were when the result was measured; list those that do not decode."""
    from headstart.cli.progress import watched
    from headstart.context import RunContext
    from headstart.deploy.classifier import find_images, load
    from headstart.report.reporter import to_csv

    one_form(csv=csv, json=json)
    if not images:
        raise CommandError(
            "argument IMAGE is missing: name images, folders or patterns",
            code="command.missing",
            name="IMAGE",
        )
    number = len(find_images(images))
    with watched("nothing was printed", for_programs=csv or json) as reporter:
        context = RunContext(device=device, reporter=reporter, trust=trust)
        classifier = load(source, store=store, kept_models=kept_models, context=context)
        reporter.stage("classifying", total=number, unit="images")
        found = classifier(images, on_progress=reporter.advance)
    if json:
        print_json(_records(found, top), ascii_only=False)
    elif csv:
        echo(to_csv(found.table(top)), nl=False)
    elif len(found):
        console.print(_predictions_table(found, top))
    if not json:
        for name, reason in found.broken.items():
            echo(f"cannot be decoded: {one_line(name)}: {one_line(reason)}", err=csv)
    if found.broken:
        sys.exit(BAD_INPUT)


def _records(found: "ClassifiedImages", top: int) -> list[dict[str, Any]]:
    """Return one record per image; of one that cannot be decoded the reason."""
    answers: list[dict[str, Any]] = [
        {
            "image": name,
            "predictions": [
                {"class": label, "probability": round(probability, 6)}
                for label, probability in best
            ],
        }
        for name, best in zip(found.names, found.top(top), strict=True)
    ]
    return answers + [{"image": name, "error": why} for name, why in found.broken.items()]


def _predictions_table(found: "ClassifiedImages", top: int) -> Group:
    """One row per image: the most probable class, its probability in percent, the next ones."""
    from headstart.cli.terminal_tables import column_table
    from headstart.report.page_model import Column, named
    from headstart.spec.formatting import decimals

    columns = [
        named("image", "image"),
        named("class", "label"),
        Column("%", "probability", decimals(1, scale=100)),
        named("then", "then"),
    ]
    rows = []
    for name, best in zip(found.names, found.top(top), strict=True):
        (label, probability), *others = best
        then = ", ".join(f"{other} {100 * share:.1f}" for other, share in others)
        rows.append({"image": name, "label": label, "probability": probability, "then": then})
    return column_table(columns, rows)
