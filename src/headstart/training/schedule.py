"""What changes along a run, as closed forms of the step."""

import math

__all__ = ["batch_norm_momentum", "cosine"]

# Batch norm's running statistics keep at least the share 0.9 of themselves.
MOST_REPLACED = 0.1


def cosine(peak: float, step: int, steps: int) -> float:
    """Learning rate of the update `step`, from 0, of `steps`: half a cosine from `peak` to zero.

    ``peak / 2 (1 + cos(pi step / steps))``; the first update has `peak` itself, and zero would be
    that of the update after the last (Loshchilov & Hutter 2017, without restarts).
    """
    return peak / 2 * (1 + math.cos(math.pi * step / steps))


def batch_norm_momentum(window: float, steps_per_epoch: float) -> float:
    """Share of running statistics that each batch replaces: torch's `momentum` of batch norm.

    They keep ``max(1 - window / steps_per_epoch, 0.9)`` of themselves (Kornblith et al. 2019, with
    a window of 10), so that they average over about ``1 / window`` of an epoch.
    """
    return min(window / steps_per_epoch, MOST_REPLACED)
