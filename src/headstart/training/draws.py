"""Stateless randomness: every draw is a function of a seed and a purpose.

Random words come from Philox, a counter-based generator. Its key is a hash of seed and purpose.
Only raw words are used: NumPy guarantees their stream, but not that of `Generator`. A seed
therefore gives the same order and crops on every machine and with every NumPy release, and a run
that resumes at step k needs nothing but k.
"""

import hashlib
import json
from functools import lru_cache

import numpy as np
import numpy.typing as npt

__all__ = ["derived_seed", "permutation", "rows_of_step", "uniforms"]

Rows = npt.NDArray[np.int64]


def derived_seed(seed: int, *what: int | str) -> int:
    """Return a seed in [0, 2**63) for a purpose, named by words and numbers."""
    return int.from_bytes(_hash(seed, *what)[:8], "little") >> 1


@lru_cache(maxsize=4)
def permutation(seed: int, epoch: int, n: int) -> Rows:
    """Return the order of `n` images in an epoch (from 0): (n,) int64, read-only.

    The last few are cached: every step of an epoch uses the same one.
    """
    # Two of n words are equal with probability n**2 / 2**65; a stable sort is deterministic even
    # then.
    order = np.argsort(_words(n, seed, "order", epoch), kind="stable").astype(np.int64)
    order.setflags(write=False)
    return order


def rows_of_step(seed: int, step: int, batch_size: int, n: int) -> Rows:
    """Return the image indices of a step (from 0): (batch_size,) int64 in [0, n).

    The permutations of all epochs are concatenated and cut into batches. A batch may span two
    epochs, or more if it is larger than the data. Every epoch sees every image once.
    """
    first, last = step * batch_size, (step + 1) * batch_size
    epochs = range(first // n, (last - 1) // n + 1)
    rows = np.concatenate([permutation(seed, epoch, n) for epoch in epochs])
    start = first - epochs.start * n
    return rows[start : start + batch_size]


def uniforms(seed: int, step: int, stream: str, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Return uniform numbers in [0, 1), multiples of 2**-53, for one step and purpose.

    They fill `shape` in row-major order, so row i does not depend on the number of rows.
    """
    words = _words(int(np.prod(shape)), seed, stream, step)
    high = (words >> np.uint64(11)).astype(np.float64)
    return (high * 2.0**-53).reshape(shape)


def _words(n: int, seed: int, *what: int | str) -> npt.NDArray[np.uint64]:
    key = int.from_bytes(_hash(seed, *what)[:16], "little")
    return np.random.Philox(key=key).random_raw(n)


def _hash(seed: int, *what: int | str) -> bytes:
    return hashlib.sha256(json.dumps([seed, *what]).encode()).digest()
