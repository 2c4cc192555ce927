"""Progress and outcome of a training run."""

from dataclasses import dataclass

__all__ = ["Progress", "Trained"]


@dataclass(frozen=True)
class Progress:
    """Progress of a training run.

    Parameters
    ----------
    step, steps
        Updates done, and in total.
    loss
        Mean loss since the last report.
    images_per_second
        Rate in this process, without its first step (setup); None until the second step.
    """

    step: int
    steps: int
    loss: float
    images_per_second: float | None


@dataclass(frozen=True)
class Trained:
    """Outcome of a training run, besides the network.

    Parameters
    ----------
    steps
        Updates with a finite loss, including those before an interruption.
    losses, window
        Mean loss of each `window` updates, at most 200 values; the last may average fewer.
    seconds
        Time in this process.
    images_per_second
        Rate in this process, without its first step; None with fewer than two steps.
    diverged_at
        The first update (from 0) with a loss that is not finite. The run ended there, and the
        network is unusable.
    resumed_at
        Step of the checkpoint that the run resumed from, if any.
    notes
        Messages for the user.
    """

    steps: int
    losses: tuple[float, ...]
    window: int
    seconds: float
    images_per_second: float | None
    diverged_at: int | None = None
    resumed_at: int | None = None
    notes: tuple[str, ...] = ()
