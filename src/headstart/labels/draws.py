"""Random subsets with one label per image.

They use `RandomState` on purpose. NumPy guarantees its streams, so a seed gives the same split on
every machine and with every NumPy release.
"""

import numpy as np
import numpy.typing as npt

from headstart.errors import DatasetError

__all__ = ["balanced_subset", "few_of_each", "hold_out", "hold_out_exactly"]

Rows = npt.NDArray[np.int64]


def hold_out(labels: Rows, fraction: float, seed: int) -> tuple[Rows, Rows]:
    """Return sorted indices (kept, held out) of a stratified split.

    Each class contributes `fraction` of its examples. A class of two or more examples has at least
    one on either side.
    """
    random = np.random.RandomState(seed)
    held = []
    for label in np.unique(labels):
        places = random.permutation(np.flatnonzero(labels == label))
        count = round(fraction * len(places))
        held.append(places[: min(max(count, 1), len(places) - 1)])
    out = np.sort(np.concatenate(held))
    return np.setdiff1d(np.arange(len(labels)), out), out


def hold_out_exactly(labels: Rows, size: int, seed: int) -> tuple[Rows, Rows]:
    """Return sorted indices (kept, held out) of a stratified split with `size` held out.

    Each class contributes its share of `size`, rounded down. The remainder comes one each from the
    classes with the largest rounding losses, ties in random order. Every class keeps at least one.

    Raises
    ------
    DatasetError
        `size` is larger than the classes can contribute.
    """
    classes, available = np.unique(labels, return_counts=True)
    if size > len(labels) - len(classes):
        raise DatasetError(
            f"cannot hold out {size:,} of {len(labels):,} images: each of their {len(classes):,} "
            "classes has to keep one image",
            code="dataset.split_impossible",
            found=size,
        )
    random = np.random.RandomState(seed)
    # Integers, so that equal losses compare equal. `size` is below the total, so no share is a
    # whole class.
    quota, loss = np.divmod(size * available, max(1, len(labels)))
    while (missing := size - int(quota.sum())) > 0:
        open_classes = random.permutation(np.flatnonzero(quota < available - 1))
        first = np.argsort(-loss[open_classes], kind="stable")[:missing]
        quota[open_classes[first]] += 1
    held = [
        random.permutation(np.flatnonzero(labels == label))[:count]
        for label, count in zip(classes, quota, strict=True)
    ]
    out = np.sort(np.concatenate([np.zeros(0, np.int64), *held]))
    return np.setdiff1d(np.arange(len(labels)), out), out


def balanced_subset(labels: Rows, size: int, seed: int) -> Rows:
    """Return `size` sorted indices, as evenly spread over the classes as possible.

    What a small class lacks, the others contribute in equal shares. Classes that contribute one
    more, because of a remainder, are random. Return all indices if `size` exceeds their number.
    """
    if size >= len(labels):
        return np.arange(len(labels), dtype=np.int64)
    random = np.random.RandomState(seed)
    classes, available = np.unique(labels, return_counts=True)
    quota = np.zeros(len(classes), dtype=np.int64)
    while (missing := size - quota.sum()) > 0:
        open_classes = np.flatnonzero(quota < available)
        share = missing // len(open_classes)
        if share:
            quota[open_classes] = np.minimum(quota[open_classes] + share, available[open_classes])
        else:
            quota[random.permutation(open_classes)[:missing]] += 1
    chosen = [
        random.permutation(np.flatnonzero(labels == label))[:count]
        for label, count in zip(classes, quota, strict=True)
    ]
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def few_of_each(labels: Rows, n_classes: int, n: int, seed: int) -> Rows:
    """Return `n` sorted indices per class, or all of a smaller class.

    Subsets are nested: a larger `n` with the same seed includes the subset of a smaller one.
    """
    random = np.random.RandomState(seed)
    orders = [random.permutation(np.flatnonzero(labels == label)) for label in range(n_classes)]
    return np.sort(np.concatenate([order[:n] for order in orders])).astype(np.int64)
