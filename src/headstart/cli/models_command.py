"""`headstart models` and `upstream`: list, search and show networks, measure their accuracy."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group
from rich.text import Text

from headstart.cli.command_group import HELP, CommandGroup, command, group
from headstart.cli.options import DeviceOption, JsonFlag, TrustFlag
from headstart.cli.output import console, echo, print_json
from headstart.errors import CommandError, StudyError

if TYPE_CHECKING:
    from headstart.spec import Model
    from headstart.upstream import Measured

__all__ = ["models_app", "upstream"]

models_app = typer.Typer(cls=CommandGroup, context_settings=HELP)


@group(models_app)
def models(
    context: typer.Context,
    search: Annotated[
        str | None,
        typer.Option(
            help="Text to search for in the model names of all installed libraries.", metavar="TEXT"
        ),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """List the models, and whether their weights are on this machine."""
    if context.invoked_subcommand is not None:
        if search is not None or json:
            raise CommandError(
                "options of `headstart models` must follow the subcommand: headstart models show "
                "NAME --json",
                code="command.order",
            )
        return
    from headstart import models

    if search is not None:
        found = models.search(search)
        if not found:
            raise StudyError(
                f"no network of the installed libraries has '{search}' in its name",
                code="model.none_found",
                text=search,
            )
        if json:
            print_json(found)
        else:
            echo("\n".join(found))
        return
    # The catalogue, then those that were pretrained here.
    names = [*models.catalogue(), *models.pretrained_names()]
    rows = [{**models.model_details(models.find(name)), "name": name} for name in names]
    if json:
        print_json(rows)
    else:
        console.print(_table(rows))


@command(models_app)
def show(
    name: Annotated[
        str, typer.Argument(help="Model: a name of the catalogue, or SOURCE:NAME.", metavar="NAME")
    ],
    json: JsonFlag = False,
) -> None:
    """Show model details: size, preprocessing, weights, upstream accuracy."""
    from headstart import models

    row = models.model_details(models.find(name))
    if json:
        print_json(row)
    else:
        echo("\n".join(_details(row)))


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
    device: DeviceOption = "auto",
    limit: Annotated[
        int | None,
        typer.Option(
            help="Maximum number of images, drawn at random; all if omitted.", metavar="INTEGER"
        ),
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(
            help="Text file with the class folders in the order of the network's outputs.",
            metavar="FILE",
        ),
    ] = None,
    trust: TrustFlag = False,
) -> None:
    """Measure top-1 accuracy on ImageNet, for use in analyses."""
    from headstart import models as networks
    from headstart.cli.progress import LiveReporter
    from headstart.context import RunContext
    from headstart.models.pretrained import outputs_of
    from headstart.study.study import distinct
    from headstart.upstream import measure, read_validation

    named = [(name, networks.find(name)) for name in networks.split_names(models)]
    chosen, notes = distinct("model", named)
    for note in notes:
        echo(note)
    if not chosen:
        raise StudyError(
            "--models names no model: expected at least one", code="study.missing", name="models"
        )
    # Networks of several orders go by the names of the folders.
    known = {outputs_of(model) for model in chosen}
    order = known.pop() if len(known) == 1 else None
    labels, split = read_validation(imagenet, limit, classes, order)
    found: list[tuple[Model, Measured]] = []
    # What is measured is kept though a later one fails.
    try:
        with LiveReporter(console) as reporter:
            context = RunContext(device=device, reporter=reporter, trust=trust)
            for number, model in enumerate(chosen, start=1):
                own = reporter.trial_started(model.name, number, len(chosen))
                where = replace(context, reporter=own)
                found.append((model, measure(model, labels, split, where)))
                own.trial_finished()
    finally:
        if found:
            _show_upstream(found)


def _table(rows: Sequence[dict[str, Any]]) -> Group:
    """Return one row per network; names are never cut, `_details` has the full text of the rest."""
    from headstart.cli.terminal_tables import column_table
    from headstart.report.page_model import Column, named
    from headstart.spec.formatting import decimals

    def upstream(row: Mapping[str, Any]) -> float | None:
        return next((one["value"] for one in row["upstream"] if one["weights"] is None), None)

    columns = [
        named("model", "name"),
        Column("parameters", "parameters", _millions),
        Column("input", "input_size", "{} px".format),
        Column("features", "feature_dim"),
        Column("upstream %", upstream, decimals(2, scale=100)),
        named("present", lambda row: "yes" if row["present"] else "no"),
        named("how to get it", lambda row: None if row["present"] else row["origin"], detail=1),
    ]
    more = Text("details: headstart models show NAME", style="dim")
    return Group(column_table(columns, rows), more)


def _details(row: dict[str, Any]) -> list[str]:
    """All that is known of a network, one line per fact: unbroken, so that paths can be copied."""
    here = "yes, " if row["present"] else "no: "
    size = row["weights_bytes"]
    download = "nothing to download" if row["present"] else "a download of unknown size"
    features = row["feature_bytes_per_1000_images"] / 1e6
    facts = {
        "library": f"{row['source']}, architecture {row['architecture']}",
        "input": f"{row['input_size']} px, {row['interpolation']}, "
        f"mean {_numbers(row['mean'])}, std {_numbers(row['std'])}"
        + (f", channels {row['tags']['channels']}" if row["tags"].get("channels") else ""),
        "features": str(row["feature_dim"]),
        "parameters": f"{_millions(row['parameters'])} without the classifier",
        "weights": row["weights"]["locator"],
        "SHA-256": row["digest"] or "unknown before their first use",
        "here": here + row["place"] + (f" ({size / 1e6:,.1f} MB)" if size else ""),
        "upstream": _upstream(row["upstream"]),
        "tags": ", ".join(f"{name} {value}" for name, value in row["tags"].items() if value) or "-",
        "a run takes": f"{features:,.1f} MB of features for 1,000 images, {download}",
    }
    width = max(map(len, facts)) + 2
    indented = {name: text.replace("\n", "\n" + " " * (width + 2)) for name, text in facts.items()}
    return [row["name"], *(f"  {name:<{width}}{text}" for name, text in indented.items())]


def _millions(parameters: int | None) -> str:
    return "-" if parameters is None else f"{parameters / 1e6:.1f} M"


def _numbers(values: Sequence[float]) -> str:
    return "/".join(f"{value:g}" for value in values)


def _upstream(accuracies: Sequence[dict[str, Any]]) -> str:
    lines = [
        f"{100 * known['value']:.2f} % {known['metric']}, {known['dataset']}, "
        f"weights {known['weights'] or 'these'} ({known['source']})"
        for known in accuracies
    ]
    return "\n".join(lines) or "unknown"


def _show_upstream(found: list[tuple["Model", "Measured"]]) -> None:
    from headstart.cli.terminal_tables import column_table
    from headstart.report.page_model import Column, named
    from headstart.spec.formatting import decimals
    from headstart.stats import wilson_interval

    columns = [
        named("model", "model"),
        Column("top-1 %", "value", decimals(2, scale=100)),
        Column("95 % interval", ("low", "high"), decimals(1, scale=100)),
        Column("images", "n", "{:,}".format),
        Column("known %", "known", decimals(2, scale=100)),
    ]
    rows = [
        {
            "model": model.name, "value": measured.value, "n": measured.n,
            "known": model.upstream_accuracy,
            **vars(wilson_interval(measured.value, measured.n)),
        }
        for model, measured in found
    ]  # fmt: skip
    console.print(column_table(columns, rows))
    for model, measured in found:
        if measured.doubt:
            echo(f"not kept: {model.name}: {measured.doubt}")
