"""How subsets are drawn where an image may show several classes.

Labels are (n, K) int64 in {1 present, 0 difficult only, -1 absent}; an image that shows none of the
classes is one of a class of its own here, so that backgrounds are drawn too.
"""

import numpy as np
import numpy.typing as npt

__all__ = ["balanced_rows", "hold_out_rows"]

Rows = npt.NDArray[np.int64]


def hold_out_rows(labels: Rows, fraction: float, seed: int) -> tuple[Rows, Rows]:
    """Split places into (kept, held out), each class divided as evenly as the images allow.

    The class with the fewest images left is dealt out first; an image goes to the side that lacks
    that class most, of equals to the one that lacks images most, then to one drawn. Both come
    back sorted.

    Source: Sechidis, Tsoumakas, Vlahavas, "On the Stratification of Multi-label Data", ECML PKDD
    2011 (iterative stratification).
    """
    random = np.random.RandomState(seed)
    order = random.permutation(len(labels))
    shown = _shown(labels)[order]
    share = np.array([1 - fraction, fraction])
    # What each side still lacks: images, and images of each class.
    lacks = share * len(labels)
    class_lacks = share[:, None] * shown.sum(axis=0)
    side = np.full(len(labels), -1)
    left = shown.sum(axis=0)
    while left.any():
        rarest = int(np.where(left > 0, left, len(labels) + 1).argmin())
        for place in np.flatnonzero(shown[:, rarest] & (side < 0)):
            wants = np.round(class_lacks[:, rarest], 9), np.round(lacks, 9), random.rand(2)
            chosen = int(np.lexsort(wants[::-1])[-1])
            side[place] = chosen
            lacks[chosen] -= 1
            class_lacks[chosen] -= shown[place]
            left = left - shown[place]
    return np.sort(order[side == 0]), np.sort(order[side == 1])


def balanced_rows(labels: Rows, size: int, seed: int) -> Rows:
    """Draw `size` places, as even over the classes as the images allow; sorted.

    One image after another is taken, each of the class that has the fewest so far. All places if
    `size` exceeds them.
    """
    if size >= len(labels):
        return np.arange(len(labels), dtype=np.int64)
    order = np.random.RandomState(seed).permutation(len(labels))
    shown = _shown(labels)[order]
    waiting = [np.flatnonzero(column).tolist()[::-1] for column in shown.T]
    counts, taken = np.zeros(shown.shape[1]), np.zeros(len(labels), dtype=bool)
    while taken.sum() < size:
        counts[[not places for places in waiting]] = np.inf
        place = waiting[int(counts.argmin())].pop()
        if not taken[place]:
            taken[place] = True
            counts += shown[place]
    return np.sort(order[taken]).astype(np.int64)


def _shown(labels: Rows) -> npt.NDArray[np.bool_]:
    """(n, K + 1) which classes an image shows; the last column: none."""
    shown = labels == 1
    return np.column_stack([shown, ~shown.any(axis=1)])
