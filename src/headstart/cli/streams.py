"""What a command says: errors in one line, on outputs that have other letters or no room too."""

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from headstart.cli.options import BAD_INPUT
from headstart.errors import HeadstartError

__all__ = ["errors_in_words"]

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def errors_in_words() -> Iterator[None]:
    r"""Make bad input, and an output that is full, one line on the error stream and exit code 2.

    Letters that an output's encoding lacks are written as ``\xb1``.
    """
    for stream in (sys.stdout, sys.stderr):
        # Tests and notebooks put other objects there.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
    except HeadstartError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(BAD_INPUT)
    except OSError as error:
        # Files are written where their errors are put in words: this one is of the output.
        if error.filename is not None or error.errno not in FULL:
            raise
        # What is buffered would fail once more when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        why = f"cannot write what the command says ({error.strerror}): check where it is sent to"
        typer.echo(f"error: {why}", err=True)
        sys.exit(BAD_INPUT)
