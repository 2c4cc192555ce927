"""What all commands share: order in the help, groups of options, verbosity."""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import IntEnum
from functools import wraps
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from headstart.errors import CommandError
from headstart.registry import COMMANDS

__all__ = [
    "HELP",
    "PANELS",
    "CommandGroup",
    "QuietFlag",
    "RootGroup",
    "VerboseFlag",
    "Verbosity",
    "add_command",
    "command",
    "group",
    "reset_verbosity",
    "set_verbosity",
    "verbosity",
]

MEASURE, ANALYZE, CATALOGS = "Measure", "Analyze", "Catalogs"
DEPLOY, TRAIN, START, OTHERS = "Deploy", "Train", "Start", "Plug-ins"
# Commands by use: `--help` lists them in this order, under these headings.
PANELS = {
    "rank": MEASURE,
    "run": MEASURE,
    "plan": MEASURE,
    "status": MEASURE,
    "results": MEASURE,
    "store": MEASURE,
    "report": ANALYZE,
    "analyze": ANALYZE,
    "export": DEPLOY,
    "predict": DEPLOY,
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
    bool, typer.Option("--verbose", "-v", help="Print every stage, and the code of an error.")
]
SHARED = {"quiet": QuietFlag, "verbose": VerboseFlag}


class Verbosity(IntEnum):
    """Of progress, notes and stages."""

    QUIET = 0
    NORMAL = 1
    VERBOSE = 2


_current = Verbosity.NORMAL


def verbosity() -> Verbosity:
    """Return how much the current command prints."""
    return _current


def reset_verbosity() -> None:
    """Start a command: progress and notes are printed, stages are not."""
    global _current
    _current = Verbosity.NORMAL


def set_verbosity(*, quiet: bool, verbose: bool) -> None:
    """Set what ``--quiet`` and ``--verbose`` ask for; without either, a group's choice stays.

    Raises
    ------
    CommandError
        Both are given.
    """
    global _current
    if (
        (quiet and verbose)
        or (quiet and _current == Verbosity.VERBOSE)
        or (verbose and _current == Verbosity.QUIET)
    ):
        raise CommandError(
            "--quiet and --verbose exclude each other: pass one of them",
            code="command.conflict",
            option="--quiet",
        )
    if quiet or verbose:
        _current = Verbosity.QUIET if quiet else Verbosity.VERBOSE


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


def command(
    app: typer.Typer, name: str | None = None, *, panel: str | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that makes a function a command with the options that all have."""

    def add(function: Callable[..., None]) -> Callable[..., None]:
        added = app.command(name, cls=Command, context_settings=HELP, rich_help_panel=panel)
        added(_for_typer(function))
        return function

    return add


def add_command(app: typer.Typer, function: Callable[..., None], name: str | None = None) -> None:
    """Make a function a command of `headstart` itself: one of `PANELS`, or a plug-in's."""
    command(app, name, panel=PANELS.get(name or function.__name__, OTHERS))(function)


def group(app: typer.Typer) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that makes a function what a group of commands does without one."""

    def add(function: Callable[..., None]) -> Callable[..., None]:
        app.callback(invoke_without_command=True)(_for_typer(function))
        return function

    return add


def _for_typer(function: Callable[..., None]) -> Callable[..., None]:
    """Write the signature that typer reads.

    A parameter whose type is a dataclass, a group of options, stands for one option per field; the
    options that all commands have come last.
    """
    signature = inspect.signature(function)
    kinds: dict[str, Any] = {name: p.annotation for name, p in signature.parameters.items()}
    groups: dict[str, Any] = {name: kind for name, kind in kinds.items() if is_dataclass(kind)}

    @wraps(function)
    def wrapped(*, quiet: bool = False, verbose: bool = False, **options: Any) -> None:
        set_verbosity(quiet=quiet, verbose=verbose)
        _refuse_infinite(options)
        made = {
            name: kind(**{each.name: options.pop(each.name) for each in fields(kind)})
            for name, kind in groups.items()
        }
        function(**made, **options)

    parameters = list(_parameters(signature))
    wrapped.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {each.name: each.annotation for each in parameters}
    return wrapped


def _refuse_infinite(options: Mapping[str, Any]) -> None:
    """Refuse ``inf`` and ``nan``, which Python reads as numbers."""
    for name, value in options.items():
        if isinstance(value, float) and not math.isfinite(value):
            option = f"--{name.replace('_', '-')}"
            raise CommandError(
                f"invalid {option} '{value}': expected a finite number",
                code="command.not_finite",
                option=option,
                found=value,
            )


def _parameters(signature: inspect.Signature) -> Iterator[inspect.Parameter]:
    keyword = inspect.Parameter.KEYWORD_ONLY
    for parameter in signature.parameters.values():
        if not is_dataclass(parameter.annotation):
            yield parameter.replace(kind=keyword)
            continue
        for each in fields(parameter.annotation):
            default = signature.empty if each.default is MISSING else each.default
            yield inspect.Parameter(each.name, keyword, default=default, annotation=each.type)
    for name, kind in SHARED.items():
        yield inspect.Parameter(name, keyword, default=False, annotation=kind)
