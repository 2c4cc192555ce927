"""The protocol of a logging library, and logs by name."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Protocol

from headstart.errors import LogError, UnknownNameError
from headstart.files import writable_folder
from headstart.spec import Trial

__all__ = ["NAMES", "About", "Log", "Outcome", "Parameter", "Run", "file_name", "open_log"]

Parameter = str | int | float | bool
Outcome = Literal["complete", "diverged", "failed", "interrupted"]

# Digits of a trial's key in names of folders and groups.
KEY_DIGITS = 8
LONGEST_NAME, LONGEST_BYTES = 80, 200
# Packages that each log needs. Its extra and its module here have the name of the log.
PACKAGES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"tensorboard": ("tensorboard",), "mlflow": ("mlflow", "alembic"), "wandb": ("wandb",)}
)
NAMES = tuple(PACKAGES)


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
    name = re.sub(r"[^\w.=+-]+", "-", words).strip("-")[-LONGEST_NAME:]
    # Names of files are bounded in bytes, of which a letter may have four.
    return name.encode(errors="ignore")[-LONGEST_BYTES:].decode(errors="ignore")


def open_log(name: str, folder: Path) -> Log:
    """Open a log in a folder; nothing is sent over the network.

    Raises
    ------
    UnknownNameError
        `name` is not one of `NAMES`.
    LogError
        Packages are missing.
    StorageError
        The folder is not writable.
    """
    if name not in PACKAGES:
        raise UnknownNameError("log", name, NAMES)
    if missing := [package for package in PACKAGES[name] if find_spec(package) is None]:
        raise LogError(
            f"--log {name} needs {' and '.join(missing)}, not installed here: "
            f"pip install 'headstart[{name}]'",
            code="log.not_installed",
            name=name,
            missing=missing,
        )
    make: Callable[[Path], Log] = import_module(f"headstart.logs.{name}").make
    return make(writable_folder(folder))
