"""What a run says of itself: how far it is, and what came of it."""

from dataclasses import dataclass

__all__ = ["Progress", "Trained"]


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Parameters
    ----------
    step, steps
        Updates done, of how many.
    loss
        Mean over the updates since the last time.
    images_per_second
        Since this process began the run, without its first step, which prepares much; None then.
    """

    step: int
    steps: int
    loss: float
    images_per_second: float | None


@dataclass(frozen=True)
class Trained:
    """What came of a run, besides the network.

    Parameters
    ----------
    steps
        Updates with a finite loss, those before an interruption counted.
    losses, window
        Mean loss of each `window` updates in turn, at most 200 of them; the last may be of fewer.
    seconds
        Of this process.
    images_per_second
        Of this process, without its first step; None if it made fewer than two.
    diverged_at
        The update, from 0, whose loss was not finite: the run ended, and the network is of no use.
    resumed_at
        Updates that an earlier process had made, if there was one.
    notes
        What a person should know.
    """

    steps: int
    losses: tuple[float, ...]
    window: int
    seconds: float
    images_per_second: float | None
    diverged_at: int | None = None
    resumed_at: int | None = None
    notes: tuple[str, ...] = ()
