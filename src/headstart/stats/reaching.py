"""How many steps it takes to reach a share of the largest odds."""

import numpy as np
import numpy.typing as npt

__all__ = ["steps_to_share"]

Floats = npt.NDArray[np.float64]


def steps_to_share(steps: npt.ArrayLike, mean: npt.ArrayLike, share: float = 0.9) -> Floats:
    """Steps after which the odds first are `share` of the largest odds.

    Between two numbers of steps the log odds are taken as linear in the logarithm of the steps.

    Parameters
    ----------
    steps
        (n,), ascending, > 0.
    mean
        (..., n), log odds; the odds are their exponential.
    share
        In (0, 1].

    Returns
    -------
    numpy.ndarray
        (...) float64; the first of `steps` where its odds are large enough already.

    Examples
    --------
    >>> round(float(steps_to_share([100, 10_000], [0.0, -2 * np.log(0.9)], share=0.9)))
    1000
    """
    log_steps, odds = np.log(np.asarray(steps, dtype=float)), np.asarray(mean, dtype=float)
    target = odds.max(axis=-1, keepdims=True) + np.log(share)
    after = np.argmax(odds >= target, axis=-1, keepdims=True)
    before = np.maximum(after - 1, 0)
    low, high = (np.take_along_axis(odds, place, axis=-1) for place in (before, after))
    # Where the first is large enough both are the same, and so is what lies between.
    rise = np.where(after == before, 1.0, high - low)
    part = np.where(after == before, 0.0, (target - low) / rise)
    between = log_steps[before] + part * (log_steps[after] - log_steps[before])
    # Exactly the first number, not its logarithm and back.
    first = np.asarray(steps, dtype=float)[0]
    return np.asarray(np.where(after == 0, first, np.exp(between))[..., 0])
