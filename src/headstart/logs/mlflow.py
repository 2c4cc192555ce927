"""MLflow: a database in a folder, with one run per trial and nested runs per candidate."""

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Must be set before the import: no telemetry.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from headstart.logs.base import About, Outcome, Parameter

__all__ = ["EXPERIMENT", "Mlflow", "make"]

EXPERIMENT, DATABASE = "headstart", "mlflow.db"
# Tag that identifies an interrupted run, to resume it.
WHICH, OUTCOME = "headstart.run", "headstart.outcome"
STATUS: Mapping[Outcome, str] = {
    "complete": "FINISHED",
    "diverged": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
}
# Points per write: each write is a transaction.
TOGETHER = 20


class Mlflow:
    """``mlflow ui --backend-store-uri sqlite:///FOLDER/mlflow.db``."""

    def __init__(self, folder: Path) -> None:
        # They log every table that they create.
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        folder = folder.absolute()
        self._client = MlflowClient(tracking_uri=f"sqlite:///{folder / DATABASE}")
        found = self._client.get_experiment_by_name(EXPERIMENT)
        if found is None:
            artifacts = (folder / "artifacts").as_uri()
            self._experiment = self._client.create_experiment(EXPERIMENT, artifacts)
        else:
            self._experiment = found.experiment_id
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
        self._client.set_terminated(self._run, STATUS[outcome])

    def _flush(self) -> None:
        if self._points:
            self._client.log_batch(self._run, metrics=self._points)
            self._points = []

    def _log_parameters(self, parameters: Mapping[str, Parameter]) -> None:
        params = [Param(name, str(value)) for name, value in parameters.items()]
        self._client.log_batch(self._run, params=params)


def make(folder: Path) -> Mlflow:
    """Return a log in a folder."""
    return Mlflow(folder)
