"""TensorBoard: one folder of events per run, with hyperparameters."""

from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from headstart.logs.base import About, Outcome, Parameter, file_name

__all__ = ["TensorBoard", "make"]

# Interval between writes to the file.
FLUSH_SECONDS = 10


class TensorBoard:
    """``FOLDER/TRIAL`` and ``FOLDER/TRIAL/CANDIDATE``: ``tensorboard --logdir FOLDER``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def run(self, about: About) -> "TensorBoardRun":
        place = self._folder / about.group
        return TensorBoardRun(place / file_name(about.candidate) if about.candidate else place)


class TensorBoardRun:
    """A run: one folder of events."""

    def __init__(self, place: Path) -> None:
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


def make(folder: Path) -> TensorBoard:
    """Return a log in a folder."""
    return TensorBoard(folder)
