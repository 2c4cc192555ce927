"""Schedules, as closed forms of the step."""

import math

__all__ = ["batch_norm_momentum", "cosine"]

# Largest momentum of batch norm: running statistics keep at least 0.9 of their value per step.
MOST_REPLACED = 0.1


def cosine(peak: float, step: int, steps: int) -> float:
    """Return the learning rate of update `step` (from 0) of `steps`: half a cosine.

    ``peak / 2 (1 + cos(pi step / steps))``: the first update has `peak`, and the one after the last
    would have zero (Loshchilov & Hutter 2017, without restarts).
    """
    return peak / 2 * (1 + math.cos(math.pi * step / steps))


def batch_norm_momentum(window: float, steps_per_epoch: float) -> float:
    """Return batch norm's `momentum` in torch's convention: the fraction that a batch replaces.

    Running statistics keep ``max(1 - window / steps_per_epoch, 0.9)`` of their value (Kornblith et
    al. 2019, with a window of 10), so they average over about ``1 / window`` of an epoch.
    """
    return min(window / steps_per_epoch, MOST_REPLACED)
