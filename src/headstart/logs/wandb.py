"""Weights & Biases, offline: a folder a run, that `wandb sync` uploads if a person wants it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Nothing is sent anywhere.
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")

import wandb

from headstart.logs.base import About, Outcome, Parameter

__all__ = ["Wandb", "make"]

PROJECT = "headstart"


class Wandb:
    """``wandb sync FOLDER/wandb/offline-run-*``; runs of a trial are a group."""

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
            # Candidates may be trained beside each other.
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
    """Log into a folder."""
    return Wandb(folder)
