"""Where and how to run, and who watches. Nothing in here may change a number."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from headstart.devices import Device
from headstart.errors import StorageError
from headstart.spec import Measurement, Result, Trial, Value

__all__ = [
    "Message",
    "Sending",
    "Site",
    "TrainingProgress",
    "Watcher",
    "Watchers",
    "Workspace",
    "default_cache",
    "receive",
]


@dataclass(frozen=True)
class TrainingProgress:
    """How far a network of a trial is in its training: small, since it travels between processes.

    Parameters
    ----------
    part
        Whether a candidate is trained, or the choice on train + validation.
    values
        The hyperparameters it is trained with.
    step, steps
        Updates done, of how many.
    loss
        Mean over the updates since the last time.
    learning_rate
        Of the update that came last.
    images_per_second
        None until two updates are done.
    """

    part: Literal["candidate", "refit"]
    values: dict[str, Value]
    step: int
    steps: int
    loss: float
    learning_rate: float
    images_per_second: float | None


# What a watcher far away sends: how far it is, or something that a person should read.
Message = TrainingProgress | str


class Watcher:
    """Told what goes on; this one keeps silent. The command line's draws a live display."""

    def trial_started(self, title: str, number: int, total: int) -> None:
        """Trial `number` (from 1) of `total` begins."""

    def stage(self, name: str, total: int | None = None, unit: str = "") -> None:
        """A part of the trial begins: `total` steps of `unit` if that is known."""

    def advance(self, steps: int = 1) -> None:
        """The current stage has done `steps` more."""

    def search_started(self, trial: Trial, measured: Sequence[Measurement]) -> None:
        """Candidates of the trial are measured from now on; `measured` were before."""

    def trained(self, progress: TrainingProgress) -> None:
        """A network is so far; several may be trained beside each other."""

    def measured(self, measurement: Measurement) -> None:
        """A candidate has been measured on validation."""

    def tested(self, result: Result) -> None:
        """The trial has its result."""

    def trial_finished(self) -> None:
        """The trial that began last is over, with a result or without."""

    def note(self, message: str) -> None:
        """Something that a person should read, in one line."""


class Watchers(Watcher):
    """Several watchers, each told all that goes on."""

    def __init__(self, *watchers: Watcher) -> None:
        self._watchers = watchers

    def trial_started(self, title: str, number: int, total: int) -> None:
        for watcher in self._watchers:
            watcher.trial_started(title, number, total)

    def stage(self, name: str, total: int | None = None, unit: str = "") -> None:
        for watcher in self._watchers:
            watcher.stage(name, total, unit)

    def advance(self, steps: int = 1) -> None:
        for watcher in self._watchers:
            watcher.advance(steps)

    def search_started(self, trial: Trial, measured: Sequence[Measurement]) -> None:
        for watcher in self._watchers:
            watcher.search_started(trial, measured)

    def trained(self, progress: TrainingProgress) -> None:
        for watcher in self._watchers:
            watcher.trained(progress)

    def measured(self, measurement: Measurement) -> None:
        for watcher in self._watchers:
            watcher.measured(measurement)

    def tested(self, result: Result) -> None:
        for watcher in self._watchers:
            watcher.tested(result)

    def trial_finished(self) -> None:
        for watcher in self._watchers:
            watcher.trial_finished()

    def note(self, message: str) -> None:
        for watcher in self._watchers:
            watcher.note(message)


class Sending(Watcher):
    """In a worker process: sends what a watcher elsewhere wants to know of it.

    Stages stay here: those of several workers would take turns on one bar.
    """

    def __init__(self, send: Callable[[Message], None]) -> None:
        self._send = send

    def trained(self, progress: TrainingProgress) -> None:
        self._send(progress)

    def note(self, message: str) -> None:
        self._send(message)


def receive(watcher: Watcher, message: Message) -> None:
    """Report a watcher what one far away has sent."""
    if isinstance(message, str):
        watcher.note(message)
    else:
        watcher.trained(message)


def default_cache() -> Path:
    """Return the folder for features and downloads: $HEADSTART_CACHE, else the XDG cache folder.

    It need not be there yet.

    Raises
    ------
    StorageError
        Something that is no folder has its name, or that of a folder above it.
    """
    given = os.environ.get("HEADSTART_CACHE")
    try:
        usual = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(given).expanduser() if given else Path(usual) / "headstart"
    except RuntimeError as error:
        raise StorageError(
            f"no folder for the cache ({error}): set HEADSTART_CACHE to a folder",
            code="cache.no_home",
        ) from error
    # The first part of it that is there.
    place = next((part for part in (folder, *folder.parents) if os.path.lexists(part)), folder)
    if os.path.lexists(place) and not place.is_dir():
        what = "a broken symlink" if place.is_symlink() else "not a folder"
        raise StorageError(
            f"cache {folder}: {place} is {what}: set HEADSTART_CACHE to a folder",
            code="cache.not_folder",
            path=str(place),
        )
    return folder


@dataclass(frozen=True)
class Site:
    """Where and how to run: what travels to another process or machine.

    Parameters
    ----------
    device
        ``"auto"`` takes the first GPU where there is one.
    cache
        Folder of features and downloads.
    trust
        Whether a file of weights may execute what its author wrote: a pickle of more than tensors.
    """

    device: Device = "auto"
    cache: Path = field(default_factory=default_cache)
    trust: bool = False


@dataclass(frozen=True)
class Workspace(Site):
    """A site, and who is informed of what goes on there.

    Parameters
    ----------
    watcher
        It stays in its process: what travels is the `site`.
    keep
        Folder for the networks that trials end with; nowhere unless given.
    """

    watcher: Watcher = field(default_factory=Watcher)
    keep: Path | None = None

    @property
    def site(self) -> Site:
        """Where and how to run, without who watches."""
        return Site(self.device, self.cache, self.trust)

    @classmethod
    def at(cls, site: Site, watcher: Watcher | None = None) -> "Workspace":
        """Watch a site, in silence unless a watcher is given."""
        return cls(site.device, site.cache, site.trust, watcher or Watcher())
