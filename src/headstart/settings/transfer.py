"""What every way to transfer can do, in the order in which a trial asks for it."""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from headstart.datasets import Splits
from headstart.settings.linear import prepare_linear
from headstart.spec import Selection, Trial
from headstart.workspace import Workspace

__all__ = ["Transfer", "prepare"]


class Transfer(Protocol):
    """A model about to be transferred to a dataset. It never sees a test label."""

    def select(self) -> Selection:
        """Choose hyperparameters on validation."""
        ...

    def refit(self, selection: Selection) -> None:
        """Train on train + validation with the choice."""
        ...

    def test_scores(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Give (places, scores): (n,) places in the test split and their (n, K) decision values.

        A place that is not there holds an image that could not be decoded.
        """
        ...

    def provenance(self) -> dict[str, Any]:
        """Say what made the number, as JSON."""
        ...


def prepare(trial: Trial, splits: Splits, workspace: Workspace) -> Transfer:
    """Make ready what the trial's setting needs: features, or a network to train."""
    return prepare_linear(trial, splits, workspace)
