"""Decoded images, resized to the input of a network, in batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

from headstart.datasets import Decodable
from headstart.errors import BrokenImageError
from headstart.spec import Interpolation, Model

__all__ = ["DecodedBatch", "Decoder", "center_crop", "fit_image", "imagenet_crop", "whole_image"]

# Fraction of the shorter side that the centre crop of ImageNet evaluations keeps.
CROP_FRACTION = 0.875

RESAMPLING = {name: Image.Resampling[name.upper()] for name in get_args(Interpolation)}


def whole_image(image: Image.Image, size: int, interpolation: str) -> Image.Image:
    """Resize the whole image to size x size (antialiased)."""
    return image.resize((size, size), RESAMPLING[interpolation])


def center_crop(image: Image.Image, size: int, interpolation: str) -> Image.Image:
    """Resize the shorter side to `size`, keep the aspect ratio, crop the centre.

    One step does both: only the central square is resampled.
    """
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    return image.resize((size, size), RESAMPLING[interpolation], box=box)


def imagenet_crop(image: Image.Image, size: int, interpolation: str) -> Image.Image:
    """Resize the shorter side to `size` / `CROP_FRACTION`, crop the central `size` x `size`.

    This is the usual evaluation on ImageNet, with torchvision's steps and rounding.
    """
    shorter = int(size / CROP_FRACTION)
    longer = int(shorter * max(image.size) / min(image.size))
    wide = image.width > image.height
    width, height = (longer, shorter) if wide else (shorter, longer)
    resized = image.resize((width, height), RESAMPLING[interpolation])
    left, top = round((width - size) / 2), round((height - size) / 2)
    return resized.crop((left, top, left + size, top + size))


HOW = {"whole": whole_image, "center-crop": center_crop, "imagenet": imagenet_crop}


def fit_image(
    image: Image.Image, size: int, interpolation: str, resize: str
) -> npt.NDArray[np.uint8]:
    """Return a decoded image at input size: (size, size, 3) uint8, or (size, size, 1) if grey.

    A grey image keeps its single channel, to save two thirds of the resampling; `Extractor` expands
    it on the device.
    """
    pixels = np.asarray(HOW[resize](image, size, interpolation))
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


@dataclass(frozen=True)
class DecodedBatch:
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

    def __call__(self, rows: Sequence[int]) -> DecodedBatch:
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
        return DecodedBatch(
            np.stack([np.broadcast_to(p, (size, size, channels)) for p in pixels]), broken
        )
