"""Draw the splits that a dataset comes without.

All draws come from the seed, stratified: each class gives its share, as far as groups allow.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from headstart.datasets.splits import RawDataset, Split
from headstart.errors import DatasetError
from headstart.labels import hold_out
from headstart.spec import digest

if TYPE_CHECKING:
    from scipy import sparse

__all__ = ["AS_GIVEN", "HoldOut", "draw_splits", "hold_out_groups"]

Rows = npt.NDArray[np.int64]
HoldOut = Callable[[Rows, float, int], tuple[Rows, Rows]]

AS_GIVEN = "as given"
# Over the groups: those after the first mend what the first could not know.
PASSES = 5
# Changes of a distance smaller than this are rounding.
ROUNDING = 1e-9


def draw_splits(
    raw: RawDataset, seed: int, name: str = "", hold_out: HoldOut = hold_out
) -> tuple[dict[str, Split], str]:
    """Return ``train``, ``validation`` and ``test``, and say in words where they come from.

    Parts that are there stay as they are, but that of train and validation alone, validation
    becomes the test set: a test set that was used to choose would be none. What lacks is drawn: a
    fifth of train for validation; of images in no parts a fifth for each of validation and test.
    Images of one group stay together. A class of a single image or group stays in train.

    Parameters
    ----------
    raw
        Parts train and at least one of validation and test; or all.
    seed
        The same seed draws the same splits; of validation and test, each has a stream of its own.
    name
        Of the dataset, for messages.
    hold_out
        (labels, fraction, seed) -> places (kept, held out), for images without groups.

    Raises
    ------
    DatasetError
        Other parts; or so few images or groups that a part would be empty.
    """
    parts = dict(raw.parts)
    if set(parts) == {"train", "validation", "test"}:
        return {name: parts[name] for name in ("train", "validation", "test")}, AS_GIVEN
    if set(parts) == {"all"}:
        return _draw_all(raw, seed, name, hold_out)
    if set(parts) not in ({"train", "test"}, {"train", "validation"}):
        raise DatasetError(
            f"dataset '{name}': expected the parts train, and validation or test, or none; found "
            f"{', '.join(parts)}",
            code="dataset.split_missing",
            found=list(parts),
        )
    draw = _Draw(raw, "train", seed, name, hold_out)
    train = parts["train"]
    kept, held = draw.hold_out(np.arange(len(train), dtype=np.int64), 0.2, "validation")
    drawn = {"train": train.take(kept), "validation": train.take(held)}
    rule = f"20 % of train drawn for validation, {draw.words}"
    if "test" in parts:
        return drawn | {"test": parts["test"]}, f"test as given; {rule}"
    rule = f"what is named validation is the test set, as none is named test; {rule}"
    return drawn | {"test": parts["validation"]}, rule


def hold_out_groups(labels: Rows, groups: Rows, fraction: float, seed: int) -> tuple[Rows, Rows]:
    """Split places into (kept, held out), whole groups on one side; both sorted.

    Groups are looked at in a drawn order, several times. One changes sides if that brings the
    shares held out, of each class and (counting as much as all classes) of the whole, closer to
    `fraction`, as the sum of squares; the best one is held out if none does. Every class keeps an
    image. (scikit-learn's StratifiedGroupKFold, greedy too, may leave train without a class, and
    does not promise that a seed gives the same with every release.)

    Parameters
    ----------
    labels
        (n,) int64, or (n, K) int64 in which 1 is present.
    groups
        (n,) int64.
    fraction
        Of the images, to be held out.

    Returns
    -------
    tuple
        Places as int64. None is held out if every group has all images of some class.
    """
    _, group = np.unique(groups, return_inverse=True)
    chosen = _choose_groups(_counts(labels, group), np.bincount(group), fraction, seed)
    held = np.isin(group, chosen)
    return np.flatnonzero(~held).astype(np.int64), np.flatnonzero(held).astype(np.int64)


def _choose_groups(
    counts: "sparse.csr_array", sizes: Rows, fraction: float, seed: int
) -> list[int]:
    """Choose the rows of `counts` (groups, classes) int64 to hold out; `sizes` (groups,)."""
    total, n = np.asarray(counts.sum(axis=0)), int(sizes.sum())
    n_classes = np.count_nonzero(total)
    held_of, held_n = np.zeros(len(total), np.int64), 0
    order = np.random.RandomState(seed).permutation(len(sizes)).tolist()
    chosen: set[int] = set()
    best, least = set[int](), np.inf
    for _ in range(PASSES):
        for group in order:
            span = slice(counts.indptr[group], counts.indptr[group + 1])
            sign = -1 if group in chosen else 1
            classes, of_class = counts.indices[span], sign * counts.data[span]
            size = sign * int(sizes[group])
            if (held_of[classes] + of_class == total[classes]).any() or held_n + size == n:
                continue
            missed = 2 * (held_of[classes] - fraction * total[classes]) + of_class
            change = float((of_class * missed / total[classes] ** 2).sum())
            change += n_classes * size * (2 * (held_n - fraction * n) + size) / n**2
            if change < -ROUNDING:
                chosen ^= {group}
                held_of[classes] += of_class
                held_n += size
            elif not chosen and change < least - ROUNDING:
                best, least = {group}, change
    return sorted(chosen or best)


def _counts(labels: Rows, group: Rows) -> "sparse.csr_array":
    """Count the images of each class in each group: (groups, classes) int64."""
    from scipy import sparse

    if labels.ndim == 1:
        rows, classes, n_classes = group, labels, int(labels.max()) + 1
    else:
        images, classes = np.nonzero(labels == 1)
        rows, n_classes = group[images], labels.shape[1]
    ones = np.ones(len(rows), dtype=np.int64)
    shape = (int(group.max()) + 1, n_classes)
    # Entries of one place are added up.
    return sparse.csr_array(sparse.coo_array((ones, (rows, classes)), shape=shape))


def _draw_all(
    raw: RawDataset, seed: int, name: str, hold_out: HoldOut
) -> tuple[dict[str, Split], str]:
    whole = raw.parts["all"]
    draw = _Draw(raw, "all", seed, name, hold_out)
    rest, test = draw.hold_out(np.arange(len(whole), dtype=np.int64), 0.2, "test")
    train, validation = draw.hold_out(rest, 0.25, "validation")
    splits = {
        "train": whole.take(train),
        "validation": whole.take(validation),
        "test": whole.take(test),
    }
    return splits, f"drawn: 60 % train, 20 % validation, 20 % test, {draw.words}"


@dataclass(frozen=True)
class _Draw:
    """Draws from one part of an archive."""

    raw: RawDataset
    part: str
    seed: int
    name: str
    draw: HoldOut

    @property
    def groups(self) -> Rows | None:
        return self.raw.groups.get(self.part)

    @property
    def words(self) -> str:
        together = "" if self.groups is None else ", groups kept together"
        return f"stratified, seed {self.seed}{together}"

    def hold_out(self, places: Rows, fraction: float, what: str) -> tuple[Rows, Rows]:
        """Divide `places` of the part into (kept, held out)."""
        labels = self.raw.parts[self.part].labels[places]
        if not len(labels):
            raise DatasetError(
                f"dataset '{self.name}' has no images to draw {what} images from: add some",
                code="dataset.split_empty",
                split=what,
            )
        seed = int(digest({"drawn": what, "seed": self.seed})[:8], 16)
        if self.groups is None:
            kept, held = self.draw(labels, fraction, seed)
            found = f"{len(labels):,} images, no two of one class"
        else:
            groups = self.groups[places]
            kept, held = hold_out_groups(labels, groups, fraction, seed)
            n_groups = len(np.unique(groups))
            found = f"number of groups: {n_groups:,}, each with all images of some class"
        if not len(held):
            raise DatasetError(
                f"no {what} images of dataset '{self.name}' can be drawn ({found}): a class needs "
                "some on both sides; add images, or give all parts",
                code="dataset.split_impossible",
                split=what,
            )
        return places[kept], places[held]
