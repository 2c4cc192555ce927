"""What every way to transfer can do, in the order in which a trial asks for it."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from headstart.datasets import Splits
from headstart.settings.linear import linear_needs, prepare_linear
from headstart.settings.needs import Needs
from headstart.spec import Selection, Trial
from headstart.workspace import Workspace

__all__ = ["Transfer", "needs", "prepare"]


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


class Way(NamedTuple):
    """What a setting's name stands for."""

    prepare: Callable[[Trial, Splits, Workspace], Transfer]
    needs: Callable[[Trial], Needs]


WAYS: Mapping[str, Way] = MappingProxyType({"linear": Way(prepare_linear, linear_needs)})


def prepare(trial: Trial, splits: Splits, workspace: Workspace) -> Transfer:
    """Make ready what the trial's setting needs: features, or a network to train."""
    return WAYS[trial.setting.name].prepare(trial, splits, workspace)


def needs(trial: Trial) -> Needs:
    """Say what a trial needs of this machine before it is begun."""
    return WAYS[trial.setting.name].needs(trial)
