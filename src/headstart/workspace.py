"""Where and how to run, and who watches. Nothing in here may change a number."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

__all__ = ["Device", "Site", "Watcher", "Workspace", "default_cache"]

Device = Literal["auto", "cpu", "cuda"]


class Watcher:
    """Told what goes on; this one keeps silent. The command line's draws a live display."""

    def trial_started(self, title: str, number: int, total: int) -> None:
        """Trial `number` (from 1) of `total` begins."""

    def stage(self, name: str, total: int | None = None, unit: str = "") -> None:
        """A part of the trial begins: `total` steps of `unit` if that is known."""

    def advance(self, steps: int = 1) -> None:
        """The current stage has done `steps` more."""

    def trial_finished(self) -> None:
        """The trial that began last is over."""

    def note(self, message: str) -> None:
        """Something that a person should read, in one line."""


def default_cache() -> Path:
    """Give the folder for features and downloads: $HEADSTART_CACHE, else the XDG cache folder."""
    if folder := os.environ.get("HEADSTART_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "headstart"


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
    """A site, and who is told what goes on there.

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
