"""Logs of training curves by TensorBoard, MLflow and Weights & Biases, all written offline.

Their libraries are imported when a log is opened.
"""

import logging
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

from headstart.errors import LogError, UnknownNameError
from headstart.files import writable_folder
from headstart.spec import Trial

__all__ = ["NAMES", "About", "Log", "Outcome", "Parameter", "Run", "file_name", "open_log"]

Parameter = str | int | float | bool
Outcome = Literal["complete", "diverged", "failed", "interrupted"]

# Digits of a trial's key in names of folders and groups.
KEY_DIGITS = 8
LONGEST_NAME, LONGEST_BYTES = 80, 200
# Packages that each log needs; its extra has the name of the log.
PACKAGES: Mapping[str, tuple[str, ...]] = {
    "tensorboard": ("tensorboard",),
    "mlflow": ("mlflow", "alembic"),
    "wandb": ("wandb",),
}
NAMES = tuple(PACKAGES)
# Name of the experiment or project.
PROJECT = "headstart"
# Seconds between TensorBoard's writes; points per write of MLflow, where each is a transaction.
FLUSH_SECONDS, TOGETHER = 10, 20
MLFLOW_DATABASE = "mlflow.db"
# Tag that identifies an interrupted run, to resume it.
WHICH, OUTCOME = "headstart.run", "headstart.outcome"
MLFLOW_STATUS: Mapping[Outcome, str] = {
    "complete": "FINISHED",
    "diverged": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
}


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
    return LOGS[name](writable_folder(folder))


def file_name(words: str) -> str:
    """Return a file name for a title; a long one is cut to its end, the distinctive part."""
    name = re.sub(r"[^\w.=+-]+", "-", words).strip("-")[-LONGEST_NAME:]
    # Names of files are bounded in bytes, of which a letter may have four.
    return name.encode(errors="ignore")[-LONGEST_BYTES:].decode(errors="ignore")


class TensorBoard:
    """``FOLDER/TRIAL`` and ``FOLDER/TRIAL/CANDIDATE``: ``tensorboard --logdir FOLDER``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def run(self, about: About) -> "TensorBoardRun":
        place = self._folder / about.group
        return TensorBoardRun(place / file_name(about.candidate) if about.candidate else place)


class TensorBoardRun:
    """A run: one folder of events, with its hyperparameters."""

    def __init__(self, place: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(place), flush_secs=FLUSH_SECONDS)
        self._step = 0

    def point(self, step: int, values: Mapping[str, float]) -> None:
        self._step = step
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def end(
        self,
        outcome: Outcome,
        metrics: Mapping[str, float],
        parameters: Mapping[str, Parameter],
    ) -> None:
        # run_name=".": by default TensorBoard creates another run for hyperparameters.
        self._writer.add_hparams(
            {**parameters, "outcome": outcome},
            dict(metrics),
            run_name=".",
            global_step=self._step,
        )
        self._writer.close()


class Mlflow:
    """A database, with one run per trial and nested runs per candidate.

    ``mlflow ui --backend-store-uri sqlite:///FOLDER/mlflow.db``.
    """

    def __init__(self, folder: Path) -> None:
        # No telemetry: read by the import.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        # They log every table that they create.
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        folder = folder.absolute()
        self._client = MlflowClient(tracking_uri=f"sqlite:///{folder / MLFLOW_DATABASE}")
        found = self._client.get_experiment_by_name(PROJECT)
        self._experiment = (
            found.experiment_id
            if found
            else self._client.create_experiment(PROJECT, (folder / "artifacts").as_uri())
        )
        self._parents: dict[str, str] = {}

    def run(self, about: About) -> "MlflowRun":
        key = about.trial.key
        tags = {WHICH: f"{key}/{about.candidate or ''}"}
        if about.candidate:
            tags["mlflow.parentRunId"] = self._parents[key]
        run = self._again(tags[WHICH])
        if run is None:
            name = about.candidate or about.trial.title
            run = self._client.create_run(self._experiment, tags=tags, run_name=name).info.run_id
        if not about.candidate:
            self._parents[key] = run
        return MlflowRun(self._client, run, about.parameters)

    def _again(self, which: str) -> str | None:
        """Return the run that an earlier process started, if any."""
        query = f"tags.`{WHICH}` = '{which}'"
        found = self._client.search_runs([self._experiment], query, max_results=1)
        if not found:
            return None
        run: str = found[0].info.run_id
        self._client.update_run(run, status="RUNNING")
        return run


class MlflowRun:
    """One run."""

    def __init__(self, client: Any, run: str, parameters: Mapping[str, Parameter]) -> None:
        self._client, self._run, self._step = client, run, 0
        self._points: list[Any] = []
        self._log_parameters(parameters)

    def point(self, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        self._step, now = step, int(1000 * time.time())
        self._points += [Metric(name, value, now, step) for name, value in values.items()]
        if len(self._points) >= TOGETHER * len(values):
            self._flush()

    def end(
        self,
        outcome: Outcome,
        metrics: Mapping[str, float],
        parameters: Mapping[str, Parameter],
    ) -> None:
        self.point(self._step, metrics)
        self._flush()
        self._log_parameters(parameters)
        self._client.set_tag(self._run, OUTCOME, outcome)
        self._client.set_terminated(self._run, MLFLOW_STATUS[outcome])

    def _flush(self) -> None:
        if self._points:
            self._client.log_batch(self._run, metrics=self._points)
            self._points = []

    def _log_parameters(self, parameters: Mapping[str, Parameter]) -> None:
        from mlflow.entities import Param

        params = [Param(name, str(value)) for name, value in parameters.items()]
        self._client.log_batch(self._run, params=params)


class Wandb:
    """One folder per run; the runs of a trial form a group.

    ``wandb sync FOLDER/wandb/offline-run-*`` uploads them.
    """

    def __init__(self, folder: Path) -> None:
        # No error reports over the network: read by the import.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        self._folder = folder

    def run(self, about: About) -> "WandbRun":
        import wandb

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


LOGS: dict[str, type[TensorBoard | Mlflow | Wandb]] = {
    "tensorboard": TensorBoard,
    "mlflow": Mlflow,
    "wandb": Wandb,
}
