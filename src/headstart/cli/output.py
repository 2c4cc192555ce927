"""Output of commands: console, tables, errors in one line; closed and full outputs."""

import errno
import io
import json
import os
import re
import sys
import traceback
from ast import literal_eval
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn, cast

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from headstart.cli.command_group import Verbosity, reset_verbosity, verbosity
from headstart.cli.options import BAD_INPUT
from headstart.errors import CommandError, HeadstartError, StorageError
from headstart.interrupts import INTERRUPTED, interrupt_is_handled
from headstart.shown_text import harmless, one_line

__all__ = [
    "Screen",
    "console",
    "echo",
    "errors_in_words",
    "one_form",
    "print_json",
    "resumable",
    "run_command",
    "writable_file",
]

# What a shell reports of a program whose reader has gone, 128 + SIGPIPE: `headstart ... | head`.
READER_GONE = 141
PROGRAM = "headstart"
# Columns of an output that is no terminal.
UNLIMITED = 10_000
# Characters of the text of an unexpected error.
LONGEST = 200
# Errors of an output that is full, closed or broken.
OF_OUTPUT = {errno.ENOSPC, errno.EFBIG, errno.EBADF, errno.EIO, getattr(errno, "EDQUOT", None)}
# typer has its own copy of click in newer versions, and imports click in older ones.
USAGE_ERROR = cast(
    type[Exception],
    next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"),
)


def echo(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print text that may hold names of strangers, on standard output or the error stream."""
    typer.echo(harmless(text), err=err, nl=nl)


def print_json(value: Any, *, ascii_only: bool = True) -> None:
    """Print a value as JSON."""
    echo(json.dumps(value, indent=1, ensure_ascii=ascii_only))


class Screen(Console):
    """A console for text that may hold names of strangers.

    It leaves a closed pipe to `errors_in_words`, as all other output does.
    """

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """Yield what is drawn; only what draws it may move the cursor."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=harmless(segment.text))

    def on_broken_pipe(self) -> None:
        """Raise the error that rich would turn into exit code 1."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


# Rich takes 80 columns where there is no terminal: a table in a file or a pipe has to be whole.
_is_terminal = sys.stdout is not None and sys.stdout.isatty()
console = Screen(width=None if _is_terminal else UNLIMITED, markup=False, highlight=False)


def one_form(*, csv: bool, json: bool) -> None:
    """Raise CommandError if both forms of output are asked for."""
    if csv and json:
        raise CommandError(
            "--csv and --json exclude each other: pass one of them",
            code="command.conflict",
            option="--csv",
        )


def writable_file(file: Path) -> Path:
    """Prove that a file of this name can be written; make the folder that it goes to.

    Raises
    ------
    NotWritableError, DiskFullError, StorageError
    """
    from headstart.files import refuse_folder, writable_folder

    refuse_folder(file)
    writable_folder(file.absolute().parent, file)
    return file


class ClosedOutput(io.TextIOWrapper):
    """Stands for a standard output that was closed (``>&-``), and remembers whether text is lost.

    The descriptor is taken, so that no file that is opened later is written to by mistake.
    """

    lost = False

    def write(self, text: str) -> int:
        """Lose the text."""
        self.lost = self.lost or bool(text)
        return super().write(text)


@contextmanager
def errors_in_words() -> Iterator[None]:
    r"""Make bad input, and an output that cannot be written, one line and exit code 2.

    The exit of a failed command has the error as its cause. Letters that an output's encoding lacks
    are written as ``\xb1``. A reader that has gone (``| head``) ends the command quietly, Ctrl-C
    with one line.
    """
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        # Tests and notebooks put other objects there.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            yield
        except SystemExit as exit_:
            if not exit_.code:
                _finish_output()
            raise
        _finish_output()
    except HeadstartError as error:
        _fail(error)
    except KeyboardInterrupt:
        _say("interrupted")
        interrupt_is_handled()
        raise SystemExit(INTERRUPTED) from None
    except OSError as error:
        if error.errno == errno.EPIPE and error.filename is None:
            _discard_output()
            raise SystemExit(READER_GONE) from None
        if error.filename is None and error.errno in OF_OUTPUT:
            _fail(_output_error(error.strerror))
        # An error of a file that nothing below has words for.
        name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else "a file"
        _fail(
            StorageError(
                f"cannot use {name}: {error.strerror or error}", code="storage.system", path=name
            )
        )


def run_command(app: typer.Typer) -> None:
    """Run a command of an app in `errors_in_words`; wrong usage is bad input like any other."""
    reset_verbosity()
    with errors_in_words():
        _refuse_missing_docstrings(sys.flags.optimize)
        _refuse_empty(sys.argv[1:])
        try:
            code = app(prog_name=PROGRAM, standalone_mode=False)
        except USAGE_ERROR as error:
            if type(error).__name__ == "NoArgsIsHelpError":
                typer.echo(str(error), err=True)
                raise SystemExit(BAD_INPUT) from error
            raise _usage_error(error) from error
        except SystemExit as exit_:
            # typer makes a closed pipe an exit of its own, as it does Ctrl-C.
            if isinstance(exit_.__context__, BrokenPipeError):
                raise exit_.__context__ from None
            raise
        # A fault of headstart itself, which no user should meet as a traceback.
        except Exception as error:
            if isinstance(error, HeadstartError | OSError):
                raise
            if verbosity() == Verbosity.VERBOSE:
                _say(_without_credentials(traceback.format_exc()))
            place, kind = traceback.extract_tb(error.__traceback__)[-1], type(error).__name__
            raise HeadstartError(
                f"unexpected {kind} at {place.filename}:{place.lineno}: {str(error)[:LONGEST]}: "
                "please report it, with the output of the same command and --verbose",
                code="program.unexpected",
                kind=kind,
            ) from error
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        if code:
            raise SystemExit(code)


def _refuse_missing_docstrings(level: int) -> None:
    if level > 1:
        raise CommandError(
            "Python runs without docstrings (-OO or PYTHONOPTIMIZE=2), which help and figures "
            "need: use -O or PYTHONOPTIMIZE=1",
            code="command.docstrings",
            level=level,
        )


@contextmanager
def resumable(message: str) -> Iterator[None]:
    """Let Ctrl-C end a command with one line that says what is kept and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        _say(f"interrupted: {message}")
        interrupt_is_handled()
        raise SystemExit(INTERRUPTED) from None


def _refuse_empty(arguments: Sequence[str]) -> None:
    """Refuse a value without a letter: a shell makes it of a variable that is not set."""
    for before, argument in zip(["", *arguments], arguments, strict=False):
        name, equals, value = argument.partition("=")
        is_option = name.startswith("--") and bool(equals)
        if (value if is_option else argument).strip():
            continue
        name = name if is_option else before if before.startswith("-") else "an argument"
        raise CommandError(
            f"the value of {name} is empty: pass a value (is a shell variable unset?)",
            code="command.value_empty",
            name=name,
        )


# The name is as Python writes a string: it may hold quotation marks.
UNKNOWN_COMMAND = re.compile(r"""No such command ('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""")


def _usage_error(error: Any) -> CommandError:
    """Put what typer says of a command line into our form."""
    parameter: Any = getattr(error, "param", None)
    context: Any = getattr(error, "ctx", None)
    help_ = f"see `{context.command_path if context else PROGRAM} --help`"
    if (option := getattr(error, "option_name", None)) is not None:
        if type(error).__name__ != "NoSuchOption":
            if "not take a value" in error.format_message():
                return CommandError(
                    f"option {option} takes no value: pass {option} alone",
                    code="command.value_unexpected",
                    name=option,
                )
            return CommandError(
                f"option {option} needs a value: {help_}", code="command.value_missing", name=option
            )
        names = [name for one in context.command.params for name in one.opts] if context else []
        known = [name for name in names if name.startswith("-")]
        return CommandError(
            f"unknown option '{option}': {_hint(option, known, help_)}",
            code="command.option_unknown",
            name=option,
            near=_near(option, known),
        )
    if parameter is not None:
        is_option = parameter.param_type_name == "option"
        # An argument as its help calls it.
        name = parameter.opts[0] if is_option else parameter.metavar or parameter.name
        if type(error).__name__ == "MissingParameter":
            return CommandError(
                f"{parameter.param_type_name} {name} is missing; {help_}",
                code="command.missing",
                name=name,
            )
        return _bad_value(name, error)
    message = error.format_message()
    if unknown := UNKNOWN_COMMAND.match(message):
        name, known = literal_eval(unknown[1]), list(context.command.commands)
        return CommandError(
            f"unknown command '{name}': {_hint(name, known, help_)}",
            code="command.command_unknown",
            name=name,
            near=_near(name, known),
        )
    return CommandError(f"{message.rstrip('.')}; {help_}", code="command.usage")


def _near(name: str, known: Sequence[str]) -> list[str]:
    return get_close_matches(name, known, n=2, cutoff=0.6)


def _hint(name: str, known: Sequence[str], help_: str) -> str:
    near = _near(name, known)
    return f"did you mean {' or '.join(near)}?" if near else help_


def _bad_value(name: str, error: Any) -> CommandError:
    """Name the value and what was expected, where typer's parser says them."""
    cause = error.__cause__ or error.__context__
    if not hasattr(cause, "errors"):
        return CommandError(
            f"invalid {name}: {' '.join(error.message.split())}", code="command.value", name=name
        )
    # Imported here: the help of a command needs no pydantic.
    from headstart.spec.noun import first_invalid

    found = first_invalid(cause)
    expected = found.expected
    if "is not one of" in expected:
        expected = "one of" + expected.partition("is not one of")[2].rstrip(".").replace("'", "")
    return CommandError(
        f"invalid {name} {found.shown}: expected {expected}",
        code="command.value",
        name=name,
        value=found.shown,
        expected=expected,
    )


def _open_closed_streams() -> None:
    """Open the null device in place of standard streams that were closed: Python has None there."""
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is not None:
            continue
        null = os.open(os.devnull, os.O_RDWR)
        if null != descriptor:
            os.dup2(null, descriptor)
            os.close(null)
        opened = os.fdopen(descriptor, f"{mode}b", closefd=False)
        kind = ClosedOutput if name == "stdout" else io.TextIOWrapper
        setattr(sys, name, kind(opened, encoding="utf-8", errors="backslashreplace"))


def _finish_output() -> None:
    """Write what is buffered, while its errors can still be reported."""
    sys.stdout.flush()
    if isinstance(sys.stdout, ClosedOutput) and sys.stdout.lost:
        raise _output_error("it is closed")


def _output_error(why: str | None) -> StorageError:
    return StorageError(
        f"cannot write to the standard output ({why}): check where it is sent to",
        code="output.not_writable",
        why=why,
    )


def _discard_output() -> None:
    """Let what is buffered go nowhere: it would fail once more when the interpreter ends."""
    for name in ("stdout", "stderr"):
        # typer may have put something of its own there.
        stream = getattr(sys, f"__{name}__") or getattr(sys, name)
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _without_credentials(text: str) -> str:
    # Imported here: most commands end well.
    from headstart.shown_text import without_credentials

    return without_credentials(text)


def _say(message: str) -> None:
    """Print a line on the error stream, if anybody reads it."""
    with suppress(OSError):
        typer.echo(message, err=True)


def _fail(error: HeadstartError) -> NoReturn:
    # Before the line, so that it comes last; an output that is full loses what it cannot take.
    _discard_output()
    line = f"error: {one_line(_without_credentials(' '.join(str(error).split())))}"
    _say(f"{line} [{error.code}]" if verbosity() == Verbosity.VERBOSE else line)
    raise SystemExit(BAD_INPUT) from error
