"""What all commands share: their place in the help, how much they print, their width in a pipe."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from headstart.cli.verbosity import set_verbosity
from headstart.registry import COMMANDS

__all__ = [
    "HELP",
    "PANELS",
    "CommandGroup",
    "QuietFlag",
    "RootGroup",
    "VerboseFlag",
    "add_command",
    "command",
    "group",
]

MEASURE, ANALYZE, CATALOGS = "Measure", "Analyze", "Catalogs"
TRAIN, START, OTHERS = "Train", "Start", "Plug-ins"
# Commands by use: `--help` lists them in this order, under these headings.
PANELS = {
    "run": MEASURE,
    "plan": MEASURE,
    "results": MEASURE,
    "report": ANALYZE,
    "analyze": ANALYZE,
    "datasets": CATALOGS,
    "models": CATALOGS,
    "plugins": CATALOGS,
    "cache": CATALOGS,
    "pretrain": TRAIN,
    "ablate": TRAIN,
    "miniature": TRAIN,
    "upstream": TRAIN,
    "embed": TRAIN,
    "demo": START,
    "explain": START,
}
ORDER = {name: place for place, name in enumerate(PANELS)}
HELP: dict[str, Any] = {"help_option_names": ["-h", "--help"]}

QuietFlag = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Print results and errors only: no progress, no notes."),
]
VerboseFlag = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="Print every stage, and the code of an error."),
]
SHARED = {"quiet": QuietFlag, "verbose": VerboseFlag}


def _without_types(parameters: list[Any]) -> list[Any]:
    """Have the help show no type beside a flag: it takes no value."""
    for parameter in parameters:
        if getattr(parameter, "is_flag", False) and parameter.metavar is None:
            parameter.metavar = ""
    return parameters


class Command(TyperCommand):
    """A command with flags as its help should show them."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return all parameters."""
        return _without_types(super().get_params(ctx))


class CommandGroup(TyperGroup):
    """Commands in the order of `PANELS`."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in the order in which the help lists them."""
        return sorted(super().list_commands(ctx), key=lambda name: ORDER.get(name, len(ORDER)))

    def get_params(self, ctx: Any) -> list[Any]:
        """Return all parameters."""
        return _without_types(super().get_params(ctx))


class RootGroup(CommandGroup):
    """Own commands, and those that packages bring by an entry point ``headstart.command``."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return all names in the order in which the help lists them."""
        names = [*super().list_commands(ctx), *COMMANDS]
        return sorted(names, key=lambda name: ORDER.get(name, len(ORDER)))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command; the module of a package's own is imported only now."""
        if (own := super().get_command(ctx, cmd_name)) or cmd_name not in COMMANDS:
            return own
        app = typer.Typer()
        add_command(app, COMMANDS[cmd_name], cmd_name)
        return typer.main.get_group(app).get_command(ctx, cmd_name)


def command(app: typer.Typer) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that makes a function a command with the options that all have."""

    def add(function: Callable[..., None]) -> Callable[..., None]:
        add_command(app, function)
        return function

    return add


def add_command(app: typer.Typer, function: Callable[..., None], name: str | None = None) -> None:
    """Make a function a command of `app`, with the options that all have."""
    panel = PANELS.get(name or function.__name__, OTHERS if name else None)
    add = app.command(name, cls=Command, context_settings=HELP, rich_help_panel=panel)
    add(_with_shared(function))


def group(app: typer.Typer) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that makes a function what a group of commands does without one."""

    def add(function: Callable[..., None]) -> Callable[..., None]:
        app.callback(invoke_without_command=True)(_with_shared(function))
        return function

    return add


def _with_shared(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options to the signature: typer reads it."""

    @wraps(function)
    def wrapped(*given: Any, quiet: bool = False, verbose: bool = False, **options: Any) -> None:
        set_verbosity(quiet=quiet, verbose=verbose)
        function(*given, **options)

    signature = inspect.signature(function)
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in SHARED.items()
    ]
    wrapped.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), *more]
    )
    wrapped.__annotations__ = {**function.__annotations__, **SHARED}
    return wrapped
