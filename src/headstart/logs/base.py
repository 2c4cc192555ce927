"""What one logging library has to do: one small protocol for all."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from headstart.spec import Trial

__all__ = ["About", "Log", "Outcome", "Parameter", "Run", "file_name"]

Parameter = str | int | float | bool
Outcome = Literal["complete", "diverged", "failed", "interrupted"]

# Of a trial's key, in names of folders and groups.
KEY_DIGITS = 8
LONGEST_NAME = 80


@dataclass(frozen=True)
class About:
    """What a run is of: a trial with its final training, or one of its candidates.

    Parameters
    ----------
    trial
        Its own, or the candidate's.
    candidate
        Name of the candidate; None of the trial itself.
    parameters
        What is known when it begins.
    """

    trial: Trial
    candidate: str | None
    parameters: Mapping[str, Parameter]

    @property
    def group(self) -> str:
        """What the runs of a trial share: a name for folders, the same whenever it is run."""
        return f"{file_name(self.trial.title)}-{self.trial.key[:KEY_DIGITS]}"


class Run(Protocol):
    """A curve, and what came of it."""

    def point(self, step: int, values: Mapping[str, float]) -> None:
        """Add to the curves of these names."""
        ...

    def end(
        self,
        outcome: Outcome,
        metrics: Mapping[str, float],
        parameters: Mapping[str, Parameter],
    ) -> None:
        """Say what came of it; `parameters` are what was known in the beginning, and since."""
        ...


class Log(Protocol):
    """Where runs are written."""

    def run(self, about: About) -> Run:
        """Begin a run, that of the trial before those of its candidates."""
        ...


def file_name(words: str) -> str:
    """Make a name for a file of a title; of a long one the end, which tells it from others."""
    return re.sub(r"[^\w.=+-]+", "-", words).strip("-")[-LONGEST_NAME:]
