"""How subsets are drawn where an image has one label.

`RandomState` is used on purpose: NumPy freezes its streams for good, so a seed gives the same
split on every machine and with every NumPy release.
"""

import numpy as np
import numpy.typing as npt

from headstart.errors import DatasetError

__all__ = ["balanced_subset", "few_of_each", "hold_out", "hold_out_exactly"]

Rows = npt.NDArray[np.int64]


def hold_out(labels: Rows, fraction: float, seed: int) -> tuple[Rows, Rows]:
    """Split places into (kept, held out), stratified: each class gives `fraction` of its examples.

    Both come back sorted. A class of two or more examples keeps one and gives one at least.
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
    """Split places into (kept, held out) with exactly `size` held out, stratified; both sorted.

    Each class gives its share of `size`, rounded down; what is then lacking comes one each from
    the classes that lost most by rounding, equal losses in a drawn order. A class keeps one.

    Raises
    ------
    DatasetError
        `size` is more than the classes can give.
    """
    classes, available = np.unique(labels, return_counts=True)
    if size > len(labels) - len(classes):
        raise DatasetError(
            f"cannot hold out {size:,} of {len(labels):,} images: each of their {len(classes):,} "
            "classes has to keep one"
        )
    random = np.random.RandomState(seed)
    # In whole numbers, so that equal losses are equal. What all give is less than all there are, so
    # no share is a whole class.
    quota, loss = np.divmod(size * available, max(1, len(labels)))
    while (missing := size - int(quota.sum())) > 0:
        hungry = random.permutation(np.flatnonzero(quota < available - 1))
        first = np.argsort(-loss[hungry], kind="stable")[:missing]
        quota[hungry[first]] += 1
    held = [
        random.permutation(np.flatnonzero(labels == label))[:count]
        for label, count in zip(classes, quota, strict=True)
    ]
    out = np.sort(np.concatenate([np.zeros(0, np.int64), *held]))
    return np.setdiff1d(np.arange(len(labels)), out), out


def balanced_subset(labels: Rows, size: int, seed: int) -> Rows:
    """Draw `size` places, as even over the classes as the classes allow; sorted.

    What a small class cannot give, the others give in even shares; when the size does not divide,
    the classes that give one more are drawn too. All places if `size` exceeds them.
    """
    if size >= len(labels):
        return np.arange(len(labels), dtype=np.int64)
    random = np.random.RandomState(seed)
    classes, available = np.unique(labels, return_counts=True)
    quota = np.zeros(len(classes), dtype=np.int64)
    while (missing := size - quota.sum()) > 0:
        hungry = np.flatnonzero(quota < available)
        share = missing // len(hungry)
        if share:
            quota[hungry] = np.minimum(quota[hungry] + share, available[hungry])
        else:
            quota[random.permutation(hungry)[:missing]] += 1
    chosen = [
        random.permutation(np.flatnonzero(labels == label))[:count]
        for label, count in zip(classes, quota, strict=True)
    ]
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def few_of_each(labels: Rows, n_classes: int, n: int, seed: int) -> Rows:
    """Draw `n` places of each class, all of a class that has fewer; sorted.

    A class's images are drawn in an order of their own, so that the draw of more holds the draw of
    fewer of the same seed.
    """
    random = np.random.RandomState(seed)
    orders = [random.permutation(np.flatnonzero(labels == label)) for label in range(n_classes)]
    return np.sort(np.concatenate([order[:n] for order in orders])).astype(np.int64)
