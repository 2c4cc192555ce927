"""One trial, read top to bottom: prepare, select on validation, test once."""

import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

from headstart import datasets, metrics, settings
from headstart.labels import kind_of
from headstart.spec import Prediction, Result, Trial
from headstart.workspace import Workspace

__all__ = ["run_trial"]

PACKAGES = ("headstart", "numpy", "scipy", "torch", "timm", "pillow")


def run_trial(trial: Trial, workspace: Workspace) -> Result:
    """Measure one cell of the table.

    Raises
    ------
    HeadstartError
        Whatever makes the trial impossible; nothing is stored then.
    """
    clock = Clock()
    with clock("prepare"):
        workspace.watcher.stage("reading the dataset")
        splits = datasets.load(trial.dataset, trial.seed, workspace.cache)
        transfer = settings.prepare(trial, splits, workspace)
    with clock("select"):
        selection = transfer.select()
    with clock("refit"):
        transfer.refit(selection)
    places, scores = transfer.test_scores()

    # The door opens once, and wants the choice that was made without looking.
    labels = splits.test.open(selection)[places]
    predictions = Prediction(example=splits.test.rows[places], label=labels, scores=scores)
    return Result(
        trial=trial,
        metrics={
            name: metrics.score(name, labels, scores)
            for name in kind_of(trial.dataset.metric).metrics
        },
        n_test=len(labels),
        selection=selection,
        predictions=predictions,
        provenance={**provenance(), "examples": splits.revision, **transfer.provenance()},
        seconds=clock.seconds,
    )


def provenance() -> dict[str, Any]:
    """Say which software on which machine makes a number."""
    return {
        "versions": {name: version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


class Clock:
    """Seconds spent in each named part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Time the block."""
        start = time.perf_counter()
        yield
        self.seconds[part] = round(time.perf_counter() - start, 3)
