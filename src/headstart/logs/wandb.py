"""Weights & Biases, offline: one folder per run; `wandb sync` can upload it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Must be set before the import: no error reports over the network.
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")

import wandb

from headstart.logs.base import About, Outcome, Parameter

__all__ = ["Wandb", "make"]

PROJECT = "headstart"


class Wandb:
    """``wandb sync FOLDER/wandb/offline-run-*``; the runs of a trial form a group."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def run(self, about: About) -> "WandbRun":
        run = wandb.init(
            project=PROJECT,
            dir=str(self._folder),
            mode="offline",
            group=about.group,
            job_type="candidate" if about.candidate else "trial",
            name=about.candidate or about.trial.title,
            config=dict(about.parameters),
            # Several candidates may be trained at the same time.
            reinit="create_new",
            settings=wandb.Settings(
                silent=True, console="off", disable_git=True, disable_code=True
            ),
        )
        return WandbRun(run)


class WandbRun:
    """One run."""

    def __init__(self, run: Any) -> None:
        self._run = run

    def point(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def end(
        self,
        outcome: Outcome,
        metrics: Mapping[str, float],
        parameters: Mapping[str, Parameter],
    ) -> None:
        self._run.config.update(dict(parameters), allow_val_change=True)
        self._run.summary.update({**metrics, "outcome": outcome})
        self._run.finish(exit_code=0 if outcome in ("complete", "diverged") else 1)


def make(folder: Path) -> Wandb:
    """Return a log in a folder."""
    return Wandb(folder)
