"""Chance without state: every draw is a function of a seed and of what it is for.

The words come from Philox, a counter-based generator, whose key is a hash of seed and purpose. Only
its raw words are used: NumPy freezes these for good, but not what `Generator` makes of them. So a
seed gives the same order and the same crops on every machine and with every NumPy release, and a
run that goes on at step k needs to know k alone.
"""

import hashlib
import json
from functools import lru_cache

import numpy as np
import numpy.typing as npt

__all__ = ["derived_seed", "permutation", "rows_of_step", "uniforms"]

Rows = npt.NDArray[np.int64]


def derived_seed(seed: int, *what: int | str) -> int:
    """Give a seed in [0, 2**63) for a purpose: other words or numbers, another seed."""
    return int.from_bytes(_hash(seed, *what)[:8], "little") >> 1


@lru_cache(maxsize=4)
def permutation(seed: int, epoch: int, n: int) -> Rows:
    """Give the order in which an epoch (from 0) sees `n` images: (n,) int64, read-only.

    The last few are kept, since every step of an epoch asks for the same one.
    """
    # Two of n words are equal with a probability of n**2 / 2**65; a stable sort keeps even then to
    # one order.
    order = np.argsort(_words(n, seed, "order", epoch), kind="stable").astype(np.int64)
    order.setflags(write=False)
    return order


def rows_of_step(seed: int, step: int, batch_size: int, n: int) -> Rows:
    """Give the images of step `step` (from 0): (batch_size,) int64 in [0, n).

    The epochs' permutations, one after another, are cut into batches: a batch may span two epochs
    or, where it is larger than the data, more. Every epoch sees every image once.
    """
    first, last = step * batch_size, (step + 1) * batch_size
    epochs = range(first // n, (last - 1) // n + 1)
    rows = np.concatenate([permutation(seed, epoch, n) for epoch in epochs])
    start = first - epochs.start * n
    return rows[start : start + batch_size]


def uniforms(seed: int, step: int, stream: str, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Give numbers in [0, 1), multiples of 2**-53, for one step and purpose.

    They are laid along `shape` row after row, so what is at place i of the first axis does not
    depend on how many places there are.
    """
    words = _words(int(np.prod(shape)), seed, stream, step)
    high = (words >> np.uint64(11)).astype(np.float64)
    return (high * 2.0**-53).reshape(shape)


def _words(n: int, seed: int, *what: int | str) -> npt.NDArray[np.uint64]:
    key = int.from_bytes(_hash(seed, *what)[:16], "little")
    return np.random.Philox(key=key).random_raw(n)


def _hash(seed: int, *what: int | str) -> bytes:
    return hashlib.sha256(json.dumps([seed, *what]).encode()).digest()
