"""What `headstart models` does: list, search, show."""

import json as json_module
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import typer
from rich.console import Group
from rich.text import Text

from headstart import models
from headstart.cli.streams import console
from headstart.cli.tables import plain_table
from headstart.errors import StudyError
from headstart.registry import REGISTRIES

__all__ = ["search_models", "show_model", "show_models", "show_plugins"]


def show_models(*, json: bool) -> None:
    """Print the catalogue of networks, then those that were pretrained here."""
    names = [*models.catalogue(), *models.pretrained_names()]
    rows = [{**models.model_details(models.find(name)), "name": name} for name in names]
    if json:
        typer.echo(json_module.dumps(rows, indent=1))
    else:
        console.print(table(rows))


def search_models(text: str, *, json: bool) -> None:
    """Print all names of networks that hold a text, of the catalogue and of every library."""
    names = models.search(text)
    if not names:
        raise StudyError(
            f"no network of the installed libraries has '{text}' in its name",
            code="model.none_found",
            text=text,
        )
    typer.echo(json_module.dumps(names, indent=1) if json else "\n".join(names))


def show_model(name: str, *, json: bool) -> None:
    """Print all that is known of a network; its library is imported only if it must be."""
    row = models.model_details(models.find(name))
    typer.echo(json_module.dumps(row, indent=1) if json else "\n".join(details(row)))


def show_plugins(*, json: bool) -> None:
    """Print every part that can be plugged in, and the package that it comes from."""
    found = [plugin for registry in REGISTRIES for plugin in registry.plugins.values()]
    if json:
        typer.echo(json_module.dumps([asdict(plugin) for plugin in found], indent=1))
        return
    parts = plain_table("kind", "name", "package", "place", right=set())
    for plugin in found:
        parts.add_row(plugin.kind, plugin.name, plugin.package, plugin.place)
    console.print(parts)


def table(rows: Sequence[dict[str, Any]]) -> Group:
    """Return one row per network; names are never cut, `details` has the full text of the rest."""
    numbers = ("parameters", "input", "features", "upstream %")
    made = plain_table("model", *numbers, "present", "how to get it", right=set(numbers))
    made.columns[0].min_width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        upstream = next((known for known in row["upstream"] if known["weights"] is None), None)
        made.add_row(
            row["name"],
            _millions(row["parameters"]),
            f"{row['input_size']} px",
            str(row["feature_dim"]),
            f"{100 * upstream['value']:.2f}" if upstream else "-",
            *(("yes", "") if row["present"] else ("no", row["origin"])),
        )
    return Group(made, Text("headstart models show NAME says more", style="dim"))


def details(row: dict[str, Any]) -> list[str]:
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
