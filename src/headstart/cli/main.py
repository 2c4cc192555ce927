"""`headstart`: the application, and its smallest commands; others have a module beside this one."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from headstart.cli.analyze_command import analyze, report
from headstart.cli.cache_command import cache_app
from headstart.cli.command_group import (
    HELP,
    PANELS,
    QuietFlag,
    RootGroup,
    VerboseFlag,
    add_command,
    command,
    set_verbosity,
)
from headstart.cli.datasets_command import datasets_app
from headstart.cli.deploy_command import export, predict
from headstart.cli.embed_command import embed
from headstart.cli.models_command import models_app, upstream
from headstart.cli.options import BAD_INPUT, DeviceOption, JsonFlag
from headstart.cli.output import console, echo, print_json, run_command
from headstart.cli.pretrain_command import ablate, pretrain
from headstart.cli.rank_command import rank
from headstart.cli.results_command import results_app, store_app
from headstart.cli.run_command import plan, run, status
from headstart.registry import REGISTRIES

__all__ = ["app", "main"]

app = typer.Typer(
    cls=RootGroup,
    context_settings=HELP,
    help="How much of a head start does pretraining give? "
    "Measures how pretrained image models transfer.",
    epilog="Downloads, features and prepared images are kept in $HEADSTART_CACHE (default: "
    "~/.cache/headstart; see `headstart cache`). Exit codes: 0 done, 2 bad input or a failed "
    "trial, 130 interrupted (Ctrl-C), 141 output pipe closed.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for _app, _name in (
    (results_app, "results"),
    (datasets_app, "datasets"),
    (models_app, "models"),
    (cache_app, "cache"),
    (store_app, "store"),
):
    app.add_typer(_app, name=_name, rich_help_panel=PANELS[_name])
for _function in (
    rank, run, plan, status, analyze, report, export, predict, pretrain, ablate, upstream, embed,
):  # fmt: skip
    add_command(app, _function)


def _print_version(wanted: bool) -> None:
    if wanted:
        import headstart

        echo(f"headstart {headstart.__version__}")
        raise typer.Exit


@app.callback()
def headstart_(
    quiet: QuietFlag = False,
    verbose: VerboseFlag = False,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    """Set how much is printed."""
    set_verbosity(quiet=quiet, verbose=verbose)


@command(app, panel=PANELS["demo"])
def demo(
    out: Annotated[Path, typer.Option(help="Folder for all results.", metavar="FOLDER")] = Path(
        "headstart-demo"
    ),
    device: DeviceOption = "auto",
) -> None:
    """Measure three pretrained networks on real images in minutes, without any download."""
    from headstart.cli.demo import run_demo

    if any(run.failures for run in run_demo(out, device)):
        sys.exit(BAD_INPUT)


@command(app, panel=PANELS["plugins"])
def plugins(json: JsonFlag = False) -> None:
    """List the plugins, and the package that provides each."""
    found = [plugin for registry in REGISTRIES for plugin in registry.plugins.values()]
    if json:
        print_json([asdict(plugin) for plugin in found])
        return
    from headstart.cli.terminal_tables import column_table
    from headstart.report.page_model import named

    columns = [named(label, label) for label in ("kind", "name", "package", "place")]
    console.print(column_table(columns, map(asdict, found)))


@command(app, panel=PANELS["explain"])
def explain(
    code: Annotated[
        str | None,
        typer.Argument(
            help="Code of an error, as --verbose shows it; all are listed if omitted.",
            metavar="CODE",
        ),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Explain an error by its code: what it means, its messages, the page about its subject."""
    from headstart.error_index import error_index, explained

    found = list(error_index().values()) if code is None else [explained(code)]
    if json:
        print_json([asdict(one) for one in found])
    elif code is None:
        width = max(len(one.code) for one in found)
        shown = [(one.code, one.messages[0] if one.messages else one.meaning) for one in found]
        echo("\n".join(f"{name:<{width}}  {message}" for name, message in shown))
    else:
        echo("\n".join(line for one in found for line in one.text()))


def main() -> None:
    """Run a command; bad input is one line on the error stream and exit code 2."""
    run_command(app)
