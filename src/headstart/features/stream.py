"""Batches of decoded images at a network's input size."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headstart.datasets import Decodable
from headstart.errors import BrokenImageError
from headstart.features.preprocess import fit_image
from headstart.spec import Model

__all__ = ["Batch", "Decoder"]


@dataclass(frozen=True)
class Batch:
    """Decoded images.

    Parameters
    ----------
    pixels
        (n, size, size, 1 or 3) uint8; broken images are black.
    broken
        Position in the batch -> reason given by the decoder.
    """

    pixels: npt.NDArray[np.uint8]
    broken: dict[int, str]


@dataclass(frozen=True)
class Decoder:
    """Decodes batches of one dataset for one network; thread-safe.

    `resize` is as in `FeatureRequest`. A broken image raises BrokenImageError unless `skip_broken`.
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
