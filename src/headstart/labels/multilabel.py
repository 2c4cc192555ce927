"""Random subsets with several labels per image.

Labels are (n, K) int64 in {1 present, 0 difficult only, -1 absent}. Images without any class count
as an additional class, so that subsets include backgrounds.
"""

import numpy as np
import numpy.typing as npt

__all__ = ["balanced_rows", "hold_out_rows"]

Rows = npt.NDArray[np.int64]


def hold_out_rows(labels: Rows, fraction: float, seed: int) -> tuple[Rows, Rows]:
    """Return sorted indices (kept, held out) of a split that is stratified by each class.

    The class with the fewest remaining images is distributed first. An image goes to the side that
    lacks most of that class; ties go to the side that lacks most images, then to a random side.

    Source: Sechidis, Tsoumakas, Vlahavas, "On the Stratification of Multi-label Data", ECML PKDD
    2011 (iterative stratification).
    """
    random = np.random.RandomState(seed)
    order = random.permutation(len(labels))
    shown = _shown(labels)[order]
    share = np.array([1 - fraction, fraction])
    # Number of images, and of images per class, that each side still lacks.
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
    """Return `size` sorted indices, as evenly spread over the classes as possible.

    Images are selected one by one, each from the class with the fewest so far. Return all indices
    if `size` exceeds their number.
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
    """Return (n, K + 1) bool, the classes of each image; the last column means none."""
    shown = labels == 1
    return np.column_stack([shown, ~shown.any(axis=1)])
