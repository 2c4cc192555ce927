"""Whether two models differ in mean average precision on the same test images."""

import numpy as np
import numpy.typing as npt

from headstart.metrics.average_precision import interpolated_precision
from headstart.stats.paired import PairedTest

__all__ = ["map_swap_test"]

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]
BLOCK = 100
# Differences in mAP that are nearer than this are equal.
SAME = 1e-12


def map_swap_test(
    scores: npt.ArrayLike,
    other_scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    permutations: int,
    random: np.random.Generator,
) -> PairedTest:
    """Permutation test of 11-point mAP: on each image the two models' scores are swapped or not.

    The average precision of a model depends on the order of its scores alone, so each class's
    scores are replaced by their ranks first: two models whose scores have other scales can then be
    swapped image by image. An image is swapped for all classes at once.

    Parameters
    ----------
    scores, other_scores
        (n, K) decision values of the two models on the same images, or (S, n, K) of S seeds: the
        difference is the mean over seeds, and an image is swapped in all of them at once.
    labels
        (n, K) in {1 present, 0 difficult only, -1 absent}.
    """
    labels = np.asarray(labels)
    classes = [k for k in range(labels.shape[1]) if (labels[:, k] == 1).any()]
    first, second = (np.asarray(s).reshape(-1, *labels.shape) for s in (scores, other_scores))
    orders = [
        _merged(_ranks(one[:, k]), _ranks(other[:, k]), labels[:, k])
        for one, other in zip(first, second, strict=True)
        for k in classes
    ]
    n = len(labels)
    observed = float(_differences(orders, np.zeros((1, n), dtype=bool))[0])
    extreme = done = 0
    while done < permutations:
        swapped = random.integers(0, 2, size=(min(BLOCK, permutations - done), n)).astype(bool)
        drawn = np.abs(_differences(orders, swapped))
        # Sums in another order than the observed one are equal to it but for rounding.
        extreme += int((drawn >= abs(observed) - SAME).sum())
        done += len(swapped)
    return PairedTest(observed, (1 + extreme) / (1 + permutations), n)


Merged = tuple[npt.NDArray[np.int64], Booleans, Booleans]


def _ranks(scores: Floats) -> Floats:
    """(n,) ranks from the highest, ties in the order given, as the metric has them."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(-scores, method="ordinal"), dtype=np.float64)


def _merged(rank: Floats, other_rank: Floats, label: npt.NDArray[np.int64]) -> Merged:
    """Order the entries of both models together: image, whether it is the other's, whether present.

    Sorted once; which entries belong to a model after swapping is a mask over this order.
    """
    judged = np.flatnonzero(label != 0)
    image = np.concatenate([judged, judged])
    is_other = np.repeat([False, True], len(judged))
    # Equal ranks, which swapped images can have in one model, stand in the order of the images, as
    # the metric has them: what is drawn depends on the swapped data alone.
    order = np.lexsort((image, np.concatenate([rank[judged], other_rank[judged]])))
    image = image[order]
    return image, is_other[order], label[image] == 1


def _differences(orders: list[Merged], swapped: Booleans) -> Floats:
    """(B,) difference in mAP after the swaps (B, n)."""
    total = np.zeros(len(swapped))
    for image, is_other, present in orders:
        of_other = is_other ^ swapped[:, image]
        total += _average_precision(~of_other, present) - _average_precision(of_other, present)
    return total / len(orders)


def _average_precision(member: Booleans, present: Booleans) -> Floats:
    """(B,) average precision of the entries (B, 2 n) that are a model's, in order."""
    seen = np.cumsum(member, axis=1, dtype=np.int32)[:, present]
    hit = member[:, present]
    n_present = int(present.sum()) // 2
    # Each image has one entry in each model, so every row has n_present hits.
    seen = seen[hit].reshape(len(member), n_present)
    return interpolated_precision(np.arange(1, n_present + 1) / seen)
