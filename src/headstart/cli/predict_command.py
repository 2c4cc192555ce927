"""`headstart predict`: classify images with a measured classifier.

What is slow to import is imported when the command runs.
"""

import json as json_module
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group

from headstart.cli.export_command import KeptModelsOption
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
from headstart.cli.output import (
    Screen,
    console,
    echo,
    one_form,
    resumable,
)
from headstart.errors import CommandError
from headstart.shown_text import one_line

if TYPE_CHECKING:
    from headstart.deploy.classifier import ClassifiedImages

__all__ = ["predict"]


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
    from headstart.cli.progress import LiveReporter
    from headstart.context import RunContext
    from headstart.deploy.classifier import find_images, load

    one_form(csv=csv, json=json)
    if not images:
        raise CommandError(
            "argument IMAGE is missing: name images, folders or patterns",
            code="command.missing",
            name="IMAGE",
        )
    number = len(find_images(images))
    screen = Screen(stderr=True, markup=False, highlight=False) if csv or json else console
    with resumable("nothing was printed"), LiveReporter(screen) as reporter:
        context = RunContext(device=device, reporter=reporter, trust=trust)
        classifier = load(source, store=store, kept_models=kept_models, context=context)
        reporter.stage("classifying", total=number, unit="images")
        found = classifier(images, on_progress=reporter.advance)
    _show(found, top, csv=csv, json=json)
    if found.broken:
        sys.exit(BAD_INPUT)


def _show(found: "ClassifiedImages", top: int, *, csv: bool, json: bool) -> None:
    if json:
        echo(json_module.dumps(_records(found, top), indent=1, ensure_ascii=False))
        return
    if csv:
        from headstart.report.data_files import to_csv

        echo(to_csv(found.table(top)), nl=False)
    else:
        if len(found):
            console.print(_table(found, top))
    for name, reason in found.broken.items():
        echo(f"cannot be decoded: {one_line(name)}: {one_line(reason)}", err=csv)


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


def _table(found: "ClassifiedImages", top: int) -> Group:
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
