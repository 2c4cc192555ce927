"""How much a command prints besides its results. Imports nothing that is slow."""

from enum import IntEnum

from headstart.errors import CommandError

__all__ = ["Verbosity", "reset_verbosity", "set_verbosity", "verbosity"]


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
            "--quiet and --verbose contradict each other: pass one of them",
            code="command.conflict",
            option="--quiet",
        )
    if quiet or verbose:
        _current = Verbosity.QUIET if quiet else Verbosity.VERBOSE
