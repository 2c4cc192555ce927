"""The protocol of a logging library."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from headstart.spec import Trial

__all__ = ["About", "Log", "Outcome", "Parameter", "Run", "file_name"]

Parameter = str | int | float | bool
Outcome = Literal["complete", "diverged", "failed", "interrupted"]

# Digits of a trial's key in names of folders and groups.
KEY_DIGITS = 8
LONGEST_NAME = 80


@dataclass(frozen=True)
class About:
    """Subject of a run: a trial with its final training, or one of its candidates.

    Parameters
    ----------
    trial
        The trial.
    candidate
        Name of the candidate; None for the trial itself.
    parameters
        Parameters known at the start.
    """

    trial: Trial
    candidate: str | None
    parameters: Mapping[str, Parameter]

    @property
    def group(self) -> str:
        """Name shared by all runs of a trial, usable as a folder; stable across reruns."""
        return f"{file_name(self.trial.title)}-{self.trial.key[:KEY_DIGITS]}"


class Run(Protocol):
    """One run: its curves, and its outcome."""

    def point(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to the curves of these names."""
        ...

    def end(
        self,
        outcome: Outcome,
        metrics: Mapping[str, float],
        parameters: Mapping[str, Parameter],
    ) -> None:
        """Record the outcome; `parameters` include those of the start."""
        ...


class Log(Protocol):
    """Destination of runs."""

    def run(self, about: About) -> Run:
        """Start a run; the run of a trial starts before those of its candidates."""
        ...


def file_name(words: str) -> str:
    """Return a file name for a title; a long one is cut to its end, the distinctive part."""
    return re.sub(r"[^\w.=+-]+", "-", words).strip("-")[-LONGEST_NAME:]
