"""Datasets of images that a program draws: as many of each class, each from a seed of its own."""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headstart.datasets.file_index import Advance
from headstart.datasets.images import ArrayImages
from headstart.datasets.raster import SIDE
from headstart.datasets.splits import Split

__all__ = ["Drawings"]


@dataclass(frozen=True)
class Drawings:
    """A dataset of (32, 32, 3) images that are drawn.

    Parameters
    ----------
    name
        Its name, which is in the seed of every image.
    classes
        Names in the order of the labels.
    per_class
        Images of each class in ``train``, ``validation`` and ``test``.
    draw
        Draws an image of a class for a split: (SIDE, SIDE, 3) uint8. All that is random in it comes
        from the stream that it is given.
    """

    name: str
    classes: tuple[str, ...]
    per_class: Mapping[str, int]
    draw: Callable[[np.random.RandomState, int, str], npt.NDArray[np.uint8]]

    shape = (SIDE, SIDE, 3)

    def labels(self, split: str) -> npt.NDArray[np.int64]:
        """Return the (n,) int64 labels of a split: the classes in turn."""
        return np.tile(np.arange(len(self.classes), dtype=np.int64), self.per_class[split])

    def image(self, split: str, row: int) -> npt.NDArray[np.uint8]:
        """Draw an image: (SIDE, SIDE, 3) uint8."""
        return self._drawn(np.random.RandomState(0), split, row)

    def pixels(self, split: str, advance: Advance | None = None) -> npt.NDArray[np.uint8]:
        """Draw all images of a split: (n, SIDE, SIDE, 3) uint8; `advance` takes how many more."""
        n = len(self.classes) * self.per_class[split]
        drawn = np.empty((n, *self.shape), dtype=np.uint8)
        # Seeded anew for each: making one takes as long as drawing.
        random = np.random.RandomState(0)
        for row in range(n):
            drawn[row] = self._drawn(random, split, row)
            if advance and (row + 1) % len(self.classes) == 0:
                advance(len(self.classes))
        return drawn

    def read(self) -> dict[str, Split]:
        """Draw all images of all splits."""
        return {name: self.split(name, ArrayImages(self.pixels(name))) for name in self.per_class}

    def split(self, name: str, images: ArrayImages) -> Split:
        """Put the labels of a split to its images."""
        labels = self.labels(name)
        return Split(images, labels, np.arange(len(labels)))

    def _drawn(self, random: np.random.RandomState, split: str, row: int) -> npt.NDArray[np.uint8]:
        random.seed([zlib.crc32(f"{self.name} {split}".encode()), row])
        return self.draw(random, row % len(self.classes), split)
