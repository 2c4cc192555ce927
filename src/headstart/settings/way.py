"""What every way to transfer can do, in the order in which a trial asks for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from headstart.settings.needs import Needs
from headstart.spec import Candidate, Measurement, Selection, Trial
from headstart.workspace import Workspace

if TYPE_CHECKING:
    from headstart.models.network import Network

__all__ = ["Tested", "Way"]


@dataclass(frozen=True)
class Tested:
    """What a network transferred with the choice says of the test images.

    Parameters
    ----------
    places
        (n,) int64 places in the test split; one that is not there holds an image that could not be
        decoded.
    scores
        (n, K) float32 decision values of these images.
    facts
        What made them, as JSON.
    seconds
        The time each part took.
    network
        Gives the network that scored them, with its classifier.
    """

    places: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    facts: dict[str, Any]
    seconds: dict[str, float] = field(default_factory=dict)
    network: "Callable[[], Network] | None" = None


class Way(Protocol):
    """One way to transfer. None of it ever sees a test label.

    `candidates` and `choose` are pure functions of what was measured; `measure` and `test` read
    data and models by themselves, and so may run in another process.
    """

    def needs(self, trial: Trial) -> Needs:
        """Say what a trial needs of this machine before it is begun."""
        ...

    def candidates(self, trial: Trial, measured: Sequence[Measurement]) -> tuple[Candidate, ...]:
        """Say what to measure next, in the light of what was measured; nothing ends the search."""
        ...

    def measure(self, trial: Trial, candidate: Candidate, workspace: Workspace) -> Measurement:
        """Train on train, score on validation."""
        ...

    def choose(self, trial: Trial, measured: Sequence[Measurement]) -> Selection:
        """Choose hyperparameters by what was measured.

        Raises
        ------
        TrainingError
            Every candidate diverged.
        """
        ...

    def test(self, trial: Trial, selection: Selection, workspace: Workspace) -> Tested:
        """Train on train + validation with the choice, and score the test images."""
        ...
