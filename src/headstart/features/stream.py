"""Images decoded ahead of the network: threads fill the next batches while it computes."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from headstart.datasets import Decodable
from headstart.errors import BrokenImageError
from headstart.features.preprocess import fit_image
from headstart.spec import Model

__all__ = ["Batch", "Decoder", "ahead"]

Item = TypeVar("Item")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Batch:
    """Decoded images.

    Parameters
    ----------
    pixels
        (n, size, size, 1 or 3) uint8; a broken image is black.
    broken
        Place in the batch -> what the decoder said.
    """

    pixels: npt.NDArray[np.uint8]
    broken: dict[int, str]


@dataclass(frozen=True)
class Decoder:
    """Decodes batches of one dataset for one network. Safe to call from several threads.

    `resize` is `LinearSetting.resize`; a broken image raises unless `skip_broken`.
    """

    images: Decodable
    model: Model
    resize: str
    skip_broken: bool

    def __call__(self, rows: Sequence[int]) -> Batch:
        """Decode the images of these rows."""
        size = self.model.input_size
        pixels, broken = [], {}
        for place, row in enumerate(rows):
            try:
                image = self.images.decode(row)
                pixels.append(fit_image(image, size, self.model.interpolation, self.resize))
            except BrokenImageError as error:
                if not self.skip_broken:
                    raise
                broken[place] = error.reason
                pixels.append(np.zeros((size, size, 1), np.uint8))
        channels = max(p.shape[2] for p in pixels)
        return Batch(np.stack([np.broadcast_to(p, (size, size, channels)) for p in pixels]), broken)


def ahead(
    function: Callable[[Item], Value], items: Sequence[Item], depth: int = 4
) -> Iterator[Value]:
    """Map in order, computed in threads at most `depth` items ahead: memory does not grow."""
    waiting: deque[Future[Value]] = deque()
    # One core is left to whoever takes the values: on a CPU, the network.
    pool = ThreadPoolExecutor(max(1, min(depth, (os.cpu_count() or 1) - 1)))
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
